import { describe, expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import type { RateRule } from './rate-limit.ts'
import { rateLimitHeaders } from './rate-limit-headers.ts'
import { createMemoryStore } from './stores/memory.ts'
import type { RateLimit } from './stores/store.ts'

const rule = (name: string, limit: RateLimit, extra: Partial<RateRule> = {}): RateRule => ({
  name,
  key: name,
  limit,
  cost: 1,
  enforced: true,
  ...extra,
})

const TEN_PER_SECOND = { permits: 10, periodMs: 1_000, burst: 20 }
const PER_MINUTE = { permits: 5, periodMs: 60_000, burst: 5 }

/** The headers after `calls` calls with these rules, all at the same time. */
function after(calls: number, rules: readonly RateRule[]) {
  const store = createMemoryStore({ clock: manualClock() })
  let states = store.charge('w', rules).states
  for (let call = 1; call < calls; call += 1) states = store.charge('w', rules).states
  return rateLimitHeaders(rules, states)
}

test('one limit: what is left, and when it grows', () => {
  expect(after(17, [rule('connector', TEN_PER_SECOND)])).toEqual({
    rateLimit: '"connector";r=3;t=1',
    rateLimitPolicy: '"connector";q=20;w=2',
  })
})

test('of a slow limit that is used up, t is the wait for the next permit, not for all of them', () => {
  const slow = rule('operation', PER_MINUTE)
  expect(after(5, [slow])?.rateLimit).toBe('"operation";r=0;t=12')
  expect(after(6, [slow])?.rateLimit).toBe('"operation";r=0;t=12')
})

test('a limit at rest never grows: t is 0', () => {
  const never = rule('operation', TEN_PER_SECOND, { cost: 21 })
  expect(after(1, [never])?.rateLimit).toBe('"operation";r=20;t=0')
})

describe('of several limits', () => {
  test('the tightest is first: now by what is left, in the policy by the rate', () => {
    const rules = [rule('workspace', { ...TEN_PER_SECOND, burst: 6 }), rule('connector', PER_MINUTE)]
    expect(after(1, rules)).toEqual({
      rateLimit: '"connector";r=4;t=12, "workspace";r=5;t=1',
      rateLimitPolicy: '"connector";q=5;w=60, "workspace";q=10;w=1',
    })
    expect(after(1, rules.toReversed())).toEqual(after(1, rules))
  })

  test('the one that refuses goes before one that has fewer permits left', () => {
    const rules = [
      rule('connector', { permits: 1, periodMs: 1_000, burst: 2 }),
      rule('workspace', { permits: 1, periodMs: 1_000, burst: 5 }, { cost: 3 }),
    ]
    // The first call leaves 1 and 2. The second one finds room for one permit, and none for three.
    expect(after(2, rules)?.rateLimit).toBe('"workspace";r=2;t=1, "connector";r=1;t=1')
  })

  test('a shadow limit is not told: nobody has to keep to it', () => {
    const shadow = rule('workspace', PER_MINUTE, { enforced: false })
    expect(after(1, [shadow, rule('connector', TEN_PER_SECOND)])?.rateLimitPolicy).toBe(
      '"connector";q=20;w=2',
    )
    expect(after(1, [shadow])).toBeUndefined()
    expect(rateLimitHeaders([], [])).toBeUndefined()
  })
})

test('a window is whole seconds, at least one, and its quota follows the rate', () => {
  const policy = (limit: RateLimit) => after(1, [rule('x', limit)])?.rateLimitPolicy
  expect(policy({ permits: 100, periodMs: 1_000, burst: 1 })).toBe('"x";q=100;w=1')
  expect(policy({ permits: 7, periodMs: 10_000, burst: 1 })).toBe('"x";q=1;w=2')
  expect(policy({ permits: 10, periodMs: 1_000, burst: 15 })).toBe('"x";q=20;w=2')
  expect(policy({ permits: 3, periodMs: 1_000, burst: 3 })).toBe('"x";q=3;w=1')
})

test('a name cannot break out of its string', () => {
  expect(after(1, [rule('a"\\b', TEN_PER_SECOND)])?.rateLimitPolicy).toBe('"a\\"\\\\b";q=20;w=2')
})
