import fc from 'fast-check'
import { expect, test } from 'vitest'
import { attemptsOf, type BackoffSchedule, backoffDelay } from './backoff.ts'

const chance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true })
const exponential = fc.record({
  kind: fc.constant('exponential' as const),
  maxAttempts: fc.integer({ min: 1, max: 50 }),
  baseMs: fc.integer({ min: 1, max: 3_600_000 }),
  factor: fc.double({ min: 1, max: 10, noNaN: true }),
  capMs: fc.integer({ min: 1, max: 86_400_000 }),
})
const table = fc.record({
  kind: fc.constant('table' as const),
  delaysMs: fc.array(fc.integer({ min: 0, max: 86_400_000 }), { minLength: 1, maxLength: 20 }),
})

test('full jitter stays below min(cap, base·factor^n), in whole ms, whatever the attempt', () => {
  fc.assert(
    fc.property(exponential, fc.integer({ min: 1, max: 60 }), chance, (schedule, failed, random) => {
      const delay = backoffDelay(schedule, failed, () => random)
      if (failed >= schedule.maxAttempts) return delay === undefined
      const ceiling = Math.min(schedule.capMs, schedule.baseMs * schedule.factor ** (failed - 1))
      return delay !== undefined && Number.isInteger(delay) && delay >= 0 && delay <= ceiling
    }),
  )
})

test('the ceiling doubles per attempt up to the cap, and jitter reaches from 0 to it', () => {
  const schedule: BackoffSchedule = {
    kind: 'exponential',
    maxAttempts: 8,
    baseMs: 250,
    factor: 2,
    capMs: 5_000,
  }
  const highest = [1, 2, 3, 4, 5, 6, 7].map((failed) => backoffDelay(schedule, failed, () => 0.9999999))
  expect(highest).toEqual([249, 499, 999, 1_999, 3_999, 4_999, 4_999])
  expect(backoffDelay(schedule, 5, () => 0)).toBe(0)
  expect(backoffDelay(schedule, 8, () => 0.5)).toBeUndefined()
})

test('a table gives its own waits within 20 %, and as many attempts as entries', () => {
  fc.assert(
    fc.property(table, fc.integer({ min: 1, max: 25 }), chance, (schedule, failed, random) => {
      const delay = backoffDelay(schedule, failed, () => random)
      const meant = schedule.delaysMs[failed]
      if (meant === undefined) return delay === undefined && failed >= attemptsOf(schedule)
      return delay !== undefined && Math.abs(delay - meant) <= meant * 0.2 + 0.5
    }),
  )
})

test('the second entry of a table is the wait after the first failure', () => {
  const schedule: BackoffSchedule = { kind: 'table', delaysMs: [0, 5_000, 300_000] }
  expect(backoffDelay(schedule, 1, () => 0.5)).toBe(5_000)
  expect(backoffDelay(schedule, 1, () => 0)).toBe(4_000)
  expect(backoffDelay(schedule, 2, () => 0.9999999)).toBe(360_000)
  expect(backoffDelay(schedule, 3, () => 0.5)).toBeUndefined()
})
