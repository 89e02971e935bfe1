import { compileBody, fill, read, scalar, Unusable } from '../../fill-template.ts'
import { parseTemplate, soleField } from '../../template.ts'
import type { HttpOperation } from './settings.ts'

export interface BodyWriter {
  readonly contentType: string
  /** Throws `Unusable` for an input that makes no such body. */
  body(input: unknown): string
}

/** Makes the function that writes a body of one type from its template. */
export function compileBodyWriter(
  type: NonNullable<HttpOperation['body_type']>,
  template: unknown,
): BodyWriter {
  if (type === 'text') {
    const text = read(parseTemplate(String(template)))
    return { contentType: 'text/plain; charset=utf-8', body: (input) => fill(text, input, (part) => part) }
  }
  const filled = compileBody(template)
  return type === 'form'
    ? { contentType: 'application/x-www-form-urlencoded', body: (input) => form(template, filled(input)) }
    : { contentType: 'application/json', body: (input) => JSON.stringify(filled(input) ?? null) }
}

/** `a=1&b=x&b=y`: a list repeats its name, a missing value drops it (WHATWG URL §5.2). */
function form(template: unknown, value: unknown): string {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new Unusable(soleOf(template), 'must be an object: it becomes a form')
  const pairs = Object.entries(value).flatMap(([name, member]) => {
    if (member === undefined || member === null) return []
    const source = soleOf((template as Readonly<Record<string, unknown>>)[name]) ?? soleOf(template, name)
    const items: readonly unknown[] = Array.isArray(member) ? member : [member]
    return items.map((item): [string, string] => [name, scalar(source, item)])
  })
  return new URLSearchParams(pairs).toString()
}

/** The field that a template is made of alone, or a member of what it stands for: the place to blame. */
function soleOf(template: unknown, member?: string) {
  const parsed = typeof template === 'string' ? parseTemplate(template) : undefined
  const field = typeof parsed === 'object' ? soleField(parsed) : undefined
  return field && member !== undefined ? { path: [...field.path, member] } : field
}
