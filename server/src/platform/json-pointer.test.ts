import { expect, test } from 'vitest'
import { pointedAt, pointerPart } from './json-pointer.ts'

const DOCUMENT = { a: [{ 'x/y~z': 7 }, null], '': { '': 'deep' }, text: 'abc' }

test.each([
  ['', DOCUMENT],
  ['/a/0/x~1y~0z', 7],
  ['/a/1', null],
  ['//', 'deep'],
  ['/a/2', undefined],
  ['/a/-', undefined],
  ['/a/01', undefined],
  ['/a/length', undefined],
  ['/text/0', undefined],
  ['/text/length', undefined],
  ['/toString', undefined],
  ['/__proto__', undefined],
])('%j leads to %j', (pointer, value) => {
  expect(pointedAt(DOCUMENT, pointer)).toEqual(value)
})

test('a name of any characters is one part', () => {
  for (const name of ['x/y~z', '~1', '~01', '']) {
    expect(pointedAt({ [name]: 1 }, `/${pointerPart(name)}`)).toBe(1)
  }
})
