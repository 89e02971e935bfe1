import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import { createRetryBudgets, type RetryBudgetSettings } from './retry-budget.ts'

const SETTINGS: RetryBudgetSettings = { mode: 'enforce', tokens: 500, maxRatio: 0.2, minConcurrent: 3 }

function setUp(settings: Partial<RetryBudgetSettings> = {}) {
  const clock = manualClock()
  const budgets = createRetryBudgets({ clock })
  const wouldHave: string[] = []
  const begin = (key = 'stripe', group = 'w') =>
    budgets.begin(group, key, { ...SETTINGS, ...settings }, (rule) => wouldHave.push(rule))
  /** One call after another that repeats once and fails; how many could repeat. */
  const failing = (calls: number, kind: 'transient' | 'throttle' = 'transient') => {
    let repeated = 0
    for (let call = 0; call < calls; call += 1) {
      const allowance = begin()
      if (allowance.tryTake(kind)) repeated += 1
      allowance.end(false)
    }
    return repeated
  }
  return { clock, budgets, begin, failing, wouldHave }
}

describe('the bucket', () => {
  test('of 500 is empty after 35 transient repetitions or 100 after throttling', () => {
    expect(setUp().failing(1_000)).toBe(35)
    expect(setUp().failing(1_000, 'throttle')).toBe(100)
  })

  test('gets the cost of the last repetition back when it helped, and 1 for each call that needed none', () => {
    const { begin, failing } = setUp({ tokens: 28 })
    for (let call = 0; call < 50; call += 1) {
      const allowance = begin()
      expect(allowance.tryTake('transient')).toBe(true)
      allowance.end(true)
    }
    expect(failing(5)).toBe(2)
    for (let call = 0; call < 13; call += 1) begin().end(true)
    expect(begin().tryTake('transient')).toBe(false)
    begin().end(true)
    expect(begin().tryTake('transient')).toBe(true)
  })

  test('gives only the last of several repetitions back', () => {
    const { begin, failing } = setUp({ tokens: 42 })
    const allowance = begin()
    expect([1, 2, 3].map(() => allowance.tryTake('transient'))).toEqual([true, true, true])
    allowance.end(true)
    expect(failing(5)).toBe(1)
  })

  test('never holds more than its size', () => {
    const { begin, failing } = setUp({ tokens: 14 })
    for (let call = 0; call < 100; call += 1) begin().end(true)
    expect(failing(5)).toBe(1)
  })
})

describe('the share of the calls in flight', () => {
  test('is 3 among few, and one of five among many', () => {
    const { begin } = setUp()
    const few = Array.from({ length: 10 }, () => begin())
    expect(few.filter((call) => call.tryTake('throttle'))).toHaveLength(3)
    const more = Array.from({ length: 39 }, () => begin())
    // 20 % of 49 is 9.8: nine in all, and not ten.
    expect(more.filter((call) => call.tryTake('throttle'))).toHaveLength(6)
  })

  test('a call that repeats again keeps its place, and gives it back once at its end', () => {
    const { begin } = setUp({ minConcurrent: 1 })
    const [first, second] = [begin(), begin()]
    expect(first.tryTake('transient')).toBe(true)
    expect(first.tryTake('transient')).toBe(true)
    expect(second.tryTake('transient')).toBe(false)
    first.end(false)
    first.end(false)
    expect(second.tryTake('transient')).toBe(true)
    expect(begin().tryTake('transient')).toBe(false)
    expect(first.tryTake('transient')).toBe(false)
  })
})

test('workspaces and connectors have budgets of their own', () => {
  const { begin, failing } = setUp({ tokens: 14 })
  expect(failing(2)).toBe(1)
  expect(begin('stripe', 'other').tryTake('transient')).toBe(true)
  expect(begin('smtp').tryTake('transient')).toBe(true)
})

test('a shadow budget never says no, tells when it would have, and does not owe what it would not have given', () => {
  const { failing, wouldHave, budgets } = setUp({ mode: 'shadow', tokens: 14 })
  expect(failing(5)).toBe(5)
  expect(wouldHave).toEqual(Array(4).fill('retry_budget'))
  const enforced = budgets.begin('w', 'stripe', { ...SETTINGS, tokens: 28 })
  expect(enforced.tryTake('transient')).toBe(true)
})

test('a budget that is off counts nothing', () => {
  const { failing, budgets } = setUp({ mode: 'off', tokens: 1 })
  expect(failing(100)).toBe(100)
  expect(budgets.size).toBe(0)
})

test('is forgotten after ten minutes without a call, but never while one is in flight', async () => {
  const { clock, begin, failing, budgets } = setUp({ tokens: 14 })
  const long = begin('long')
  expect(failing(2)).toBe(1)
  await clock.advance(10 * 60_000)
  expect(failing(1)).toBe(0)
  await clock.advance(10 * 60_001)
  expect(failing(1)).toBe(1)
  await clock.advance(10 * 60_001)
  for (let key = 0; key < 500; key += 1) begin(`${key}`).end(true)
  expect(budgets.size).toBeLessThan(10)
  expect(begin('long').tryTake('transient')).toBe(true)
  expect(long.tryTake('transient')).toBe(false)
})

test('whatever happens, the tokens and the share hold', () => {
  const steps = fc.array(
    fc.record({
      call: fc.nat(9),
      step: fc.constantFrom('transient', 'throttle', 'succeed', 'fail'),
    }),
    { maxLength: 200, size: 'max' },
  )
  fc.assert(
    fc.property(steps, (script) => {
      const { begin } = setUp({ tokens: 50 })
      const running = new Map<number, { allowance: ReturnType<typeof begin>; last: number }>()
      let spent = 0
      for (const { call, step } of script) {
        const state = running.get(call) ?? { allowance: begin(), last: 0 }
        running.set(call, state)
        if (step === 'transient' || step === 'throttle') {
          const cost = step === 'transient' ? 14 : 5
          const others = [...running.values()].filter((other) => other !== state && other.last > 0).length
          const meant = spent + cost <= 50 && others < 3
          if (state.allowance.tryTake(step) !== meant) return false
          if (meant) {
            spent += cost
            state.last = cost
          }
        } else {
          state.allowance.end(step === 'succeed')
          running.delete(call)
          if (step === 'succeed') spent = Math.max(0, spent - (state.last || 1))
        }
      }
      return true
    }),
  )
})
