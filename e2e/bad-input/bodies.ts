/** Everything that can be wrong with a JSON body, a fault at a time, from the schema and one good body. */

import { gzipSync } from 'node:zlib'
import { isObject, oracle, type Place, placesOf, pointerPart, without, withText } from './schemas.ts'
import type { Schema } from './wire.ts'

export interface BadBody {
  readonly name: string
  readonly body?: string | Buffer
  /** Instead of `content-type: application/json`. */
  readonly headers?: Readonly<Record<string, string>>
  readonly codes: readonly string[]
  /** JSON pointer that `details` must name, or something below it. */
  readonly at?: string
}

/** What is wrong about the content: by the schema, by the connector kind, by the operation. */
const INVALID = ['validation_error', 'config_invalid', 'input_invalid']
const MALFORMED = ['malformed_body']
const NOT_TAKEN = ['unsupported_media_type']

/** One of every JSON type, and numbers that are none or that JavaScript cannot hold. */
const TYPES = ['"text"', '7', '1.5', 'true', 'null', '{}', '[]', '{"a":1}', '[1]', '-1']
const NUMBERS = ['1e400', '-1e400', '9007199254740993', '-9007199254740993', '1e21', '0.5']

/** Texts that no field takes that has any limit. */
const TEXTS = [
  '',
  ' ',
  '\u{1F600}',
  '../../etc/passwd',
  "' or 1=1 --",
  '<script>',
  '\u202e',
  '%00',
  'x\r\ny: z',
]

const NUL = '"a\\u0000b"'
const HALF_PAIRS = ['"\\ud800"', '"a\\udc00b"']
const longText = (length: number): string => JSON.stringify('x'.repeat(length))

/** Of hundreds in one body, so that the body is not too large before it is wrong. */
const smallestOf = (members: object): unknown =>
  Object.values(members).sort((one, other) => JSON.stringify(one).length - JSON.stringify(other).length)[0]

/** Values that may be wrong at a place; which ones are, the schema decides. */
function suspects({ schema, value }: Place): string[] {
  const found = [...TYPES, ...NUMBERS]
  const { minimum, maximum, maxLength, minLength, maxItems, minItems, uniqueItems, maxProperties } = schema
  const bounds: [unknown, (bound: number) => string][] = [
    [minimum, (bound) => String(bound - 1)],
    [maximum, (bound) => String(bound + 1)],
    [maxLength, (bound) => longText(bound + 1)],
    [minLength, (bound) => longText(bound - 1)],
    [maxItems, (bound) => JSON.stringify(Array.from({ length: bound + 1 }, () => (value as unknown[])[0]))],
    [minItems, (bound) => JSON.stringify((value as unknown[]).slice(0, bound - 1))],
    [
      maxProperties,
      (bound) =>
        JSON.stringify(
          Object.fromEntries(
            Array.from({ length: bound + 1 }, (_, at) => [`k${at}`, smallestOf(value as object)]),
          ),
        ),
    ],
  ]
  for (const [bound, make] of bounds) if (typeof bound === 'number') found.push(make(bound))
  if (uniqueItems === true && Array.isArray(value)) found.push(JSON.stringify([...value, ...value]))
  if (typeof value === 'string') found.push(...TEXTS.map((text) => JSON.stringify(text)), longText(50_000))
  return [...new Set(found)]
}

const short = (text: string): string => (text.length > 40 ? `${text.slice(0, 37)}… (${text.length})` : text)

/** Faults at one place of the body. */
function faultsAt(place: Place, body: unknown, fits: (text: string) => boolean): BadBody[] {
  const { pointer, schema, value } = place
  const at = `/body${pointer}`
  const cases: BadBody[] = []
  const add = (what: string, text: string, codes = INVALID, where = at): void => {
    if (codes === MALFORMED || !fits(text))
      cases.push({ name: `${what} at ${where}`, body: text, codes, at: where })
  }
  for (const text of suspects(place))
    add(short(text), withText(body, pointer, text), [...INVALID, ...MALFORMED])
  if (typeof value === 'string') {
    add('U+0000', withText(body, pointer, NUL), MALFORMED)
    for (const half of HALF_PAIRS)
      add(`half a surrogate pair ${half}`, withText(body, pointer, half), MALFORMED)
  }
  if (typeof value === 'number') add('1e400', withText(body, pointer, '1e400'), MALFORMED)
  if (!isObject(value)) return cases
  for (const name of Array.isArray(schema.required) ? (schema.required as string[]) : [])
    add('missing', without(body, `${pointer}/${pointerPart(name)}`), INVALID, `${at}/${pointerPart(name)}`)
  if (schema.additionalProperties === false)
    for (const name of ['unknown_field', 'a/b~c', 'Reason', 'hasOwnProperty'])
      add(
        'unknown',
        withText(body, `${pointer}/${pointerPart(name)}`, '1'),
        INVALID,
        `${at}/${pointerPart(name)}`,
      )
  // An empty one takes anything here: its names are what is wrong.
  const [named = []] = Object.values(value)
  if (isObject(schema.additionalProperties) || isObject(schema.patternProperties))
    // Not asked of the schema: OpenAPI documents do not tell the rules for names.
    for (const [key, member] of [
      ['', named],
      ['no such name!', named],
      ['x'.repeat(300), named],
      ['a\r\nb', named],
      ['a\nb', []],
    ] as const)
      cases.push({
        name: `the name ${short(key)} at ${at}`,
        body: withText(body, `${pointer}/${pointerPart(key)}`, JSON.stringify(member)),
        codes: INVALID,
        at,
      })
  cases.push(
    {
      name: `U+0000 in a key at ${at}`,
      body: withKey(body, pointer, '"a\\u0000"', '1'),
      codes: MALFORMED,
      at,
    },
    {
      name: `half a pair in a key at ${at}`,
      body: withKey(body, pointer, '"\\ud800"', '1'),
      codes: MALFORMED,
      at,
    },
    { name: `__proto__ at ${at}`, body: withKey(body, pointer, '"__proto__"', '{"x":1}'), codes: MALFORMED },
    {
      name: `__proto__ in escapes at ${at}`,
      body: withKey(body, pointer, '"\\u005f_proto__"', '{"x":1}'),
      codes: MALFORMED,
    },
    {
      name: `constructor.prototype at ${at}`,
      body: withKey(body, pointer, '"constructor"', '{"prototype":{"x":1}}'),
      codes: MALFORMED,
    },
  )
  return cases
}

/** The body with one more member, its key as JSON text, in the object at `pointer`. */
function withKey(body: unknown, pointer: string, key: string, text: string): string {
  const marker = 'added-by-the-matrix'
  return withText(body, `${pointer}/${marker}`, text).replace(JSON.stringify(marker), () => key)
}

/** Bodies that are wrong as a whole. */
function wholeFaults(good: string, limit: number): BadBody[] {
  const typed = (type: string) => ({ 'content-type': type })
  const brokenUtf8 = Buffer.from(good)
  brokenUtf8.writeUInt8(0xff, good.indexOf('"') + 1)
  const cut = Buffer.concat([Buffer.from(good.slice(0, -1)), Buffer.from([0xc3])])
  return [
    { name: 'the body in a list', body: `[${good}]`, codes: INVALID, at: '/body' },
    { name: 'an empty body', body: '', codes: MALFORMED },
    ...[
      'amount=1',
      good.slice(0, -1),
      `${good},`,
      `${good}{}`,
      'NaN',
      '{"a":1,}',
      "{'a':1}",
      '\u0000',
      good.replace('"', '“'),
    ].map((body) => ({ name: `not JSON: ${short(body)}`, body, codes: MALFORMED })),
    { name: 'broken UTF-8', body: brokenUtf8, codes: MALFORMED },
    { name: 'cut UTF-8', body: cut, codes: MALFORMED },
    { name: 'UTF-16', body: Buffer.from(good, 'utf16le'), codes: MALFORMED },
    { name: '1,000 arrays deep', body: `${'['.repeat(1_000)}${']'.repeat(1_000)}`, codes: MALFORMED },
    { name: '1,000 objects deep', body: `${'{"a":'.repeat(1_000)}1${'}'.repeat(1_000)}`, codes: MALFORMED },
    {
      name: 'a known field 1,000 deep',
      body: good.replace(/^\{("[a-z_]+":)/, `{$1${'['.repeat(1_000)}${']'.repeat(1_000)},"reason":`),
      codes: MALFORMED,
    },
    { name: 'oversized', body: `${good}${' '.repeat(limit)}`, codes: ['body_too_large'] },
    {
      name: 'oversized in chunks',
      body: `${good}${' '.repeat(limit)}`,
      headers: { ...typed('application/json'), 'transfer-encoding': 'chunked' },
      codes: ['body_too_large'],
    },
    ...[
      'text/plain',
      'application/x-www-form-urlencoded',
      'multipart/form-data; boundary=x',
      'application/xml',
      '/',
    ].map((type) => ({ name: `content-type ${type}`, body: good, headers: typed(type), codes: NOT_TAKEN })),
    { name: 'no content-type', body: good, headers: {}, codes: NOT_TAKEN },
    ...['gzip', 'br', 'identity, gzip'].map((encoding) => ({
      name: `content-encoding ${encoding}`,
      body: gzipSync(good),
      headers: { ...typed('application/json'), 'content-encoding': encoding },
      codes: NOT_TAKEN,
    })),
  ]
}

/** Every bad version of a good body. `schema` is refined: it says something about every part but the open ones. */
export function badBodies(schema: Schema, body: unknown, open: readonly string[], limit: number): BadBody[] {
  const good = JSON.stringify(body)
  const fits = oracle(schema)
  if (!fits(good)) throw new Error(`the good body does not fit its schema: ${good}`)
  return [
    ...wholeFaults(good, limit),
    // A route that takes no body takes null for it.
    ...(fits('null') ? [] : [{ name: 'no body', headers: {}, codes: INVALID, at: '/body' }]),
    ...placesOf(schema, body, open).flatMap((place) => faultsAt(place, body, fits)),
  ]
}
