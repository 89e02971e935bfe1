import type { ProblemDetail } from '../../problems.ts'
import { type Field, parseTemplate, soleField, type Template, valueAt } from './template.ts'

/** Thrown inside a rendering only: the first value that cannot be sent ends it. */
export class Unusable extends Error {
  readonly detail: ProblemDetail

  constructor(field: Field | undefined, message: string) {
    super(message)
    this.detail = { path: (field?.path ?? []).map((member) => `/${member}`).join(''), message }
  }
}

/** A template of a config that has been checked. */
export function read(template: Template | string): Template {
  if (typeof template === 'string') throw new Error(`a template ${template}`)
  return template
}

/** A value as text; only text, numbers and booleans have one. */
export function scalar(field: Field | undefined, value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return String(value)
  throw new Unusable(
    field,
    value === undefined || value === null ? 'is missing' : 'must be text, a number or a boolean',
  )
}

export const fill = (template: Template, input: unknown, encode: (text: string) => string): string =>
  template.parts
    .map((part) => (typeof part === 'string' ? part : encode(scalar(part, valueAt(part, input)))))
    .join('')

/** Makes the function that fills a body: strings become values or texts, missing values leave no trace. */
export function compileBody(body: unknown): (input: unknown) => unknown {
  if (typeof body === 'string') {
    const template = read(parseTemplate(body))
    const field = soleField(template)
    return field ? (input) => valueAt(field, input) : (input) => fill(template, input, (text) => text)
  }
  if (Array.isArray(body)) {
    const items = body.map(compileBody)
    return (input) => items.map((item) => item(input)).filter((item) => item !== undefined)
  }
  if (typeof body === 'object' && body !== null) {
    const members = Object.entries(body).map(([name, value]) => [name, compileBody(value)] as const)
    return (input) => Object.fromEntries(members.map(([name, value]) => [name, value(input)]))
  }
  return () => body
}
