/** A name as one part of a JSON pointer (RFC 6901 §3), without its slash. */
export const pointerPart = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')

/** An index of an array (RFC 6901 §4): its `length` is no element of it. */
const INDEX = /^(?:0|[1-9]\d*)$/

/** What a JSON pointer (RFC 6901) leads to in a document, own members only; undefined when it leads nowhere. */
export function pointedAt(document: unknown, pointer: string): unknown {
  let value = document
  for (const part of pointer.split('/').slice(1)) {
    const name = part.replaceAll('~1', '/').replaceAll('~0', '~')
    if (typeof value !== 'object' || value === null || !Object.hasOwn(value, name)) return undefined
    if (Array.isArray(value) && !INDEX.test(name)) return undefined
    value = (value as Readonly<Record<string, unknown>>)[name]
  }
  return value
}
