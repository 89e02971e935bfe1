import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseRetryAfter } from './retry-after.ts'

const NOW = Date.UTC(1994, 10, 6, 8, 49, 0)

test.each([
  ['0', 0],
  ['120', 120_000],
  ['  7 ', 7_000],
  ['Sun, 06 Nov 1994 08:49:37 GMT', 37_000],
  ['Sunday, 06-Nov-94 08:49:37 GMT', 37_000],
  ['Sun Nov  6 08:49:37 1994', 37_000],
  ['Sun, 06 Nov 1994 08:48:00 GMT', 0],
  // Two digits more than 50 years ahead are the past.
  ['Sunday, 06-Nov-60 08:49:37 GMT', 0],
])('"%s" is a wait of %i ms', (value, expected) => {
  expect(parseRetryAfter(value, NOW)).toBe(expected)
})

test.each([
  undefined,
  '',
  'soon',
  '-1',
  '1.5',
  '1e3',
  '0x10',
  '12 potatoes',
  '1994-11-06T08:49:37Z',
  'Sun, 6 Nov 1994 08:49:37 GMT',
  'Sun, 06 Nov 1994 08:49:37 CET',
  'Sun, 06 Foo 1994 08:49:37 GMT',
])('"%s" says nothing', (value) => {
  expect(parseRetryAfter(value, NOW)).toBeUndefined()
})

test('every date that a sender may write is read to the second', () => {
  fc.assert(
    fc.property(fc.date({ min: new Date(NOW), max: new Date('2090-01-01'), noInvalidDate: true }), (date) => {
      const seconds = Math.floor(date.getTime() / 1_000) * 1_000
      return parseRetryAfter(date.toUTCString(), NOW) === Math.max(0, seconds - NOW)
    }),
  )
})

test('nothing that an upstream sends makes it fail or gives a negative or endless wait', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.stringMatching(/^\d{1,400}$/)), (value) => {
      const wait = parseRetryAfter(value, NOW)
      return wait === undefined || (wait >= 0 && Number.isFinite(wait))
    }),
  )
})
