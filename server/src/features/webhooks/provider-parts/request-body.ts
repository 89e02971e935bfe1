import { parseJson } from '../../../platform/http/json-body.ts'
import { Problem } from '../../../problems.ts'
import { notAnEvent, type ReadJson } from '../provider.ts'

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

/** 2100-01-01: later times are nonsense, and the database would refuse the wildest of them. */
const LAST_MS = 4_102_444_800_000

/** A moment between 1970 and 2100; undefined for anything else. */
export const momentOf = (ms: number): Date | undefined =>
  ms >= 0 && ms <= LAST_MS ? new Date(ms) : undefined

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const MAX_FORM_FIELDS = 1_000
/** Senders write them with percent signs. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: it finds them.
const CONTROL = /[\x00-\x1f\x7f]/

const UTF8_BOM = Buffer.from([0xef, 0xbb, 0xbf])
const SPACES: ReadonlySet<number> = new Set([0x20, 0x09, 0x0a, 0x0d])
/** `{`, `[` and `"`. */
const JSON_STARTS: ReadonlySet<number> = new Set([0x7b, 0x5b, 0x22])

/**
 * Whether a body is JSON, else it is a form. Only the bytes say so, because they are what is signed: a content type
 * that anybody can change would let the same signed bytes be read as another event.
 */
export function isJson(raw: Buffer): boolean {
  const from = raw.subarray(0, 3).equals(UTF8_BOM) ? 3 : 0
  const first = raw.findIndex((byte, at) => at >= from && !SPACES.has(byte))
  return JSON_STARTS.has(raw[first] ?? 0) || !raw.includes('=')
}

/**
 * The fields of a form (`application/x-www-form-urlencoded`) in their order. Errors: `malformed_body` for what a
 * lenient reader would turn into replacement characters, so that two different bodies never read as the same.
 */
export function readForm(raw: Buffer): readonly (readonly [string, string])[] {
  try {
    const text = utf8.decode(raw)
    if (CONTROL.test(text)) throw new RangeError('control characters')
    const parts = text.split('&', MAX_FORM_FIELDS + 1)
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

/** By name; of a field that is there more than once all values, in their order. Errors: `malformed_body`. */
export function formFields(raw: Buffer): Readonly<Record<string, string | readonly string[]>> {
  const fields = new Map<string, string[]>()
  for (const [name, value] of readForm(raw)) fields.set(name, [...(fields.get(name) ?? []), value])
  const values = [...fields].map(([name, all]) => [name, all.length === 1 ? (all[0] ?? '') : all] as const)
  // As JSON would refuse it, so that no reader of the fields meets a poisoned name.
  return objectOf(parseJson(Buffer.from(JSON.stringify(Object.fromEntries(values))))) as Readonly<
    Record<string, string | readonly string[]>
  >
}

/**
 * A body in either way in which senders write one: JSON, or a form whose field `payload` is JSON, or a form of plain
 * fields. Errors: `malformed_body`.
 */
export function parseJsonOrForm(raw: Buffer, readJson: ReadJson): unknown {
  if (isJson(raw)) return readJson(raw)
  const fields = formFields(raw)
  const values = Object.values(fields)
  if (values.length === 0 || values.some((value) => typeof value !== 'string'))
    throw new Problem('malformed_body', 'The form is empty, or a field of it is there twice.')
  return typeof fields.payload === 'string' ? readJson(Buffer.from(fields.payload)) : fields
}

/**
 * What a kept body says, in every way in which a provider reads such a body; none when it is neither JSON nor a form.
 * `readJson` may keep numbers in another way.
 */
export function readingsOf(raw: Buffer, readJson: ReadJson = parseJson): readonly unknown[] {
  const read = (reader: () => unknown): readonly unknown[] => {
    try {
      return [reader()]
    } catch {
      return []
    }
  }
  if (isJson(raw)) return read(() => readJson(raw))
  const forms = read(() => formFields(raw))
  const payloads = forms.flatMap((form) => (isObject(form) ? [form.payload].flat() : []))
  return [
    ...forms,
    ...payloads.flatMap((payload) =>
      typeof payload === 'string' ? read(() => readJson(Buffer.from(payload))) : [],
    ),
  ]
}
