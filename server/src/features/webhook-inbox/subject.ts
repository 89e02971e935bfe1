import { pointedAt } from '../../platform/json-pointer.ts'
import { readingsOf } from '../webhooks/webhooks.ts'
import type { Subject } from './selection.ts'

export interface PayloadContent {
  readonly body: Buffer
}

/** For `JSON.parse`: a number as the digits that were sent; JavaScript would round those of a long one. */
const inDigits = (_name: string, value: unknown, context?: { readonly source?: string }): unknown =>
  typeof value === 'number' && !Number.isSafeInteger(value) ? (context?.source ?? value) : value

const readJson = (bytes: Buffer): unknown => JSON.parse(new TextDecoder().decode(bytes), inDigits)

const JSON_START = /^\s*[{["]/

/** What a text says that is JSON itself, as fields of forms and bodies inside of bodies are; else undefined. */
function insideOf(text: string): unknown {
  if (!JSON_START.test(text)) return undefined
  try {
    return JSON.parse(text, inDigits)
  } catch {
    return undefined
  }
}

/** Equal for texts that differ in upper and lower case, or in how an accent is written. */
const folded = (text: string): string => text.normalize('NFC').toUpperCase()

/** Whether any text of a value has `part` (folded), names of members and JSON inside of texts included. */
function hasText(value: unknown, part: string): boolean {
  if (typeof value === 'string') return folded(value).includes(part) || hasText(insideOf(value), part)
  if (typeof value === 'number' || typeof value === 'boolean') return folded(String(value)).includes(part)
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(([name, member]) => folded(name).includes(part) || hasText(member, part))
}

/** What a pointer leads to, on its way also into JSON inside of texts. */
function reached(value: unknown, pointer: string): unknown {
  const found = pointedAt(value, pointer)
  if (found !== undefined) return found
  for (let at = pointer.indexOf('/'); at >= 0; at = pointer.indexOf('/', at + 1)) {
    const text = pointedAt(value, pointer.slice(0, at))
    const inside = typeof text === 'string' ? insideOf(text) : undefined
    if (inside !== undefined) return reached(inside, pointer.slice(at))
  }
  return undefined
}

const isScalar = (value: unknown): boolean => typeof value === 'string' || typeof value === 'number'

/**
 * Whether a payload is about the subject, in every way that it says. `equals` is exact: a number equals its digits as
 * they were sent, a list or a field that is there more than once equals each of its values. `contains` takes letters of
 * upper and lower case for the same.
 */
export function matcherOf({ pointer, equals, contains }: Subject): (content: PayloadContent) => boolean {
  if (equals === undefined && contains === undefined) return () => false
  const part = folded(contains ?? '')
  const has = (body: Buffer, readings: () => readonly unknown[]): boolean =>
    folded(body.toString('utf8')).includes(part) || readings().some((value) => hasText(value, part))
  return ({ body }) => {
    let known: readonly unknown[] | undefined
    const readings = (): readonly unknown[] => {
      known ??= readingsOf(body, readJson)
      return known
    }
    if (contains !== undefined && !has(body, readings)) return false
    if (equals === undefined || pointer === undefined) return contains !== undefined
    return readings()
      .flatMap((reading) => [reached(reading, pointer)].flat())
      .some((value) => isScalar(value) && String(value) === equals)
  }
}
