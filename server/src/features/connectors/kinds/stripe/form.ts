import { pointerPart } from '../../../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../../../problems.ts'

/** `encodeURIComponent` leaves these as they are; Stripe's own libraries escape them, and leave brackets readable. */
const ALSO_ESCAPED = /[!'()*]/g

const escapeText = (text: string): string =>
  encodeURIComponent(text)
    .replace(ALSO_ESCAPED, (mark) => `%${mark.charCodeAt(0).toString(16).toUpperCase()}`)
    .replaceAll('%5B', '[')
    .replaceAll('%5D', ']')

/**
 * Parameters as Stripe's API takes them, in bodies and queries alike: `items[0][price]=price_1`. Null is sent as
 * the empty value, by which Stripe clears a field; empty lists and objects leave no trace.
 */
export function encodeForm(params: Readonly<Record<string, unknown>>): string {
  const pairs: string[] = []
  const add = (name: string, value: unknown): void => {
    if (typeof value !== 'object' || value === null) {
      if (value !== undefined) pairs.push(`${escapeText(name)}=${escapeText(String(value ?? ''))}`)
      return
    }
    // Lists as well: their members are named by their place.
    for (const [member, inside] of Object.entries(value)) add(`${name}[${member}]`, inside)
  }
  for (const [name, value] of Object.entries(params)) add(name, value)
  return pairs.join('&')
}

/** Where texts have halves of characters (lone surrogates), which no encoding can carry. */
export function unencodable(value: unknown, path = ''): ProblemDetail[] {
  const broken = (text: string) => !text.isWellFormed()
  if (typeof value === 'string') return broken(value) ? [{ path, message: 'has broken Unicode' }] : []
  if (typeof value !== 'object' || value === null) return []
  return Object.entries(value).flatMap(([name, inside]) =>
    broken(name)
      ? [{ path, message: 'has a name with broken Unicode' }]
      : unencodable(inside, `${path}/${pointerPart(name)}`),
  )
}
