import { parseJson } from '../../platform/http/json-body.ts'
import { pointerPart } from '../../platform/json-pointer.ts'

export interface Change {
  /** JSON pointer (RFC 6901), or the name of a header. */
  readonly path: string
  readonly kind: 'added' | 'removed' | 'changed'
  /** Absent when it was added; JSON text, cut when it is long. */
  readonly left?: string
  readonly right?: string
}

export interface Side {
  /** Undefined when the bytes were erased or are no longer kept. */
  readonly body: Buffer | undefined
  readonly headers: Readonly<Record<string, string>>
}

export interface Comparison {
  /** `bytes`: one of them is no JSON, or is gone, so that only the bytes could be compared. */
  readonly compared: 'json' | 'bytes'
  /** Whether they say the same; null when one of them is gone. */
  readonly equal: boolean | null
  /** Byte for byte: also numbers that JavaScript cannot tell apart, the order of members and spaces count. */
  readonly bytesEqual: boolean | null
  readonly changes: readonly Change[]
  /** True: there are more differences than are told. */
  readonly cut: boolean
  readonly headers: readonly Change[]
}

/** Differences that are told. */
const MOST = 500
const LONGEST = 1_000

const textOf = (value: unknown): string => {
  const text = JSON.stringify(value)
  return text.length <= LONGEST ? text : `${text.slice(0, LONGEST)}…`
}

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** What two values differ in, by pointer; `put` says whether it wants to hear more. Items of arrays are compared by place. */
function walk(left: unknown, right: unknown, path: string, put: (change: Change) => boolean): boolean {
  if (Array.isArray(left) && Array.isArray(right)) {
    const most = Math.max(left.length, right.length)
    for (let at = 0; at < most; at += 1)
      if (!member(left, right, String(at), `${path}/${at}`, put)) return false
    return true
  }
  if (isObject(left) && isObject(right)) {
    for (const name of [...new Set([...Object.keys(left), ...Object.keys(right)])].sort())
      if (!member(left, right, name, `${path}/${pointerPart(name)}`, put)) return false
    return true
  }
  if (left === right) return true
  return put({ path, kind: 'changed', left: textOf(left), right: textOf(right) })
}

function member(
  left: object,
  right: object,
  name: string,
  path: string,
  put: (change: Change) => boolean,
): boolean {
  const [before, after] = [
    Object.getOwnPropertyDescriptor(left, name),
    Object.getOwnPropertyDescriptor(right, name),
  ]
  if (before && after) return walk(before.value, after.value, path, put)
  if (before) return put({ path, kind: 'removed', left: textOf(before.value) })
  return put({ path, kind: 'added', right: textOf(after?.value) })
}

function differences(left: unknown, right: unknown): { readonly changes: Change[]; readonly cut: boolean } {
  const changes: Change[] = []
  const complete = walk(left, right, '', (change) => changes.push(change) <= MOST)
  return { changes: changes.slice(0, MOST), cut: !complete }
}

/** The bytes as JSON; undefined when they are none, or none that the hub would take. */
export function jsonOf(body: Buffer): { readonly value: unknown } | undefined {
  try {
    return { value: parseJson(body) }
  } catch {
    return undefined
  }
}

/** What two payloads differ in: by their structure where both are JSON, else whether their bytes are equal. */
export function compareSides(left: Side, right: Side): Comparison {
  const headers = differences(left.headers, right.headers).changes.map((change) => ({
    ...change,
    path: change.path.slice(1),
  }))
  const bytesEqual = left.body && right.body ? left.body.equals(right.body) : null
  const nothing = { changes: [], cut: false, headers, bytesEqual }
  if (!left.body || !right.body) return { compared: 'bytes', equal: null, ...nothing }
  const [one, other] = [jsonOf(left.body), jsonOf(right.body)]
  if (!one || !other) return { compared: 'bytes', equal: bytesEqual, ...nothing }
  const { changes, cut } = differences(one.value, other.value)
  return { compared: 'json', equal: changes.length === 0, changes, cut, headers, bytesEqual }
}
