/** A name as one part of a JSON pointer (RFC 6901 §3), without its slash. */
export const pointerPart = (name: string): string => name.replaceAll('~', '~0').replaceAll('/', '~1')
