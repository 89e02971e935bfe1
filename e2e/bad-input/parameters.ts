/** Everything that can be wrong with the token, the query, the path and the headers of a request. */
import type { GoodRequest } from './good-request.ts'
import { freshAjv } from './schemas.ts'
import type { Operation, Parameter, Wire } from './wire.ts'

export interface BadRequest {
  readonly name: string
  readonly wire: Wire
  readonly codes: readonly string[]
  /** JSON pointer that `details` must name, or something below it. */
  readonly at?: string
  /** Good for some lists, e.g. a cursor of the same shape: then it must simply not be a fault of the hub. */
  readonly mayPass?: boolean
}

/** The parts of a request before they become a path. */
export interface Parts {
  readonly method: string
  /** As in the OpenAPI document: `/jobs/{id}`. */
  readonly template: string
  readonly good: GoodRequest
  readonly authorization?: string | undefined
}

const encodedQuery = (query: Readonly<Record<string, string>>): string =>
  Object.entries(query)
    .map(([name, value]) => `${encodeURIComponent(name)}=${encodeURIComponent(value)}`)
    .join('&')

/** The wire form of a request; `raw` parts are put in as they are. */
export function wireOf(
  { method, template, good, authorization }: Parts,
  change: {
    readonly query?: string
    readonly params?: Readonly<Record<string, string>>
    readonly headers?: Readonly<Record<string, string | string[]>>
    readonly body?: string | Buffer | undefined
    readonly noContentType?: boolean
  } = {},
): Wire {
  const params = { ...good.params, ...change.params }
  const path = template.replaceAll(/\{(\w+)\}/g, (_all, name: string) => params[name] ?? 'missing-example')
  const query = change.query ?? encodedQuery(good.query ?? {})
  const goodBody = good.body === undefined ? good.bytes : JSON.stringify(good.body)
  const body = 'body' in change ? change.body : goodBody
  return {
    method,
    path: query === '' ? path : `${path}?${query}`,
    headers: {
      ...good.headers,
      ...(authorization !== undefined && { authorization }),
      ...(body !== undefined && !change.noContentType && { 'content-type': 'application/json' }),
      ...change.headers,
    },
    ...(body !== undefined && { body }),
  }
}

const INVALID = ['validation_error', 'malformed_request']

/** As they stand in a query: wrongly encoded, too long, of the wrong type, or an attempt at something else. */
const QUERY_VALUES = [
  '',
  '%20',
  'x'.repeat(5_000),
  '-1',
  '0',
  '1.5',
  '1e400',
  '9007199254740993',
  'NaN',
  'true',
  'null',
  '%00',
  'a%00b',
  '%F0%9F%98%80',
  '%ff',
  '%zz',
  '%ED%A0%80',
  '%27%20or%201%3D1--',
  '../../etc/passwd',
  '[]',
  '{}',
]

const asCursor = (text: string): string => Buffer.from(text).toString('base64url')

/** Of no list, or of the right shape with values that no list ever gave out. */
const CURSORS = [
  '',
  'x',
  '%ff',
  '=',
  ...[
    'null',
    '{}',
    '[]',
    '[null]',
    '["a"]',
    '[1]',
    '[0]',
    '[-1]',
    '[2147483648]',
    '[9007199254740991]',
    '[9007199254740993]',
    '[1e400]',
    '[1.5]',
    '["0","0"]',
    '["99999999999999999999",1]',
    '["9223372036854775807",9007199254740991]',
    '["-1",1]',
    '["00000000-0000-0000-0000-000000000000"]',
    '["01900000-0000-7000-8000-000000000000"]',
    '["01900000-0000-7000-8000-00000000000G"]',
    '["\\u0000"]',
    '["\\ud800"]',
    '[9007199254740991,"01900000-0000-7000-8000-000000000000"]',
    '[-9007199254740991,"01900000-0000-7000-8000-000000000000"]',
    '[9007199254740991,"0123456789abcdef"]',
    '[-9007199254740991,"0123456789abcdef"]',
    '[["a"]]',
    `${'['.repeat(150)}${']'.repeat(150)}`,
    'not json',
  ].map(asCursor),
]

const PATH_VALUES = [
  '00000000-0000-0000-0000-000000000000',
  'ffffffff-ffff-ffff-ffff-ffffffffffff',
  '7c9e6679-7425-40de-944b-e07fc1f90ae7',
  'FFFFFFFF-FFFF-7FFF-8FFF-FFFFFFFFFFFF',
  'not-an-id',
  '%00',
  'a%00b',
  'x'.repeat(200),
  'x'.repeat(300),
  '..%2f..%2fetc%2fpasswd',
  '..',
  '.',
  '%2e%2e',
  '%ff',
  '%zz',
  '%ED%A0%80',
  '%F0%9F%98%80',
  '%27%20or%201%3D1--',
  '%7B01900000-0000-7000-8000-000000000000%7D',
  'urn:uuid:01900000-0000-7000-8000-000000000000',
  '01900000-0000-7000-8000-00000000000g',
  '0',
  '-1',
  '1e400',
  '9007199254740993',
  '2147483648',
  'constructor',
  '__proto__',
  'hasOwnProperty',
  'tostring',
  'UPPER',
  '%20',
]

const HEADER_VALUES: Readonly<Record<string, readonly (string | string[])[]>> = {
  'if-match': [
    'x',
    '**',
    '*, "1"',
    '"abc"',
    '99999999999',
    '-1',
    '"1',
    '1"',
    'W/"1"',
    '',
    '1, 2',
    ['1', '2'],
  ],
  'idempotency-key': ['', ' ', 'a b', 'x'.repeat(256), 'm\u00fcll', ['a', 'b']],
  'last-event-id': [...CURSORS.filter((value) => value !== '' && !value.startsWith('%')), 'x'.repeat(600)],
  // RFC 7240: a preference that is not understood is ignored, so none is bad.
  prefer: [],
}

const HEADER_CODES = ['validation_error', 'idempotency_key_invalid', 'version_mismatch', 'malformed_request']

/** What a server reads out of a parameter: text, turned into what the schema asks for. */
function parameterOracle({ schema }: Parameter): (value: string) => boolean {
  const wrapped = { type: 'object', properties: { value: schema }, required: ['value'] }
  const check = freshAjv({ coerceTypes: true }).compile(wrapped)
  // ajv reads 1e400 as Infinity, and then holds no limit against it.
  return (value) => check({ value }) && !(schema.type === 'integer' && !Number.isSafeInteger(Number(value)))
}

const decoded = (text: string): string | undefined => {
  try {
    return decodeURIComponent(text)
  } catch {
    return undefined
  }
}

const show = (value: string | string[]): string => {
  const text = String(value)
  return text.length > 40 ? `${text.slice(0, 37)}… (${text.length})` : text
}

function badQuery(parts: Parts, parameter: Parameter): BadRequest[] {
  const { name, required } = parameter
  const fits = parameterOracle(parameter)
  const { [name]: good = '', ...others } = parts.good.query ?? {}
  const at = `/query/${name}`
  const withValue = (raw: string): string =>
    [encodedQuery(others), raw].filter((part) => part !== '').join('&')
  const bad = (value: string, mayPass: boolean): BadRequest => ({
    name: `?${name}=${show(value)}`,
    wire: wireOf(parts, { query: withValue(`${name}=${value}`) }),
    codes: INVALID,
    // A query that cannot be read as a whole has no field at fault.
    ...(decoded(value)?.includes('\0') === false && { at }),
    mayPass,
  })
  const values = QUERY_VALUES.filter((value) => {
    const text = decoded(value)
    return text === undefined || text.includes('\0') || !fits(text)
  })
  return [
    ...values.map((value) => bad(value, false)),
    ...(name === 'cursor' ? CURSORS.map((value) => bad(value, decoded(value) !== undefined)) : []),
    {
      name: `?${name} twice`,
      wire: wireOf(parts, {
        query: withValue([good, good].map((value) => encodedQuery({ [name]: value })).join('&')),
      }),
      codes: INVALID,
      at,
    },
    ...(required
      ? [
          {
            name: `?${name} missing`,
            wire: wireOf(parts, { query: encodedQuery(others) }),
            codes: INVALID,
            at,
          },
        ]
      : []),
  ]
}

const MAX_PATH_PART = 256
const ABSENT = ['not_found', 'signature_invalid', 'route_not_found']

function badPath(parts: Parts, parameter: Parameter): BadRequest[] {
  const { name } = parameter
  const fits = parameterOracle(parameter)
  return PATH_VALUES.flatMap((value): BadRequest[] => {
    const text = decoded(value)
    const wellFormed = text !== undefined && !text.includes('\0') && text.length < MAX_PATH_PART && fits(text)
    // A good name that nothing has yet: writing to it makes it.
    if (wellFormed && parts.method === 'PUT') return []
    const wire = wireOf(parts, { params: { [name]: value } })
    const request = { name: `{${name}} = ${show(value)}`, wire }
    if (wellFormed) return [{ ...request, codes: ABSENT }]
    return [{ ...request, codes: [...INVALID, 'route_not_found'] }]
  })
}

const badHeader = (parts: Parts, { name }: Parameter): BadRequest[] =>
  (HEADER_VALUES[name] ?? []).map((value) => ({
    name: `${name}: ${show(value)}`,
    wire: wireOf(parts, { headers: { [name]: value } }),
    codes: HEADER_CODES,
    mayPass: parts.method === 'GET',
  }))

/** Every bad version of a request's query, path and headers. */
export function badParameters(parts: Parts, { parameters = [] }: Operation): BadRequest[] {
  const make = { query: badQuery, path: badPath, header: badHeader }
  const known = parameters.flatMap((parameter) => make[parameter.in](parts, parameter))
  if (parts.authorization === undefined) return known
  const query = encodedQuery(parts.good.query ?? {})
  const unknown = ['unknown_parameter', '__proto__', 'constructor', 'a%5Bb%5D', 'Limit'].map((name) => ({
    name: `?${name}`,
    wire: wireOf(parts, { query: [query, `${name}=1`].filter((part) => part !== '').join('&') }),
    codes: INVALID,
    at: `/query/${decodeURIComponent(name)}`,
  }))
  return [...known, ...unknown]
}

/** Headers without a list of bad values: the matrix would not spoil them. */
export const unknownHeaders = ({ parameters = [] }: Operation): string[] =>
  parameters.filter((one) => one.in === 'header' && !HEADER_VALUES[one.name]).map(({ name }) => name)
