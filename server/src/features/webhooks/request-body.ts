import { parseJson } from '../../platform/http/json-body.ts'
import { Problem } from '../../problems.ts'
import { notAnEvent, type SignedRequest } from './provider.ts'

export type Fields = Readonly<Record<string, unknown>>

export const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value)

/** Errors: `validation_error`. */
export function objectOf(parsed: unknown): Fields {
  if (!isObject(parsed)) throw notAnEvent({ path: '/body', message: 'must be an object' })
  return parsed
}

/** A text of an object inside the body, e.g. `textAt(body, 'event', 'type')`; undefined when there is none. */
export function textAt(value: unknown, ...path: readonly string[]): string | undefined {
  const found = path.reduce<unknown>((at, name) => (isObject(at) ? at[name] : undefined), value)
  return typeof found === 'string' && found !== '' ? found : undefined
}

/** What a JSON pointer (RFC 6901) leads to, own members only; undefined when it leads nowhere. */
export const valueAt = (value: unknown, pointer: string): unknown =>
  pointer
    .split('/')
    .slice(1)
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .reduce<unknown>((at, name) => {
      if (Array.isArray(at)) return /^(?:0|[1-9]\d{0,5})$/.test(name) ? at[Number(name)] : undefined
      return isObject(at) && Object.hasOwn(at, name) ? at[name] : undefined
    }, value)

/** 2100-01-01: later times are nonsense, and the database would refuse the wildest of them. */
const LAST_MS = 4_102_444_800_000

/** A moment between 1970 and 2100; undefined for anything else. */
export const momentOf = (ms: number): Date | undefined =>
  ms >= 0 && ms <= LAST_MS ? new Date(ms) : undefined

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const MAX_FORM_FIELDS = 1_000

/**
 * The fields of a form (`application/x-www-form-urlencoded`) in their order. Errors: `malformed_body` for what a
 * lenient reader would turn into replacement characters, so that two different bodies never read as the same.
 */
export function readForm(raw: Buffer): readonly (readonly [string, string])[] {
  try {
    const parts = utf8.decode(raw).split('&', MAX_FORM_FIELDS + 1)
    if (parts.length > MAX_FORM_FIELDS) throw new RangeError('too many fields')
    return parts
      .filter((part) => part !== '')
      .map((part) => {
        const at = part.includes('=') ? part.indexOf('=') : part.length
        return [formText(part.slice(0, at)), formText(part.slice(at + 1))] as const
      })
  } catch (cause) {
    throw new Problem('malformed_body', 'The body is not a form.', { cause })
  }
}

const formText = (text: string): string => decodeURIComponent(text.replaceAll('+', ' '))

function isForm({ headers }: SignedRequest): boolean {
  const [type, ...more] = headers['content-type'] ?? []
  if (more.length > 0) throw new Problem('malformed_body', 'The content type is there twice.')
  return type?.split(';')[0]?.trim().toLowerCase() === 'application/x-www-form-urlencoded'
}

/**
 * A body in either way in which senders write one: JSON, or a form whose field `payload` is JSON, or a form of plain
 * fields. Errors: `malformed_body`.
 */
export function parseJsonOrForm(request: SignedRequest): unknown {
  if (!isForm(request)) return parseJson(request.raw)
  const fields = readForm(request.raw)
  const names = new Set(fields.map(([name]) => name))
  if (names.size === 0 || names.size !== fields.length)
    throw new Problem('malformed_body', 'The form is empty, or a field of it is there twice.')
  const payload = fields.find(([name]) => name === 'payload')
  if (payload) return parseJson(Buffer.from(payload[1]))
  // As JSON would refuse it, so that no reader of the fields meets a poisoned name.
  return parseJson(Buffer.from(JSON.stringify(Object.fromEntries(fields))))
}
