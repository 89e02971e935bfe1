/** Hop-by-hop headers and those that decide about framing and target: they are the client's own business. */
export const RESERVED_HEADERS: ReadonlySet<string> = new Set([
  'host',
  'content-length',
  'transfer-encoding',
  'connection',
  'keep-alive',
  'proxy-connection',
  'proxy-authorization',
  'proxy-authenticate',
  'upgrade',
  'te',
  'trailer',
  'expect',
  'accept-encoding',
  'http2-settings',
])

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/i
/**
 * Printable Latin-1 and tab (RFC 9110 §5.5). Everything above U+00FF is refused as well: written as Latin-1,
 * U+010A would become a line feed.
 */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/

export const isHeaderName = (name: string): boolean => TOKEN.test(name)
export const isHeaderValue = (value: string): boolean => VALUE.test(value)

/** What is wrong with the headers of a request; undefined = nothing. */
export function headerFault(headers: Readonly<Record<string, string>>): string | undefined {
  for (const [name, value] of Object.entries(headers)) {
    if (!isHeaderName(name)) return 'A header name is not valid.'
    if (RESERVED_HEADERS.has(name.toLowerCase())) return `The header ${name.toLowerCase()} may not be set.`
    if (!isHeaderValue(value)) return `The value of the header ${name.toLowerCase()} is not valid.`
  }
  return undefined
}
