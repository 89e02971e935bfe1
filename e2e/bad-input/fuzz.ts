/** Random bad input: good bodies with a few parts replaced, removed or added, and bytes that are anything. */
import fc from 'fast-check'
import type { GoodBody } from './matrix.ts'
import { isObject, type Place, placesOf, pointerPart } from './schemas.ts'

/** What has broken parsers, databases, logs and paths before. */
const NASTY = [
  '\u0000',
  '\ud800',
  '\udfff\ud800',
  '__proto__',
  'constructor',
  'toString',
  '../../etc/passwd',
  "'; drop table job; --",
  '{{7*7}}{{input}}',
  '{{input.constructor}}',
  '%s%n%00',
  '\r\nx-injected: 1',
  '\u202e\u200b\ufeff',
  'İıſ',
  '1e400',
  'x'.repeat(5_000),
  '2016-12-31T23:59:60Z',
  '9999-12-31T23:59:59.999999999Z',
  '0000-01-01t00:00:00+23:59',
  '2026-02-30T00:00:00Z',
  '00000000-0000-0000-0000-000000000000',
  'FFFFFFFF-FFFF-7FFF-BFFF-FFFFFFFFFFFF',
]

/** As JSON text: also what `JSON.stringify` would never write. */
const jsonText: fc.Arbitrary<string> = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom(...NASTY).map((text) => JSON.stringify(text)) },
  { weight: 4, arbitrary: fc.json({ maxDepth: 3 }) },
  { weight: 2, arbitrary: fc.string({ unit: 'binary', maxLength: 40 }).map((text) => JSON.stringify(text)) },
  { weight: 2, arbitrary: fc.double().map((number) => JSON.stringify(number)) },
  { weight: 1, arbitrary: fc.bigInt().map(String) },
  { weight: 1, arbitrary: fc.constantFrom('1e400', '-1e400', '9007199254740993', '-0', '1e-400', '0.1e1') },
  { weight: 1, arbitrary: fc.nat(200).map((depth) => `${'['.repeat(depth)}${']'.repeat(depth)}`) },
)

const name: fc.Arbitrary<string> = fc.oneof(fc.constantFrom(...NASTY), fc.string({ maxLength: 20 }))

type Edit =
  | { readonly kind: 'replace'; readonly pointer: string; readonly text: string }
  | { readonly kind: 'remove'; readonly pointer: string }
  | { readonly kind: 'add'; readonly pointer: string; readonly name: string; readonly text: string }

function edits(places: readonly Place[]): fc.Arbitrary<Edit[]> {
  const pointer = fc.constantFrom(...places.map((place) => place.pointer))
  const containers = fc.constantFrom(
    ...places.filter(({ value }) => isObject(value)).map((place) => place.pointer),
  )
  return fc.array(
    fc.oneof(
      { weight: 4, arbitrary: fc.record({ kind: fc.constant('replace' as const), pointer, text: jsonText }) },
      { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove' as const), pointer }) },
      {
        weight: 2,
        arbitrary: fc.record({
          kind: fc.constant('add' as const),
          pointer: containers,
          name,
          text: jsonText,
        }),
      },
    ),
    { minLength: 1, maxLength: 4 },
  )
}

/** Writes the body with the edits; one below another's replacement has no effect. */
function edited(value: unknown, all: readonly Edit[], pointer = ''): string {
  const own = all.filter((edit) => edit.pointer === pointer)
  const replaced = own.find((edit) => edit.kind === 'replace')
  if (replaced) return replaced.text
  const isRemoved = (at: string): boolean => all.some((edit) => edit.kind === 'remove' && edit.pointer === at)
  if (Array.isArray(value)) {
    const items = value.map((item, at) => [item, `${pointer}/${at}`] as const)
    return `[${items.flatMap(([item, at]) => (isRemoved(at) ? [] : [edited(item, all, at)])).join()}]`
  }
  if (!isObject(value)) return JSON.stringify(value)
  const members = Object.entries(value).flatMap(([key, member]) => {
    const at = `${pointer}/${pointerPart(key)}`
    return isRemoved(at) ? [] : [`${JSON.stringify(key)}:${edited(member, all, at)}`]
  })
  const added = own.flatMap((edit) =>
    edit.kind === 'add' ? [`${JSON.stringify(edit.name)}:${edit.text}`] : [],
  )
  return `{${[...members, ...added].join()}}`
}

/** Bodies near a good one, as JSON text. Also below the parts where anything is good. */
export const nearlyGood = ({ schema, body }: GoodBody): fc.Arbitrary<string> =>
  edits(placesOf(schema, body, [])).map((all) => edited(body, all))

/** Anything at all. */
export const anyBytes: fc.Arbitrary<Buffer> = fc
  .uint8Array({ maxLength: 200 })
  .map((bytes) => Buffer.from(bytes))

/** The value of a query parameter, percent-encoded or nearly so. */
export const anyQueryValue: fc.Arbitrary<string> = fc.oneof(
  fc.constantFrom(...NASTY.map((text) => encodeURIComponent(text.toWellFormed()))),
  fc.string({ unit: 'grapheme', maxLength: 30 }).map((text) => encodeURIComponent(text)),
  fc.json({ maxDepth: 2 }).map((text) => Buffer.from(text).toString('base64url')),
  fc.stringMatching(/^[%0-9a-fA-F_.-]{0,20}$/),
  fc.double().map(String),
)
