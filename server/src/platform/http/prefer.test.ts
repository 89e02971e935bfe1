import { expect, test } from 'vitest'
import { preferredWaitSeconds } from './prefer.ts'

test.each([
  [undefined, undefined],
  ['wait=3', 3],
  ['Wait = 3', 3],
  ['wait="3"', 3],
  ['respond-async, wait=2; foo=bar', 2],
  ['wait=2, wait=9', 2],
  ['wait=99', 10],
  ['wait=0', 0],
  ['wait=-1', undefined],
  ['wait=1.5', undefined],
  ['wait', undefined],
  ['await=5', undefined],
  ['wait=99999999999999', undefined],
])('Prefer: %s is a wait of %s s', (prefer, seconds) => {
  expect(preferredWaitSeconds({ headers: prefer === undefined ? {} : { prefer } }, 10)).toBe(seconds)
})
