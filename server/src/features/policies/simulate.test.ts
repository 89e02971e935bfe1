import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { LoggedCall } from '../execute/execute.ts'
import { effectivePolicy, type PolicyDocument } from './policies.ts'
import { simulate } from './simulate.ts'

const START = Date.UTC(2026, 10, 22, 12)

/** A call that begins `startMs` after noon. */
const call = (startMs: number, change: Partial<LoggedCall> = {}): LoggedCall => {
  const latencyMs = change.latencyMs ?? 100
  return {
    requestId: `at-${startMs}`,
    endedAt: START + startMs + latencyMs,
    latencyMs,
    connector: 'api',
    operation: 'get',
    outcome: 'ok',
    httpStatus: 200,
    attempts: 1,
    ...change,
  }
}
const refused = { outcome: 'upstream_error', httpStatus: null, latencyMs: 5 }
/** Nothing but what the test names. */
const QUIET: PolicyDocument = {
  breaker: { mode: 'off' },
  retry_budget: { mode: 'off' },
  rate_limits: { workspace: null, connector: null },
}
const under = (calls: readonly LoggedCall[], workspace: PolicyDocument, repeatable = true) => {
  const { policy } = effectivePolicy({ workspace: { ...QUIET, ...workspace } })
  return simulate(calls, () => ({ policy, connectorPolicy: policy, repeatable }))
}
const at = (ms: number) => new Date(START + ms).toISOString()

describe('rate limits', () => {
  // 2 per second, 2 at once: one permit is back every 500 ms.
  const connector = { permits: 2, period_ms: 1_000 }

  test('take permits at the times of the log, by hand', () => {
    // 0 and 0 take the burst; at 400 only 0.8 is back; at 500 one is; at 600 0.2; at 2000 both.
    const calls = [call(0), call(0, { requestId: 'second' }), call(400), call(500), call(600), call(2_000)]
    const found = under(calls, { rate_limits: { workspace: null, connector } })
    expect(found).toMatchObject({ calls: 6, limited: 2, by_limit: { connector: 2 } })
    expect(found.examples.limited).toEqual(['at-400', 'at-600'])
  })

  test('are charged together: who is refused by one takes nothing of the others', () => {
    const rate_limits = {
      workspace: { permits: 3, period_ms: 60_000 },
      connector: null,
      operation: connector,
    }
    // The third and the fourth find no room in the operation; the workspace has one permit left for another one.
    const calls = [
      call(0),
      call(1),
      call(2),
      call(3),
      call(4, { operation: 'list' }),
      call(5, { operation: 'list' }),
    ]
    const found = under(calls, { rate_limits })
    expect(found).toMatchObject({ limited: 3, by_limit: { operation: 2, workspace: 1 } })
    expect(found.examples.limited).toEqual(['at-2', 'at-3', 'at-5'])
  })

  test('in shadow mode let everything pass and are counted beside', () => {
    const shadow = { ...connector, mode: 'shadow' as const }
    const found = under([call(0), call(1), call(2)], { rate_limits: { workspace: null, connector: shadow } })
    expect(found).toMatchObject({
      limited: 0,
      by_limit: {},
      shadow: { limited: 1, by_limit: { connector: 1 } },
    })
  })

  test('count in the order of the beginnings, however the log is sorted', () => {
    const slow = call(0, { latencyMs: 5_000, requestId: 'slow' })
    const limit = { rate_limits: { workspace: null, connector: { permits: 1, period_ms: 60_000 } } }
    expect(under([call(10), slow], limit).examples.limited).toEqual(['at-10'])
  })

  test('however calls come, no more pass than the limit says', () => {
    const times = fc.array(fc.integer({ min: 0, max: 5_000 }), { maxLength: 60 })
    fc.assert(
      fc.property(times, fc.integer({ min: 1, max: 5 }), (starts, permits) => {
        const limit = { rate_limits: { workspace: null, connector: { permits, period_ms: 1_000 } } }
        const { limited } = under(
          starts.map((start) => call(start)),
          limit,
        )
        // What a limit of `permits` a second and as many at once lets pass in five seconds at most.
        expect(starts.length - limited).toBeLessThanOrEqual(permits * 6)
      }),
    )
  })
})

describe('the breaker', () => {
  const breaker = {
    mode: 'enforce' as const,
    consecutive_failures: 3,
    open_ms: 1_000,
    probes: 1,
    close_rate: 1,
  }

  test('opens, refuses, probes and closes at the times of the log, by hand', () => {
    const calls = [
      call(0, refused), // ends at 5
      call(100, refused),
      call(200, refused), // the third: open from 205 to 1205
      call(300),
      call(1_204),
      call(1_300), // the probe, ends at 1400
      call(1_350), // a probe is under way
      call(1_500), // closed
    ]
    const found = under(calls, { breaker })
    expect(found.openings).toEqual([
      {
        connector: 'api',
        at: at(205),
        until: at(1_205),
        why: '3 calls in a row did not get through',
        shadow: false,
      },
    ])
    expect(found).toMatchObject({ refused_by_breaker: 3, openings_total: 1 })
    expect(found.examples.refused_by_breaker).toEqual(['at-300', 'at-1204', 'at-1350'])
  })

  test('counts what ends, not what begins: a call that begins before an end does not know of it', () => {
    const calls = [
      call(0, { ...refused, latencyMs: 500 }),
      call(1, { ...refused, latencyMs: 600 }),
      call(560),
    ]
    expect(under(calls, { breaker: { ...breaker, consecutive_failures: 2 } })).toMatchObject({
      refused_by_breaker: 0,
      openings: [{ at: at(601) }],
    })
  })

  test('judges a call by the time of its own operation', () => {
    const connectorPolicy = effectivePolicy({ workspace: { ...QUIET, breaker } }).policy
    const { policy } = effectivePolicy({
      workspace: { ...QUIET, breaker },
      operation: { timeouts: { attempt_ms: 1_000 } },
    })
    const late = { outcome: 'upstream_timeout', httpStatus: null, latencyMs: 1_000 }
    const calls = [call(0, late), call(10, late), call(20, late)]
    const found = simulate(calls, () => ({ policy, connectorPolicy, repeatable: false }))
    expect(found).toMatchObject({ openings_total: 1 })
  })

  test('of one connector leaves the others alone', () => {
    const calls = [call(0, refused), call(1, refused), call(2, refused), call(100, { connector: 'other' })]
    expect(under(calls, { breaker })).toMatchObject({ openings_total: 1, refused_by_breaker: 0 })
  })

  test('in shadow mode lets calls pass and counts them', () => {
    const calls = [call(0, refused), call(10, refused), call(20, refused), call(100)]
    expect(under(calls, { breaker: { ...breaker, mode: 'shadow' } })).toMatchObject({
      refused_by_breaker: 0,
      openings: [{ shadow: true }],
      shadow: { refused_by_breaker: 1 },
    })
  })

  test.each([
    ['an answer of 429', { outcome: 'upstream_error', httpStatus: 429 }, 0],
    ['a refusal of the request', { outcome: 'upstream_rejected', httpStatus: 404 }, 0],
    ['a secret that is missing', { outcome: 'secret_unresolved', httpStatus: null, attempts: 0 }, 0],
    ['an answer of 500', { outcome: 'upstream_error', httpStatus: 500 }, 1],
    ['a timeout', { outcome: 'upstream_timeout', httpStatus: null, latencyMs: 10_000 }, 1],
  ])('%s', (_what, change, openings) => {
    const calls = Array.from({ length: 4 }, (_, index) => call(index * 20_000, change))
    const rate = { ...breaker, consecutive_failures: 4, failure_rate: 1, min_calls: 4, window_ms: 600_000 }
    expect(under(calls, { breaker: rate }).openings_total).toBe(openings)
  })
})

describe('attempts', () => {
  test('take permits, and are not made without them', () => {
    const rate_limits = { workspace: null, connector: { permits: 2, period_ms: 60_000 } }
    const found = under([call(0, { attempts: 3, latencyMs: 3_000 })], { rate_limits })
    expect(found).toMatchObject({ retried: 1, given_up_earlier: 1 })
  })

  test('that a policy does not allow would not have been made', () => {
    const calls = [call(0, { attempts: 3, latencyMs: 900 }), call(10, { attempts: 2 }), call(20)]
    expect(under(calls, { retry: { max_attempts: 2 } })).toMatchObject({
      retried: 2,
      given_up_earlier: 1,
      examples: { given_up_earlier: ['at-0'], retried: ['at-10', 'at-0'] },
    })
    expect(under(calls, { retry: { max_attempts: 1 } })).toMatchObject({ retried: 0, given_up_earlier: 2 })
  })

  test('beyond the recorded ones are counted, and nothing is said about their end', () => {
    const failed = call(0, { outcome: 'upstream_error', httpStatus: 503, attempts: 2 })
    expect(under([failed], { retry: { max_attempts: 3 } })).toMatchObject({ repeated_further: 1 })
    expect(under([failed], { retry: { max_attempts: 2 } })).toMatchObject({ repeated_further: 0 })
    expect(under([failed], { retry: { max_attempts: 3 } }, false)).toMatchObject({ repeated_further: 0 })
  })

  test('that would wait past the total time are not begun', () => {
    const retry = { max_attempts: 3, base_ms: 60_000, cap_ms: 60_000 }
    expect(under([call(0, { attempts: 2 })], { retry })).toMatchObject({ given_up_earlier: 1, retried: 0 })
  })

  test('find the breaker that their own failures opened', () => {
    const breaker = { mode: 'enforce' as const, consecutive_failures: 2 }
    const calls = [call(0, { ...refused, attempts: 4, latencyMs: 400 })]
    expect(under(calls, { breaker })).toMatchObject({
      retried: 1,
      refused_by_breaker: 1,
      openings: [{ at: at(200) }],
    })
  })
})

describe('time limits', () => {
  test('end an attempt, or all of them', () => {
    const calls = [
      call(0, { latencyMs: 3_000 }),
      call(10, { latencyMs: 900 }),
      call(20, { attempts: 3, latencyMs: 3_000 }),
    ]
    expect(under(calls, { timeouts: { attempt_ms: 2_000 } }).examples.timed_out).toEqual(['at-0'])
    expect(under(calls, { timeouts: { total_ms: 2_500 } }).examples.timed_out).toEqual(['at-0', 'at-20'])
  })

  test('that calls ran into by themselves are counted, too', () => {
    const late = call(0, { outcome: 'upstream_timeout', httpStatus: null, latencyMs: 1_000 })
    expect(under([late], {})).toMatchObject({ timed_out: 1 })
  })
})

test('what was never sent is not known, and takes permits all the same', () => {
  const before = call(0, { outcome: 'circuit_open', httpStatus: null, attempts: 0, latencyMs: 1 })
  const rate_limits = { workspace: null, connector: { permits: 1, period_ms: 60_000 } }
  expect(under([before, call(10)], { rate_limits })).toMatchObject({ not_known: 1, limited: 1 })
})

test('calls that no policy applies to are left out; an empty log is an answer', () => {
  expect(simulate([call(0)], () => undefined)).toMatchObject({ calls: 0, limited: 0 })
  expect(under([], {})).toMatchObject({ calls: 0, openings: [] })
})

test('a retry budget stops repeating in an outage', () => {
  const outage = Array.from({ length: 50 }, (_, index) => call(index * 1_000, { ...refused, attempts: 2 }))
  const budget = { mode: 'enforce' as const, tokens: 28, max_ratio: 1 }
  const found = under(outage, { retry_budget: budget })
  // Two repetitions of 14 tokens each, and nothing comes back.
  expect(found).toMatchObject({ retried: 2, given_up_earlier: 48 })
  expect(under(outage, { retry_budget: { ...budget, mode: 'shadow' } })).toMatchObject({
    retried: 50,
    given_up_earlier: 0,
    shadow: { given_up_earlier: 48 },
  })
})
