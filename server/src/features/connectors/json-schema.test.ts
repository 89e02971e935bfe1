import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { compileSchema, schemaFaults } from './json-schema.ts'

const object = (properties: Record<string, unknown>, extra: Record<string, unknown> = {}) => ({
  type: 'object',
  properties,
  ...extra,
})

describe('schemas that are taken', () => {
  test.each([
    ['the empty one', {}],
    ['a closed object', object({ a: { type: 'string' } }, { required: ['a'], additionalProperties: false })],
    ['a union of types', { type: ['string', 'null'] }],
    ['a dialect that is named', { $schema: 'https://json-schema.org/draft/2020-12/schema', type: 'string' }],
    ['definitions', { ...object({ a: { $ref: '#/$defs/name' } }), $defs: { name: { type: 'string' } } }],
    [
      'definitions that use each other',
      {
        $ref: '#/$defs/a',
        $defs: { a: { type: 'array', items: { $ref: '#/$defs/b' } }, b: { type: 'integer' } },
      },
    ],
    ['alternatives by required', { type: 'object', anyOf: [{ required: ['a'] }, { required: ['b'] }] }],
    ['an open tuple', { type: 'array', prefixItems: [{ type: 'string' }] }],
    [
      'a property that is called like a keyword',
      object({ $ref: { type: 'string' }, $id: { type: 'string' } }),
    ],
    [
      'formats',
      object({ a: { type: 'string', format: 'date-time' }, b: { type: 'string', format: 'email' } }),
    ],
    ['a pattern', { type: 'string', pattern: '^[\\p{L}0-9]{1,20}$' }],
  ])('%s', (_name, schema) => {
    expect(schemaFaults(schema)).toEqual([])
    expect(schemaFaults(structuredClone(schema))).toEqual([])
  })
})

describe('schemas that are refused', () => {
  const bomb = Object.fromEntries(
    Array.from({ length: 40 }, (_, at) => [
      `d${at}`,
      { allOf: [{ $ref: `#/$defs/d${at + 1}` }, { $ref: `#/$defs/d${at + 1}` }] },
    ]),
  )
  const deep = Array.from({ length: 20 }).reduce<unknown>((inside) => ({ items: inside, type: 'array' }), {
    properties: {
      a: {
        properties: {
          b: { properties: { c: { properties: { d: { properties: { e: { properties: { f: {} } } } } } } } },
        },
      },
    },
  })
  test.each([
    ['no object', true, '', /object/],
    ['a list', [], '', /object/],
    ['an unknown keyword', { type: 'string', patern: 'x' }, '', /patern/],
    ['an unknown type', object({ a: { type: 'strin' } }), '/properties/a/type', /./],
    ['a wrong keyword value', { type: 'string', maxLength: 'x' }, '/maxLength', /number|integer/],
    ['an unknown format', { type: 'string', format: 'dates' }, '', /format/],
    ['a pattern that RE2 does not know', { type: 'string', pattern: '(?=a)b' }, '', /./],
    ['a pattern that is broken', { type: 'string', pattern: '(' }, '', /./],
    ['another dialect', { $schema: 'http://json-schema.org/draft-07/schema#' }, '/$schema', /2020-12/],
    ['a remote reference', { $ref: 'https://example.com/schema.json' }, '/$ref', /nothing is fetched/],
    ['a reference to a file', object({ a: { $ref: 'file:///etc/passwd' } }), '/properties/a/$ref', /./],
    ['a reference to nothing', { $ref: '#/$defs/a' }, '/$ref', /./],
    ['a reference to the prototype', { $ref: '#/$defs/constructor', $defs: {} }, '/$ref', /./],
    [
      'a reference to itself',
      { $ref: '#/$defs/a', $defs: { a: { items: { $ref: '#/$defs/a' }, type: 'array' } } },
      '',
      /itself/,
    ],
    ['an identity', { $id: 'https://example.com/x', type: 'string' }, '/$id', /./],
    ['an anchor', object({ a: { $anchor: 'x' } }), '/properties/a/$anchor', /./],
    ['a keyword hidden in definitions', { $defs: { a: { $dynamicRef: '#x' } } }, '/$defs/a/$dynamicRef', /./],
    [
      'a bomb of references',
      { $ref: '#/$defs/d0', $defs: { ...bomb, d40: { type: 'string' } } },
      '',
      /written out/,
    ],
    ['too deep nesting', deep, '', /deeper/],
    ['too many bytes', { description: 'x'.repeat(70_000) }, '', /bytes/],
  ])('%s', (_name, schema, path, message) => {
    const [fault] = schemaFaults(schema)
    expect(fault?.path).toBe(path)
    expect(fault?.message).toMatch(message)
  })

  test('two faults are told together', () => {
    const faults = schemaFaults({ $id: 'x', ...object({ a: { $ref: '#/$defs/b' } }) })
    expect(faults.map(({ path }) => path)).toEqual(['/$id', '/properties/a/$ref'])
  })

  test('no document makes the check fail', () => {
    const keyword = fc.constantFrom(
      'type',
      '$ref',
      '$defs',
      'properties',
      'items',
      'allOf',
      'pattern',
      'enum',
      'not',
    )
    const schema = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.jsonValue({ maxDepth: 1 }),
        fc.dictionary(keyword, tie('any'), { maxKeys: 3 }),
      ),
    })).any
    fc.assert(fc.property(schema, (value) => Array.isArray(schemaFaults(value))))
  })
})

describe('checking values', () => {
  test('every fault comes with its path', () => {
    const check = compileSchema(
      object(
        {
          a: { type: 'integer', minimum: 1 },
          'b/c': object({ d: { type: 'string' } }, { additionalProperties: false }),
        },
        {
          required: ['a', 'z'],
        },
      ),
    )
    expect(check({ a: 1, z: 0 }, '/body/input')).toEqual([])
    expect(
      check({ a: 0, 'b/c': { d: 5, e: 1 } }, '/body/input').sort((x, y) => (x.path < y.path ? -1 : 1)),
    ).toEqual([
      { path: '/body/input/a', message: 'must be at least 1' },
      { path: '/body/input/b~1c/d', message: 'must be a string' },
      { path: '/body/input/b~1c/e', message: 'is not a known field' },
      { path: '/body/input/z', message: 'is missing' },
    ])
  })

  test('nothing is coerced, filled in or removed', () => {
    const check = compileSchema(object({ a: { type: 'integer', default: 3 } }))
    const value = { b: 1 }
    expect(check(value, '')).toEqual([])
    expect(value).toEqual({ b: 1 })
    expect(check({ a: '3' }, '')).toHaveLength(1)
  })

  test('a pattern that would hang a backtracking engine answers', () => {
    const check = compileSchema(object({ a: { type: 'string', pattern: '^(a+)+$' } }))
    expect(check({ a: `${'a'.repeat(50_000)}!` }, '')).toHaveLength(1)
    expect(check({ a: 'aaa' }, '')).toEqual([])
  })

  test('two patterns in one schema stay two', () => {
    const check = compileSchema(
      object({ a: { type: 'string', pattern: '^a$' }, b: { type: 'string', pattern: '^b$' } }),
    )
    expect(check({ a: 'a', b: 'b' }, '')).toEqual([])
    expect(check({ a: 'b', b: 'a' }, '').map(({ path }) => path)).toEqual(['/a', '/b'])
  })

  test('a pattern is searched for, not matched as a whole, and knows Unicode', () => {
    const check = compileSchema({ type: 'string', pattern: '\\d' })
    expect(check('a1b', '')).toEqual([])
    const letters = compileSchema({ type: 'string', pattern: '^\\p{L}+$' })
    expect(letters('Größe', '')).toEqual([])
    expect(letters('a b', '')).toHaveLength(1)
  })

  test('a huge wrong value gives the first fault only, a small one gives all', () => {
    const check = compileSchema({ type: 'array', items: { type: 'string' } })
    expect(
      check(
        Array.from({ length: 200_000 }, () => 0),
        '',
      ),
    ).toHaveLength(1)
    expect(check([0, 0, 0], '')).toHaveLength(3)
  })

  test('unique items are found by value, whatever the order of members, also in a long list', () => {
    const check = compileSchema({ type: 'array', uniqueItems: true })
    expect(check([{ a: 1, b: [2] }, { a: 1, b: [3] }, 1, '1', null], '')).toEqual([])
    expect(
      check(
        [
          { a: 1, b: 2 },
          { b: 2, a: 1 },
        ],
        '',
      ),
    ).toHaveLength(1)
    expect(
      check(
        Array.from({ length: 100_000 }, (_, at) => ({ at })),
        '',
      ),
    ).toEqual([])
  })
})
