import fc from 'fast-check'
import { expect, test, vi } from 'vitest'
import { firstIdAt, newId, timeOfId } from './ids.ts'

test('ids carry their time and sort by it', () => {
  const before = Date.now()
  const ids = Array.from({ length: 200 }, newId)
  const times = ids.map((id) => timeOfId(id) ?? 0)
  expect(Math.min(...times)).toBeGreaterThanOrEqual(before)
  expect([...ids].sort()).toEqual(ids)
})

test('many ids of one moment stay in order and differ', () => {
  const ids = Array.from({ length: 20_000 }, newId)
  expect(new Set(ids).size).toBe(ids.length)
  expect([...ids].sort()).toEqual(ids)
  // Also in their last part alone: what two processes make in the same ms must differ.
  expect(new Set(ids.map((id) => id.slice(19))).size).toBe(ids.length)
})

test('an id after the clock was set back still sorts last', () => {
  vi.useFakeTimers()
  try {
    const before = newId()
    vi.setSystemTime(0)
    expect(newId() > before).toBe(true)
  } finally {
    vi.useRealTimers()
  }
})

test('the first id of a moment is a bound: no id of that moment or later is smaller, no earlier one is larger', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 2 ** 47 }), (ms) => {
      expect(timeOfId(firstIdAt(ms))).toBe(ms)
      expect(firstIdAt(ms) < firstIdAt(ms + 1)).toBe(true)
    }),
  )
  const id = newId()
  expect(firstIdAt(timeOfId(id) ?? 0) <= id).toBe(true)
})

test.each(['', 'x', '0af76519-16cd-43dd-8448-eb211c80319c', `${newId()} `])('%j carries no time', (text) => {
  expect(timeOfId(text)).toBeUndefined()
})
