import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import { CallFailure } from './failure.ts'
import { outermost, runPipeline } from './pipeline.ts'
import { type RateLimitOptions, type RateRule, rateLimit } from './rate-limit.ts'
import { createMemoryStore } from './stores/memory.ts'
import type { ChargeState, RateLimit, SharedStore } from './stores/store.ts'

const rule = (name: string, extra: Partial<RateRule> = {}): RateRule => ({
  name,
  key: `${name}/x`,
  limit: { permits: 10, periodMs: 1_000, burst: 2 },
  cost: 1,
  enforced: true,
  ...extra,
})

function setUp(rules: readonly RateRule[], extra: Partial<RateLimitOptions> = {}) {
  const clock = manualClock()
  const wouldHave: string[] = []
  const reported: (readonly ChargeState[])[] = []
  const stage = rateLimit({
    store: createMemoryStore({ clock }),
    group: 'w',
    rules,
    onCharged: (_rules, states) => reported.push(states),
    onWouldHave: (name) => wouldHave.push(name),
    ...extra,
  })
  const call = () =>
    runPipeline([stage], outermost(new AbortController().signal), async () => 'done').catch(
      (error: unknown) => error,
    )
  return { clock, call, wouldHave, reported, stage }
}

describe('a call', () => {
  test('passes while there is room, and is then refused with the exact wait and the name of the limit', async () => {
    const { call, clock } = setUp([rule('connector')])
    expect([await call(), await call()]).toEqual(['done', 'done'])
    const refused = await call()
    expect(refused).toBeInstanceOf(CallFailure)
    expect(refused).toMatchObject({
      class: 'never_sent',
      kind: 'rate_limited',
      refusedBy: 'rate_limit',
      retryAfterMs: 100,
      message:
        'The rate limit of the connector (10 per 1000 ms, 2 at once) is used up; there is room again in 100 ms.',
    })
    await clock.advance(99)
    expect(await call()).toBeInstanceOf(CallFailure)
    await clock.advance(1)
    expect(await call()).toBe('done')
  })

  test('waits for the slowest of the limits that have no room', async () => {
    const slow = rule('operation', { limit: { permits: 1, periodMs: 1_000, burst: 2 } })
    const { call, clock } = setUp([rule('connector'), slow, rule('workspace')])
    await call()
    await call()
    expect(await call()).toMatchObject({
      retryAfterMs: 1_000,
      message:
        'The rate limits of operation, connector, workspace are used up; there is room again in 1000 ms.',
    })
    await clock.advance(1_000)
    expect(await call()).toBe('done')
  })

  test('that can never pass is not told to come back', async () => {
    const refused = await setUp([rule('operation', { cost: 3 })]).call()
    expect(refused).toMatchObject({ class: 'permanent', kind: 'rate_limited', refusedBy: 'rate_limit' })
    expect((refused as CallFailure).retryAfterMs).toBeUndefined()
    expect((refused as Error).message).toContain('costs 3 permits')
  })

  test('without a limit does not ask the store', async () => {
    const store = { charge: () => expect.unreachable('nothing to charge') } as unknown as SharedStore
    expect(await setUp([], { store }).call()).toBe('done')
  })
})

test('a store that answers at once is not waited for: what is inside begins before the stage returns', () => {
  const { stage } = setUp([rule('connector')])
  let begun = false
  void stage(outermost(new AbortController().signal), async () => {
    begun = true
  })
  expect(begun).toBe(true)
})

test('a store that answers later is waited for, and its refusal refuses', async () => {
  const memory = createMemoryStore({ clock: manualClock() })
  const store = {
    ...memory,
    charge: async (...args: Parameters<typeof memory.charge>) => memory.charge(...args),
  }
  const { call } = setUp([rule('connector')], { store })
  expect([await call(), await call()]).toEqual(['done', 'done'])
  expect(await call()).toMatchObject({ kind: 'rate_limited', retryAfterMs: 100 })
})

test('a shadow limit never refuses, and is named when it would have', async () => {
  const wider = rule('caller', { limit: { permits: 10, periodMs: 1_000, burst: 3 } })
  const { call, wouldHave } = setUp([rule('workspace', { enforced: false }), wider])
  expect([await call(), await call()]).toEqual(['done', 'done'])
  expect(wouldHave).toEqual([])
  expect(await call()).toBe('done')
  expect(wouldHave).toEqual(['rate_limits.workspace'])
  expect(await call()).toMatchObject({ message: expect.stringContaining('rate limit of the caller (') })
})

test('every decision is reported, the refused ones too, in the order of the rules', async () => {
  const { call, reported } = setUp([rule('connector', { limit: { permits: 1, periodMs: 1_000, burst: 1 } })])
  await call()
  await call()
  expect(reported).toEqual([
    [{ allowed: true, remaining: 0, retryAfterMs: 0, resetMs: 1_000 }],
    [{ allowed: false, remaining: 0, retryAfterMs: 1_000, resetMs: 1_000 }],
  ])
})

test('whatever the order of calls, answers and time, no limit lets through more than burst + rate × time', async () => {
  const limits = fc.record({
    permits: fc.integer({ min: 1, max: 50 }),
    periodMs: fc.integer({ min: 10, max: 2_000 }),
    burst: fc.integer({ min: 1, max: 10 }),
  })
  const rules = fc.array(fc.record({ limit: limits, enforced: fc.boolean() }), { minLength: 1, maxLength: 4 })
  const call = fc.record({
    // A rule is shared by all calls that name it, as the limit of a workspace is by its connectors.
    call: fc.subarray([0, 1, 2, 3], { minLength: 1 }),
    cost: fc.integer({ min: 1, max: 3 }),
  })
  const events = fc.array(
    fc.oneof(
      { weight: 4, arbitrary: call },
      { weight: 2, arbitrary: fc.record({ advance: fc.integer({ min: 1, max: 1_500 }) }) },
      { weight: 4, arbitrary: fc.record({ goOn: fc.constant(true) }) },
    ),
    { minLength: 40, maxLength: 100 },
  )
  let passedInAll = 0
  let refusedInAll = 0
  await fc.assert(
    fc.asyncProperty(rules, events, fc.scheduler(), async (shapes, script, scheduler) => {
      const clock = manualClock()
      const memory = createMemoryStore({ clock })
      const passed = shapes.map((): { at: number; cost: number }[] => [])
      const start = async (named: readonly number[], cost: number) => {
        let decidedAt = 0
        const store: SharedStore = {
          ...memory,
          // As over a network: the question travels, is decided, and the answer travels.
          charge: async (group, charges) => {
            await scheduler.schedule(Promise.resolve())
            decidedAt = clock.monotonic()
            return scheduler.schedule(Promise.resolve(memory.charge(group, charges)))
          },
        }
        const stage = rateLimit({
          store,
          group: 'w',
          rules: named.map((index) => ({ ...rule(`${index}`), ...shapes[index], cost })),
        })
        const done = async () => {
          passedInAll += 1
          for (const index of named) passed[index]?.push({ at: decidedAt, cost })
        }
        await stage(outermost(new AbortController().signal), done).catch(() => {
          refusedInAll += 1
        })
      }
      const calls: Promise<void>[] = []
      for (const event of script) {
        if ('advance' in event) await clock.advance(event.advance)
        else if ('call' in event)
          calls.push(
            start(
              event.call.filter((index) => index < shapes.length),
              event.cost,
            ),
          )
        else if (scheduler.count() > 0) await scheduler.waitOne()
      }
      await scheduler.waitFor(Promise.all(calls))
      for (const [index, { limit, enforced }] of shapes.entries())
        if (enforced) expectWithin(limit, passed[index] ?? [])
    }),
    { numRuns: 150 },
  )
  // Otherwise it would have held by letting nothing or everything through.
  expect(passedInAll).toBeGreaterThan(100)
  expect(refusedInAll).toBeGreaterThan(100)
})

/** In whole numbers: of every window, (permits - burst) × period ≤ length × rate. */
function expectWithin(limit: RateLimit, passed: readonly { at: number; cost: number }[]) {
  const sorted = passed.toSorted((a, b) => a.at - b.at)
  for (const [from, first] of sorted.entries()) {
    let permits = 0
    for (const { at, cost } of sorted.slice(from)) {
      permits += cost
      expect((permits - limit.burst) * limit.periodMs).toBeLessThanOrEqual((at - first.at) * limit.permits)
    }
  }
}
