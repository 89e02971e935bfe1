import { expect, test } from 'vitest'
import { decodeCursor, encodeCursor, pageOf } from './page.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string, number] =>
  parts.length === 2 && typeof parts[0] === 'string' && typeof parts[1] === 'number'

test('a cursor comes back as it was made', () => {
  expect(decodeCursor(encodeCursor(['ä/ö', 7]), isKey)).toEqual(['ä/ö', 7])
})

test.each([
  '',
  'x',
  '%%%',
  encodeCursor([1, 'a']),
  encodeCursor(['a']),
  Buffer.from('{"a":1}').toString('base64url'),
])('%j is refused by the name of its parameter', (cursor) => {
  expect(() => decodeCursor(cursor, isKey)).toThrow(
    expect.objectContaining({
      code: 'validation_error',
      extra: { details: [expect.objectContaining({ path: '/query/cursor' })] },
    }),
  )
})

test('a page has a next one only when a row more was there', () => {
  const rows = [{ id: 'a' }, { id: 'b' }, { id: 'c' }]
  const page = (limit: number) =>
    pageOf(
      rows,
      limit,
      ({ id }) => [id],
      ({ id }) => id,
    )
  expect(page(3)).toEqual({ data: ['a', 'b', 'c'], next_cursor: null })
  expect(page(2)).toEqual({ data: ['a', 'b'], next_cursor: encodeCursor(['b']) })
  expect(pageOf([], 2, () => [], String)).toEqual({ data: [], next_cursor: null })
})
