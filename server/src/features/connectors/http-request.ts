import { isHeaderValue } from '../../platform/dial/request-headers.ts'
import type { ProblemDetail } from '../../problems.ts'
import type { HttpOperation } from './http-settings.ts'
import {
  type Field,
  fieldsOf,
  parsePathTemplate,
  parseTemplate,
  soleField,
  type Template,
  valueAt,
} from './template.ts'

/** Longer ones are refused by most servers. */
const MAX_URL = 8_192
const MAX_HEADER = 8_192

export interface HttpRequest {
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  /** JSON. */
  readonly body?: string
}

/** The request that an input makes, or why it makes none; paths are relative to the input. */
export type Rendered = { readonly request: HttpRequest } | { readonly faults: readonly ProblemDetail[] }

/** Thrown inside a rendering only: the first value that cannot be sent ends it. */
class Unusable extends Error {
  readonly detail: ProblemDetail

  constructor(field: Field | undefined, message: string) {
    super(message)
    this.detail = { path: (field?.path ?? []).map((member) => `/${member}`).join(''), message }
  }
}

/** Makes the function that renders inputs. The operation has been checked, so its templates can be read. */
export function compileRequest(baseUrl: string, operation: HttpOperation): (input: unknown) => Rendered {
  const base = new URL(baseUrl)
  const prefix = base.origin + base.pathname.replace(/\/+$/, '')
  const segments = operation.path
    .split('/')
    .slice(1)
    .map((segment) => read(parsePathTemplate(segment)))
  const query = templatesOf(operation.query)
  const headers = templatesOf(operation.headers)
  const body = operation.body === undefined ? undefined : compileBody(operation.body)

  return (input) => {
    try {
      const path = segments.map((segment) => `/${pathSegment(segment, input)}`).join('')
      const parameters = query.flatMap(([name, template]) => queryParameters(name, template, input))
      const url = prefix + path + (parameters.length > 0 ? `?${parameters.join('&')}` : '')
      if (url.length > MAX_URL)
        throw new Unusable(undefined, `makes a URL of more than ${MAX_URL} characters`)
      const fields = headers.flatMap(([name, template]) => headerField(name, template, input))
      return {
        request: {
          url,
          headers: Object.fromEntries(fields),
          ...(body && { body: JSON.stringify(body(input) ?? null) }),
        },
      }
    } catch (error) {
      if (!(error instanceof Unusable)) throw error
      return { faults: [error.detail] }
    }
  }
}

function read(template: Template | string): Template {
  if (typeof template === 'string') throw new Error(`a template ${template}`)
  return template
}

const templatesOf = (texts: Readonly<Record<string, string>> = {}): [string, Template][] =>
  Object.entries(texts).map(([name, text]) => [name, read(parseTemplate(text))])

/** A value as text; only text, numbers and booleans have one. */
function scalar(field: Field, value: unknown): string {
  if (typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean')
    return String(value)
  throw new Unusable(
    field,
    value === undefined || value === null ? 'is missing' : 'must be text, a number or a boolean',
  )
}

const fill = (template: Template, input: unknown, encode: (text: string) => string): string =>
  template.parts
    .map((part) => (typeof part === 'string' ? part : encode(scalar(part, valueAt(part, input)))))
    .join('')

/** One segment of the path. A value cannot add segments, and cannot make one that a URL parser takes away. */
function pathSegment(template: Template, input: unknown): string {
  const [field] = fieldsOf(template)
  const segment = fill(template, input, (text) => encode(field, text))
  if (field && (segment === '' || segment === '.' || segment === '..'))
    throw new Unusable(field, 'must not be empty, "." or "..": it is a part of the path')
  return segment
}

function encode(field: Field | undefined, text: string): string {
  try {
    return encodeURIComponent(text)
  } catch {
    throw new Unusable(field, 'has broken Unicode')
  }
}

/** `name=value`; none when the one field it consists of is missing, several when that field is a list. */
function queryParameters(name: string, template: Template, input: unknown): string[] {
  const field = soleField(template)
  const value = field && valueAt(field, input)
  if (field && (value === undefined || value === null)) return []
  const texts =
    field && Array.isArray(value)
      ? value.map((item: unknown) => scalar(field, item))
      : [fill(template, input, (text) => text)]
  return texts.map((text) => `${encode(field, name)}=${encode(field ?? fieldsOf(template)[0], text)}`)
}

function headerField(name: string, template: Template, input: unknown): [string, string][] {
  const sole = soleField(template)
  const value = sole && valueAt(sole, input)
  if (sole && (value === undefined || value === null)) return []
  const text = fill(template, input, (part) => part)
  const [field] = fieldsOf(template)
  if (!isHeaderValue(text)) throw new Unusable(field, 'has characters that cannot stand in a header')
  if (text.length > MAX_HEADER)
    throw new Unusable(field, `is too long for a header (${MAX_HEADER} characters)`)
  return [[name.toLowerCase(), text]]
}

/** Makes the function that fills a body: strings become values or texts, missing values leave no trace. */
function compileBody(body: unknown): (input: unknown) => unknown {
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
