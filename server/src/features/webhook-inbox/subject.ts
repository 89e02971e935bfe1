import { pointedAt } from '../../platform/json-pointer.ts'
import { jsonOf } from './compare.ts'
import type { Subject } from './selection.ts'

export interface PayloadContent {
  readonly body: Buffer
  readonly headers: Readonly<Record<string, string>>
}

/** The payload as values: JSON, or the fields of a form. Undefined when it is neither. */
function valuesOf({ body, headers }: PayloadContent): unknown {
  const isForm =
    headers['content-type']?.toLowerCase().startsWith('application/x-www-form-urlencoded') ?? false
  if (isForm) return Object.fromEntries(new URLSearchParams(body.toString('utf8')))
  return jsonOf(body)?.value
}

/** Whether any text of a value has `part`, names of members included: JSON may write it in escapes. */
function hasText(value: unknown, part: string): boolean {
  if (typeof value === 'string') return value.includes(part)
  if (typeof value === 'number' || typeof value === 'boolean') return String(value).includes(part)
  if (typeof value !== 'object' || value === null) return false
  return Object.entries(value).some(([name, member]) => name.includes(part) || hasText(member, part))
}

const isScalar = (value: unknown): boolean => typeof value === 'string' || typeof value === 'number'

/** Whether a payload is about the subject, in every way that it says. A number equals its decimal digits. */
export function matcherOf({ pointer, equals, contains }: Subject): (content: PayloadContent) => boolean {
  if (equals === undefined && contains === undefined) return () => false
  const bytes = Buffer.from(contains ?? '')
  return (content) => {
    if (contains !== undefined && !content.body.includes(bytes) && !hasText(valuesOf(content), contains))
      return false
    if (equals === undefined || pointer === undefined) return contains !== undefined
    const value = pointedAt(valuesOf(content), pointer)
    return isScalar(value) && String(value) === equals
  }
}
