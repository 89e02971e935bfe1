import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { compareSides } from './compare.ts'
import { matcherOf } from './subject.ts'

const side = (value: unknown, headers: Record<string, string> = {}) => ({
  body: Buffer.from(JSON.stringify(value)),
  headers,
})

describe('two payloads', () => {
  it('differ by pointers', () => {
    const left = side({ a: 1, b: { 'x/y~z': [1, 2, 3] }, gone: null })
    const right = side({ a: 1, b: { 'x/y~z': [1, 5] }, fresh: 'new' })
    expect(compareSides(left, right)).toEqual({
      compared: 'json',
      equal: false,
      bytesEqual: false,
      cut: false,
      headers: [],
      changes: [
        { path: '/b/x~1y~0z/1', kind: 'changed', left: '2', right: '5' },
        { path: '/b/x~1y~0z/2', kind: 'removed', left: '3' },
        { path: '/fresh', kind: 'added', right: '"new"' },
        { path: '/gone', kind: 'removed', left: 'null' },
      ],
    })
  })

  it('are told the difference of values that only look like each other', () => {
    const kinds = compareSides(side({ a: 1, b: null, c: [] }), side({ a: '1', b: false, c: {} }))
    expect(kinds.changes.map(({ path }) => path)).toEqual(['/a', '/b', '/c'])
  })

  it('say the same in another order of members, and the bytes tell it', () => {
    const left = { body: Buffer.from('{"a":1,"b":2}'), headers: {} }
    const right = { body: Buffer.from('{"b":2, "a":1}'), headers: {} }
    expect(compareSides(left, right)).toMatchObject({ equal: true, bytesEqual: false, changes: [] })
  })

  it('are compared as bytes when one of them is no JSON', () => {
    const form = { body: Buffer.from('a=1'), headers: {} }
    expect(compareSides(form, form)).toMatchObject({ compared: 'bytes', equal: true })
    expect(compareSides(form, side({ a: 1 }))).toMatchObject({ compared: 'bytes', equal: false })
    const deep = { body: Buffer.from('['.repeat(50_000)), headers: {} }
    expect(compareSides(deep, deep)).toMatchObject({ compared: 'bytes', equal: true })
  })

  it('are neither equal nor different when one of them is gone', () => {
    expect(compareSides({ body: undefined, headers: {} }, side(1))).toMatchObject({
      equal: null,
      changes: [],
    })
  })

  it('differ in headers by their names', () => {
    const { headers } = compareSides(
      side(1, { 'user-agent': 'a', 'x-one': '1' }),
      side(1, { 'user-agent': 'b' }),
    )
    expect(headers).toEqual([
      { path: 'user-agent', kind: 'changed', left: '"a"', right: '"b"' },
      { path: 'x-one', kind: 'removed', left: '"1"' },
    ])
  })

  it('are told at most 500 differences, and no long value in full', () => {
    const many = Object.fromEntries(Array.from({ length: 700 }, (_, at) => [`m${at}`, at]))
    const cut = compareSides(side(many), side({}))
    expect({ told: cut.changes.length, cut: cut.cut, equal: cut.equal }).toEqual({
      told: 500,
      cut: true,
      equal: false,
    })
    const [change] = compareSides(side('x'.repeat(5_000)), side('y')).changes
    expect(change?.left).toHaveLength(1_001)
  })

  it('are equal exactly when nothing differs', () => {
    fc.assert(
      fc.property(fc.jsonValue(), fc.jsonValue(), (left, right) => {
        const same = compareSides(side(left), side(left))
        const other = compareSides(side(left), side(right))
        expect(same).toMatchObject({ equal: true, changes: [] })
        expect(other.equal).toBe(other.changes.length === 0)
        const back = compareSides(side(right), side(left))
        expect(back.changes.length).toBe(other.changes.length)
      }),
    )
  })
})

/** As a hook of GitHub sends forms. */
const GITHUB_FORM = `payload=${encodeURIComponent('{"sender":{"login":"jane"},"title":"K\\u00e4se"}')}`

describe('a subject', () => {
  const content = (body: string) => ({ body: Buffer.from(body) })
  it.each([
    ['the value at a pointer', { pointer: '/a/b', equals: 'cus_1' }, '{"a":{"b":"cus_1"}}', true],
    ['a number as its digits', { pointer: '/id', equals: '17' }, '{"id":17}', true],
    ['a value that only begins so', { pointer: '/a', equals: 'cus_1' }, '{"a":"cus_10"}', false],
    ['another place', { pointer: '/a', equals: 'cus_1' }, '{"b":"cus_1"}', false],
    ['an object at the pointer', { pointer: '/a', equals: '[object Object]' }, '{"a":{}}', false],
    ['a place and a text', { pointer: '/a', equals: 'x', contains: 'ada' }, '{"a":"x","b":"ada"}', true],
    ['a place without the text', { pointer: '/a', equals: 'x', contains: 'ada' }, '{"a":"x"}', false],
    ['a text without the place', { pointer: '/a', equals: 'x', contains: 'ada' }, '{"b":"ada"}', false],
    ['a text anywhere', { contains: 'ada@' }, '{"x":[{"mail":"ada@example.com"}]}', true],
    ['a text that JSON writes in escapes', { contains: 'Käse' }, '{"x":"K\\u00e4se"}', true],
    ['the name of a member', { contains: 'ada@' }, '{"ada@example.com":1}', true],
    ['a text in what is no JSON', { contains: 'ada' }, 'hello ada', true],
    ['nothing in what is no JSON', { pointer: '/a', equals: 'x' }, 'x', false],
    ['a field of a form', { pointer: '/a', equals: 'x' }, 'a=x', true],
    ['one of several values of a field', { pointer: '/a/1', equals: 'y' }, 'a=x&a=y', true],
    ['a place in the JSON of a form', { pointer: '/sender/login', equals: 'jane' }, GITHUB_FORM, true],
    ['a text in the JSON of a form', { contains: 'jane' }, GITHUB_FORM, true],
    ['a text that the JSON of a form has in escapes', { contains: 'Käse' }, GITHUB_FORM, true],
    ['a place that objects inherit', { pointer: '/constructor/name', equals: 'Object' }, '{}', false],
  ] as const)('%s', (_name, subject, body, found) => {
    expect(matcherOf(subject)(content(body))).toBe(found)
  })

  it('is found in forms by the names of their fields and in their encoding', () => {
    const form = content('From=%2B14158675309&Body=K%C3%A4se')
    expect(matcherOf({ pointer: '/From', equals: '+14158675309' })(form)).toBe(true)
    expect(matcherOf({ contains: 'Käse' })(form)).toBe(true)
    expect(matcherOf({ contains: '+1999' })(form)).toBe(false)
  })

  it('whose value is gone fits nothing', () => {
    expect(matcherOf({ pointer: '/a' })(content('{"a":"x"}'))).toBe(false)
    expect(matcherOf({})(content('{"a":"x"}'))).toBe(false)
  })
})
