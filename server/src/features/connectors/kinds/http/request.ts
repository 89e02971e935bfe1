import { isHeaderValue } from '../../../../platform/dial/request-headers.ts'
import type { ProblemDetail } from '../../../../problems.ts'
import { fill, read, scalar, Unusable } from '../../fill-template.ts'
import {
  type Field,
  fieldsOf,
  parsePathTemplate,
  parseTemplate,
  soleField,
  type Template,
  valueAt,
} from '../../template.ts'
import { compileBodyWriter } from './body.ts'
import type { HttpOperation } from './settings.ts'

/** Longer ones are refused by most servers. */
const MAX_URL = 8_192
const MAX_HEADER = 8_192

export interface HttpRequest {
  readonly url: string
  /** Those of the config, and the content type of a body that no header of the config names. */
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
}

/** The request that an input makes, or why it makes none; paths are relative to the input. */
export type Rendered = { readonly request: HttpRequest } | { readonly faults: readonly ProblemDetail[] }

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
  const write =
    operation.body === undefined
      ? undefined
      : compileBodyWriter(operation.body_type ?? 'json', operation.body)

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
          headers: {
            ...(write && { 'content-type': write.contentType }),
            ...Object.fromEntries(fields),
          },
          ...(write && { body: write.body(input) }),
        },
      }
    } catch (error) {
      if (!(error instanceof Unusable)) throw error
      return { faults: [error.detail] }
    }
  }
}

const templatesOf = (texts: Readonly<Record<string, string>> = {}): [string, Template][] =>
  Object.entries(texts).map(([name, text]) => [name, read(parseTemplate(text))])

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
