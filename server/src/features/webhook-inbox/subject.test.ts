import { describe, expect, it } from 'vitest'
import type { Subject } from './selection.ts'
import { matcherOf } from './subject.ts'

const finds = (subject: Subject, body: string) => matcherOf(subject)({ body: Buffer.from(body) })
const escaped = '{"to":"ada\\u0040example.com"}'

describe('a text is found', () => {
  const ada = { contains: 'ada@example.com' }
  it.each([
    ['in the first value of a field that is there twice', 'to=ada%40example.com&to=bob'],
    ['in JSON in a field of a form, in escapes', `data=${encodeURIComponent(escaped)}&x=1`],
    ['in JSON in a text of JSON, in escapes', JSON.stringify({ message: escaped })],
    ['in JSON in JSON in JSON', JSON.stringify({ a: [JSON.stringify({ message: escaped })] })],
    ['in a JSON text that is a whole body', JSON.stringify(escaped)],
    ['in the name of a member of JSON in a text', JSON.stringify({ x: '{"ada\\u0040example.com":1}' })],
    ['in another case', '{"to":"Ada@Example.COM"}'],
    ['in another case, in escapes', '{"to":"ADA\\u0040Example.com"}'],
    ['in another case of a form', 'to=ADA%40example.com'],
    ['in another case of what is neither', 'Dear ADA@EXAMPLE.COM'],
  ])('%s', (_name, body) => {
    expect(finds(ada, body)).toBe(true)
    expect(finds({ contains: 'eve@example.com' }, body)).toBe(false)
  })

  it('whatever its letters are, and however accents are written', () => {
    expect(finds({ contains: 'ÖZGÜR käse' }, '{"x":"Özgür KÄSE"}')).toBe(true)
    expect(finds({ contains: 'ΟΔΟΣ' }, '{"x":"οδος"}')).toBe(true)
    expect(finds({ contains: 'Käse' }, JSON.stringify({ x: 'Ka\u0308se' }))).toBe(true)
  })

  it('in what looks like JSON and is none', () => {
    expect(finds(ada, JSON.stringify({ x: '{ada@example.com' }))).toBe(true)
  })
})

describe('the value at a pointer', () => {
  it('is compared by the digits that were sent, also those that JavaScript rounds', () => {
    const body = '{"id":12345678901234567890,"list":[9007199254740993]}'
    expect(finds({ pointer: '/id', equals: '12345678901234567890' }, body)).toBe(true)
    expect(finds({ pointer: '/id', equals: '12345678901234567000' }, body)).toBe(false)
    expect(finds({ pointer: '/list/0', equals: '9007199254740993' }, body)).toBe(true)
    expect(finds({ pointer: '/list/0', equals: '9007199254740992' }, body)).toBe(false)
    expect(finds({ pointer: '/n', equals: '100' }, '{"n":1e2}')).toBe(true)
  })

  it('is one of the values of a field that is there twice, or of a list', () => {
    expect(finds({ pointer: '/to', equals: 'ada' }, 'to=ada&to=bob')).toBe(true)
    expect(finds({ pointer: '/to', equals: 'eve' }, 'to=ada&to=bob')).toBe(false)
    expect(finds({ pointer: '/to', equals: 'bob' }, '{"to":["ada","bob"]}')).toBe(true)
  })

  it('may be inside of JSON in a text', () => {
    const body = JSON.stringify({ Message: '{"user":{"id":12345678901234567890}}' })
    expect(finds({ pointer: '/Message/user/id', equals: '12345678901234567890' }, body)).toBe(true)
    expect(finds({ pointer: '/data/to', equals: 'ada@example.com' }, `data=${escaped}`)).toBe(true)
    expect(finds({ pointer: '/Message/user/name', equals: '1' }, body)).toBe(false)
  })

  it('is compared exactly, upper and lower case too', () => {
    expect(finds({ pointer: '/id', equals: 'CUS_1' }, '{"id":"cus_1"}')).toBe(false)
  })
})
