import { isHeaderName, isHeaderValue, RESERVED_HEADERS } from '../../platform/dial/request-headers.ts'
import { pointerPart } from '../../platform/json-pointer.ts'
import type { ProblemDetail } from '../../problems.ts'
import type { HttpOperation, HttpSettings } from './http-settings.ts'
import { schemaFaults } from './json-schema.ts'
import {
  factsOf,
  fieldsOf,
  nameOf,
  parsePathTemplate,
  parseTemplate,
  soleField,
  type Template,
} from './template.ts'

/** Names of operations; the same characters as in `POST /execute`. */
const OPERATION_NAME = /^[a-z0-9]+([._-][a-z0-9]+)*$/
const PATH = /^(\/([A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2}|\{[^{}/]*\})*)+$/
/** Set by the hub itself, or credentials, which never stand in a config. */
const HUB_HEADERS = new Set(['authorization', 'cookie', 'traceparent', 'tracestate', 'user-agent'])
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

function authFaults(auth: HttpSettings['auth'], secretNames: readonly string[]): Fault[] {
  const type = auth?.type ?? 'none'
  const faults: Fault[] = []
  if (type !== 'none' && !secretNames.includes('token'))
    faults.push({ path: '/secrets/token', message: 'is missing: `auth` needs it' })
  if (type === 'none' && secretNames.includes('token'))
    faults.push({ path: '/secrets/token', message: 'is not used: `auth` sends no secret' })
  const header = auth?.header
  if (type === 'header' && header === undefined)
    faults.push({ path: '/settings/auth/header', message: 'is missing' })
  if (type !== 'header' && header !== undefined)
    faults.push({ path: '/settings/auth/header', message: 'belongs to the type `header` only' })
  if (header !== undefined) {
    const reserved =
      RESERVED_HEADERS.has(header.toLowerCase()) || header.toLowerCase().startsWith('x-orchestrator-')
    if (!isHeaderName(header) || reserved)
      faults.push({ path: '/settings/auth/header', message: 'is not a usable header name' })
  }
  return faults
}

/** Headers that the settings give a meaning, so that no operation may set them as well. */
const ownHeaders = ({ auth }: HttpSettings, operation?: HttpOperation): string[] =>
  [auth?.header, operation?.idempotency_key_header].flatMap((name) =>
    name === undefined ? [] : [name.toLowerCase()],
  )

function headerNameFault(path: string, name: string, taken: readonly string[]): Fault[] {
  const lower = name.toLowerCase()
  if (!isHeaderName(name)) return [{ path, message: 'is not a header name' }]
  const owned = RESERVED_HEADERS.has(lower) || HUB_HEADERS.has(lower) || lower.startsWith('x-orchestrator-')
  return owned || taken.includes(lower)
    ? [{ path, message: 'is set by the hub: it may not be set here' }]
    : []
}

const headerFaults = (
  path: string,
  headers: Readonly<Record<string, string>> = {},
  taken: readonly string[],
): Fault[] =>
  Object.entries(headers).flatMap(([name, value]) => [
    ...headerNameFault(`${path}/${pointerPart(name)}`, name, taken),
    ...(isHeaderValue(value)
      ? []
      : [{ path: `${path}/${pointerPart(name)}`, message: 'has characters that cannot stand in a header' }]),
  ])

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
  faults.push(
    ...under(`${at}/input`, inputFaults),
    ...under(`${at}/output`, schemaFaults(operation.output ?? {})),
  )
  if (!isPath(operation.path))
    faults.push({
      path: `${at}/path`,
      message: 'is not a usable path: no query, no empty, "." or ".." segment',
    })
  const taken = ownHeaders(settings, operation)
  faults.push(...headerFaults(`${at}/headers`, operation.headers, taken))
  const keyHeader = operation.idempotency_key_header
  if (keyHeader !== undefined)
    faults.push(...headerNameFault(`${at}/idempotency_key_header`, keyHeader, ownHeaders(settings)))
  if (operation.body !== undefined && (operation.method === 'GET' || operation.method === 'HEAD'))
    faults.push({ path: `${at}/body`, message: `${operation.method} takes no body` })
  // Fields can only be looked up in a schema that is in order.
  const schema = inputFaults.length === 0 ? (operation.input ?? {}) : undefined
  return [...faults, ...usesOf(operation).flatMap((use) => under(at, useFaults(use, schema)))]
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
  readonly place: 'path' | 'query' | 'header' | 'body'
}

function usesOf({ path, query = {}, headers = {}, body }: HttpOperation): Use[] {
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
    ...bodyUses(body, '/body'),
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
  const alone = soleField(template) !== undefined && place !== 'path'
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
