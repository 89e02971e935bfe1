import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { parseJson } from '../../../platform/http/json-body.ts'
import { isJson, parseJsonOrForm, readingsOf } from './request-body.ts'

const read = (body: string) => parseJsonOrForm(Buffer.from(body), parseJson)
const HIDDEN = encodeURIComponent('{"team_id":"T2","event_id":"Ev2"}')

describe('a body', () => {
  it.each([
    ['an object', '{"a":1}', { a: 1 }],
    ['an object behind spaces', ' \r\n\t{"a":1}', { a: 1 }],
    ['an object behind a byte order mark', '\ufeff{"a":1}', { a: 1 }],
    ['a list', '[1]', [1]],
    ['a text', '"a=b"', 'a=b'],
    ['a number', '17', 17],
    ['an object with a form in it', `{"t":"&payload=${HIDDEN}&z="}`, { t: `&payload=${HIDDEN}&z=` }],
    ['a form', 'a=1&b=%7B', { a: '1', b: '{' }],
    ['a form with JSON in it', `payload=${HIDDEN}`, { team_id: 'T2', event_id: 'Ev2' }],
  ])('that is %s is read by its bytes alone', (_what, body, value) => {
    expect(read(body)).toEqual(value)
  })

  it.each(['{"a":1', 'a', '', ' ', 'a=1&a=2', 'a=%zz', 'a=\u0000', '{a=1}'])('%j is malformed', (body) => {
    expect(() => read(body)).toThrow(expect.objectContaining({ code: 'malformed_body' }))
  })

  it('of JSON is never a form, whatever texts are in it', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.constantFrom('&payload={}&', '=', 'x')), (value) => {
        expect(isJson(Buffer.from(JSON.stringify(value)))).toBe(true)
      }),
    )
  })
})

it('what is kept of a form is read as its fields and as the JSON in it, also when a field is there twice', () => {
  expect(readingsOf(Buffer.from(`payload=${HIDDEN}`))).toEqual([
    { payload: '{"team_id":"T2","event_id":"Ev2"}' },
    { team_id: 'T2', event_id: 'Ev2' },
  ])
  expect(readingsOf(Buffer.from('MediaUrl=a&MediaUrl=b'))).toEqual([{ MediaUrl: ['a', 'b'] }])
  expect(readingsOf(Buffer.from('hello'))).toEqual([])
})
