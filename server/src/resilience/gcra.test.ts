import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Debt, hasRoom, isPaid, noDebt, settleDebt, stateOf, take } from './gcra.ts'
import type { ChargeState, RateLimit } from './stores/store.ts'

const limits = fc.record({
  permits: fc.integer({ min: 1, max: 5_000 }),
  periodMs: fc.integer({ min: 1, max: 3_600_000 }),
  burst: fc.integer({ min: 1, max: 1_000 }),
})
/** Waits in µs between the calls: mostly short beside the limit, sometimes long. */
const calls = fc.array(
  fc.record({
    waitUs: fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 5_000_000 })),
    cost: fc.integer({ min: 1, max: 20 }),
  }),
  { minLength: 1, maxLength: 60, size: 'max' },
)

/** One call, as a store makes it. */
function call(debt: Debt, limit: RateLimit, cost: number, nowUs: number): ChargeState {
  settleDebt(debt, limit, nowUs)
  const room = hasRoom(debt, limit, cost)
  if (room) take(debt, cost)
  return stateOf(debt, limit, cost, room)
}
/** What a call would be told, with nothing changed. */
const ask = (debt: Debt, limit: RateLimit, cost: number, nowUs: number) =>
  call({ ...debt }, limit, cost, nowUs)

/** Plays the calls from a start that is not zero, as clocks have it. */
function play(limit: RateLimit, script: readonly { waitUs: number; cost: number }[]) {
  const debt = noDebt()
  let nowUs = 123_456_789
  return script.map(({ waitUs, cost }) => {
    nowUs += waitUs
    return { at: nowUs, cost, state: call(debt, limit, cost, nowUs), debt: { ...debt } }
  })
}

describe('whatever the calls', () => {
  test('no window holds more than burst + rate × its length', () => {
    fc.assert(
      fc.property(limits, calls, (limit, script) => {
        const passed = play(limit, script).filter(({ state }) => state.allowed)
        return passed.every((first, from) => {
          let permits = 0
          return passed.slice(from).every(({ at, cost }) => {
            permits += cost
            // In whole numbers: (permits - burst) × period ≤ length × rate.
            return (permits - limit.burst) * limit.periodMs * 1_000 <= (at - first.at) * limit.permits
          })
        })
      }),
      { numRuns: 300 },
    )
  })

  test('a refused call has room exactly after its wait, and 1 ms earlier it has none', () => {
    fc.assert(
      fc.property(limits, calls, (limit, script) =>
        play(limit, script).every(({ at, cost, state, debt }) => {
          if (state.allowed) return state.retryAfterMs === 0
          if (cost > limit.burst) return state.retryAfterMs === Number.POSITIVE_INFINITY
          const wait = state.retryAfterMs
          return (
            Number.isInteger(wait) &&
            wait >= 1 &&
            ask(debt, limit, cost, at + wait * 1_000).allowed &&
            !ask(debt, limit, cost, at + (wait - 1) * 1_000).allowed
          )
        }),
      ),
      { numRuns: 300 },
    )
  })

  test('what is left is what can be taken at once, and after the reset the limit is like new', () => {
    fc.assert(
      fc.property(limits, calls, (limit, script) =>
        play(limit, script).every(({ at, state, debt }) => {
          const { remaining, resetMs } = state
          const rest = at + resetMs * 1_000
          return (
            (remaining === 0 || ask(debt, limit, remaining, at).allowed) &&
            !ask(debt, limit, remaining + 1, at).allowed &&
            isPaid(debt, rest) &&
            ask(debt, limit, limit.burst, rest).allowed &&
            (resetMs === 0 || !isPaid(debt, rest - 1_000))
          )
        }),
      ),
      { numRuns: 300 },
    )
  })
})

test('waits come back one permit at a time: 3 per second are 334, 667 and 1000 ms, not 333', () => {
  const limit = { permits: 3, periodMs: 1_000, burst: 3 }
  const debt = noDebt()
  call(debt, limit, 3, 0)
  expect([1, 2, 3].map((cost) => ask(debt, limit, cost, 0).retryAfterMs)).toEqual([334, 667, 1_000])
})

test('a clock that goes back gives nothing and takes nothing', () => {
  const limit = { permits: 1, periodMs: 1_000, burst: 2 }
  const debt = noDebt()
  call(debt, limit, 1, 5_000_000)
  expect(call(debt, limit, 1, 1_000_000)).toMatchObject({ allowed: true, remaining: 0 })
  expect(call(debt, limit, 1, 1_000_000)).toMatchObject({ allowed: false, retryAfterMs: 1_000 })
  expect(call(debt, limit, 1, 6_000_000).allowed).toBe(true)
})

test('a limit that is changed keeps what is in use, in permits, and never more than its burst', () => {
  const debt = noDebt()
  call(debt, { permits: 10, periodMs: 1_000, burst: 20 }, 15, 0)
  expect(ask(debt, { permits: 1, periodMs: 60_000, burst: 20 }, 1, 0).remaining).toBe(4)
  expect(ask(debt, { permits: 10, periodMs: 1_000, burst: 5 }, 1, 0)).toMatchObject({
    allowed: false,
    retryAfterMs: 100,
    resetMs: 500,
  })
})
