import { pointerPart } from '../../../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../../../problems.ts'
import { schemaFaults } from '../../json-schema.ts'
import { isObject } from '../../schema-rules.ts'
import {
  factsOf,
  fieldsOf,
  nameOf,
  parsePathTemplate,
  parseTemplate,
  soleField,
  type Template,
} from '../../template.ts'
import { authFaults, authHeadersOf } from './auth-checks.ts'
import { CONTENT_HEADERS, headerFaults, headerNameFault } from './header-checks.ts'
import { DEADLINE_HEADER } from './operation.ts'
import { answerFaults } from './response-checks.ts'
import type { HttpOperation, HttpSettings } from './settings.ts'

/** Names of operations; the same characters as in `POST /execute`. */
const OPERATION_NAME = /^[a-z0-9]+([._-][a-z0-9]+)*$/
const PATH = /^(\/([A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}|\{[^{}/]*\})*)+$/
const MAX_SCHEMA_BYTES = 256 * 1024

type Fault = ProblemDetail

/** Faults of an `http` connector that its settings' schema cannot say; paths start with `/settings` or `/secrets`. */
export function httpFaults(settings: HttpSettings, secretNames: readonly string[]): Fault[] {
  const operations = Object.entries(settings.operations)
  const schemaBytes = JSON.stringify(operations.map(([, { input, output }]) => [input, output])).length
  return [
    ...baseUrlFaults(settings.base_url),
    ...authFaults(settings.auth, secretNames),
    ...headerFaults('/settings/headers', settings.headers, ownHeaders(settings)),
    ...deadlineFaults(settings),
    ...healthFaults(settings),
    ...(schemaBytes > MAX_SCHEMA_BYTES
      ? [
          {
            path: '/settings/operations',
            message: `the schemas together have more than ${MAX_SCHEMA_BYTES} bytes`,
          },
        ]
      : operations.flatMap(([name, operation]) =>
          operationFaults(`/settings/operations/${pointerPart(name)}`, name, operation, settings),
        )),
  ]
}

function baseUrlFaults(text: string): Fault[] {
  const path = '/settings/base_url'
  const url = URL.parse(text)
  if (!url) return [{ path, message: 'is not a URL' }]
  const faults: Fault[] = []
  if (url.search !== '' || url.hash !== '' || /[?#]/.test(text))
    faults.push({ path, message: 'must have no query and no fragment' })
  if (url.username !== '' || url.password !== '')
    faults.push({ path, message: 'must have no user name or password: use `auth`' })
  return faults
}

/** Headers that the settings give a meaning, so that no operation may set them as well. */
const ownHeaders = (settings: HttpSettings, operation?: HttpOperation): string[] => [
  ...authHeadersOf(settings.auth),
  ...[settings.deadline_header, operation?.idempotency_key_header].flatMap((name) =>
    name === undefined ? [] : [name.toLowerCase()],
  ),
]

function deadlineFaults({ auth, deadline_header: name }: HttpSettings): Fault[] {
  if (name === undefined || name.toLowerCase() === DEADLINE_HEADER) return []
  return headerNameFault('/settings/deadline_header', name, [...CONTENT_HEADERS, ...authHeadersOf(auth)])
}

function healthFaults({ health }: HttpSettings): Fault[] {
  if (health === undefined || (isPath(health.path) && !health.path.includes('{'))) return []
  return [
    {
      path: '/settings/health/path',
      message: 'is not a usable path: no query, no fields, no empty, "." or ".." segment',
    },
  ]
}

function operationFaults(
  at: string,
  name: string,
  operation: HttpOperation,
  settings: HttpSettings,
): Fault[] {
  const faults: Fault[] = []
  if (!OPERATION_NAME.test(name) || name.length > 63)
    faults.push({
      path: at,
      message: 'is not a usable name: lower case, digits and . _ - between them, at most 63',
    })
  const inputFaults = schemaFaults(operation.input ?? {})
  const outputFaults = schemaFaults(operation.output ?? {})
  faults.push(...under(`${at}/input`, inputFaults), ...under(`${at}/output`, outputFaults))
  if (!isPath(operation.path))
    faults.push({
      path: `${at}/path`,
      message: 'is not a usable path: no query, no empty, "." or ".." segment',
    })
  const taken = ownHeaders(settings, operation)
  faults.push(...headerFaults(`${at}/headers`, operation.headers, taken))
  const keyHeader = operation.idempotency_key_header
  if (keyHeader !== undefined)
    faults.push(
      ...headerNameFault(`${at}/idempotency_key_header`, keyHeader, [
        ...CONTENT_HEADERS,
        ...ownHeaders(settings),
      ]),
    )
  faults.push(...under(at, bodyFaults(operation)))
  const safe = operation.safe ?? (operation.method === 'GET' || operation.method === 'HEAD')
  const output = outputFaults.length === 0 ? (operation.output ?? {}) : undefined
  faults.push(...under(at, answerFaults(operation, safe, output)))
  // Fields can only be looked up in a schema that is in order.
  const schema = inputFaults.length === 0 ? (operation.input ?? {}) : undefined
  return [...faults, ...usesOf(operation).flatMap((use) => under(at, useFaults(use, schema)))]
}

function bodyFaults({ method, body, body_type: type }: HttpOperation): Fault[] {
  if (body === undefined) return type === undefined ? [] : [{ path: '/body_type', message: 'needs a body' }]
  if (method === 'GET' || method === 'HEAD') return [{ path: '/body', message: `${method} takes no body` }]
  if (type === 'text' && typeof body !== 'string')
    return [{ path: '/body', message: 'must be a text: `body_type` is text' }]
  const form = typeof body === 'string' ? body.includes('{{') : isObject(body)
  if (type === 'form' && !form)
    return [{ path: '/body', message: 'must be an object, or the field of one: `body_type` is form' }]
  return []
}

const under = (prefix: string, faults: readonly Fault[]): Fault[] =>
  faults.map(({ path, message }) => ({ path: prefix + path, message }))

/** A path of the config itself; percent-escapes must not hide a dot segment. */
function isPath(path: string): boolean {
  if (!PATH.test(path)) return false
  return path
    .slice(1)
    .split('/')
    .every((segment, at, all) => {
      const plain = segment.replaceAll(/%2e/gi, '.')
      // A path may end in a slash.
      return plain !== '.' && plain !== '..' && (plain !== '' || at === all.length - 1)
    })
}

/** A template somewhere in an operation, and what may stand in for its fields. */
interface Use {
  readonly path: string
  readonly template: Template | string
  readonly place: 'path' | 'query' | 'header' | 'body' | 'text'
}

function usesOf({ path, query = {}, headers = {}, body, body_type: type }: HttpOperation): Use[] {
  return [
    { path: '/path', template: parsePathTemplate(path), place: 'path' },
    ...Object.entries(query).map(
      ([name, text]): Use => ({
        path: `/query/${pointerPart(name)}`,
        template: parseTemplate(text),
        place: 'query',
      }),
    ),
    ...Object.entries(headers).map(
      ([name, text]): Use => ({
        path: `/headers/${pointerPart(name)}`,
        template: parseTemplate(text),
        place: 'header',
      }),
    ),
    ...(type === 'text' && typeof body === 'string'
      ? [{ path: '/body', template: parseTemplate(body), place: 'text' } as const]
      : bodyUses(body, '/body')),
  ]
}

function bodyUses(body: unknown, path: string): Use[] {
  if (typeof body === 'string') return [{ path, template: parseTemplate(body), place: 'body' }]
  if (typeof body !== 'object' || body === null) return []
  return Object.entries(body).flatMap(([name, value]) => bodyUses(value, `${path}/${pointerPart(name)}`))
}

function useFaults({ path, template, place }: Use, schema: unknown): Fault[] {
  if (typeof template === 'string') return [{ path, message: template }]
  if (schema === undefined) return []
  const alone = soleField(template) !== undefined && place !== 'path' && place !== 'text'
  return fieldsOf(template).flatMap((field): Fault[] => {
    const name = nameOf(field)
    const facts = factsOf(field, schema)
    if (!facts) return [{ path, message: `uses ${name}, which the input schema does not have` }]
    // A body takes any value in place of a whole string.
    if (alone && place === 'body') return []
    const structured = ['object', ...(alone && place === 'query' ? [] : ['array'])]
    if (facts.types && structured.some((type) => facts.types?.has(type)))
      return [{ path, message: `uses ${name} as text, but it may be an object or a list` }]
    if (!alone && !facts.required)
      return [{ path, message: `uses ${name} as a part of a text, so the input schema must require it` }]
    return []
  })
}
