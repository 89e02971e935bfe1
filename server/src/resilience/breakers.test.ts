import { describe, expect, test } from 'vitest'
import { BREAKER_SETTINGS } from '../../testing/breaker-settings.ts'
import { manualClock } from '../../testing/manual-clock.ts'
import { breakerStage } from './breaker-stage.ts'
import { type BreakerRule, type BreakerTransition, createBreakers } from './breakers.ts'
import { CallFailure } from './failure.ts'
import { outermost, runPipeline } from './pipeline.ts'
import { createMemoryStore } from './stores/memory.ts'
import type { SharedStore } from './stores/store.ts'

const SETTINGS = { ...BREAKER_SETTINGS, consecutiveFailures: 2, probes: 1, closeRate: 1 }

const refused = new CallFailure({ class: 'never_sent', kind: 'refused', message: 'nobody listens' })

/** Nodes with breakers of their own over one store. */
function setUp(options: { mode?: BreakerRule['mode']; store?: Partial<SharedStore>; atMost?: number } = {}) {
  const clock = manualClock()
  const store: SharedStore = { ...createMemoryStore({ clock }), ...options.store }
  const wouldHave: string[] = []
  const rule: BreakerRule = { mode: options.mode ?? 'enforce', settings: SETTINGS }
  const node = () => {
    const transitions: BreakerTransition[] = []
    const breakers = createBreakers({
      clock,
      random: () => 0.5,
      store,
      onTransition: (transition) => transitions.push(transition),
      ...(options.atMost !== undefined && { atMost: options.atMost }),
    })
    /** One call; gives `ok`, the failure of the upstream, or that of the breaker. */
    const call = (
      upstream: () => Promise<unknown> = async () => 'ok',
      { key = 'stripe', using = rule, deadlineAt = Number.POSITIVE_INFINITY } = {},
    ) =>
      runPipeline<unknown>(
        [
          breakerStage({
            breakers,
            group: 'acme',
            key,
            rule: using,
            clock,
            onWouldHave: (name) => wouldHave.push(name),
          }),
        ],
        { ...outermost(new AbortController().signal), deadlineAt },
        upstream,
      ).catch((error: unknown) => error)
    const fail = () => call(() => Promise.reject(refused))
    return { breakers, transitions, call, fail }
  }
  return { clock, store, wouldHave, rule, node }
}

const circuitOpen = { kind: 'circuit_open', class: 'never_sent', refusedBy: 'breaker' }

describe('the stage', () => {
  test('counts what passes, refuses what does not, and tells of the transition', async () => {
    const { clock, node } = setUp()
    const { call, fail, transitions } = node()
    expect([await fail(), await fail()]).toEqual([refused, refused])
    await clock.advance(1_000)
    expect(await call()).toMatchObject({ ...circuitOpen, retryAfterMs: 29_000 })
    expect(transitions).toMatchObject([
      {
        group: 'acme',
        key: 'stripe',
        from: 'closed',
        to: 'open',
        openMs: 30_000,
        shadow: false,
        heard: false,
      },
    ])
    expect(transitions[0]?.openUntil).toBe(clock.now() + 29_000)
    expect(await call(undefined, { key: 'smtp' })).toBe('ok')
  })

  test('measures how long a call takes: a slow probe opens it again', async () => {
    const { clock, node } = setUp()
    const { call, fail, breakers } = node()
    await fail()
    await fail()
    await clock.advance(30_000)
    const slow = call(() => clock.sleep(8_000))
    await clock.advance(8_000)
    await slow
    expect(breakers.snapshot('acme')).toMatchObject([{ key: 'stripe', state: 'open', openForMs: 60_000 }])
  })

  test('a call without time left is not counted: only the caller was in a hurry', async () => {
    const { node } = setUp()
    const { call, breakers } = node()
    const timeout = new CallFailure({ class: 'never_sent', kind: 'connect_timeout', message: 'no time' })
    for (let count = 0; count < 5; count += 1) await call(() => Promise.reject(timeout), { deadlineAt: 5 })
    expect(breakers.snapshot('acme')).toEqual([])
  })

  test('a shadow breaker refuses nothing and says what it would have done', async () => {
    const { node, wouldHave } = setUp({ mode: 'shadow' })
    const { call, fail, transitions } = node()
    await fail()
    await fail()
    expect(await call()).toBe('ok')
    expect(wouldHave).toEqual(['breaker'])
    expect(transitions).toMatchObject([{ to: 'open', shadow: true }])
  })

  test('what opened in the shadow refuses nothing when the policy begins to enforce', async () => {
    const { node, rule } = setUp({ mode: 'shadow' })
    const { call, fail, breakers } = node()
    await fail()
    await fail()
    expect(await call(undefined, { using: { ...rule, mode: 'enforce' } })).toBe('ok')
    expect(breakers.snapshot('acme')).toMatchObject([{ state: 'closed' }])
  })

  test('one that is off watches nothing', async () => {
    const { node } = setUp({ mode: 'off' })
    const { call, fail, breakers } = node()
    for (let count = 0; count < 5; count += 1) await fail()
    expect(await call()).toBe('ok')
    expect(breakers.size).toBe(0)
  })
})

describe('forced by an operator', () => {
  test('open: refuses with the time that is left, also when the policy is off, and ends by itself', async () => {
    const { clock, node, rule } = setUp()
    const { call, breakers } = node()
    breakers.setForced('acme', 'stripe', { state: 'open', forMs: 60_000, why: 'maintenance' })
    await clock.advance(20_000)
    expect(await call()).toMatchObject({ ...circuitOpen, retryAfterMs: 40_000 })
    expect(await call(undefined, { using: { ...rule, mode: 'off' } })).toMatchObject(circuitOpen)
    expect(breakers.snapshot('acme')).toMatchObject([{ state: 'closed', forced: { forMs: 40_000 } }])
    await clock.advance(40_000)
    expect(await call()).toBe('ok')
    expect(breakers.snapshot('acme')[0]?.forced).toBeUndefined()
  })

  test('closed: every call passes and none is counted; released, it begins anew', async () => {
    const { node } = setUp()
    const { call, fail, breakers, transitions } = node()
    await fail()
    await fail()
    breakers.setForced('acme', 'stripe', { state: 'closed', forMs: 60_000, why: 'it is back' })
    for (let count = 0; count < 5; count += 1) expect(await fail()).toBe(refused)
    breakers.setForced('acme', 'stripe', undefined)
    await fail()
    expect(await call()).toBe('ok')
    expect(transitions.map(({ to }) => to)).toEqual(['open', 'closed'])
  })
})

describe('several nodes', () => {
  test('an opening is heard by the others, and told as heard; by the one that opened it, once', async () => {
    const { clock, node } = setUp()
    const [one, other] = [node(), node()]
    await other.call()
    await one.fail()
    await one.fail()
    await clock.advance(0)
    expect(await other.call()).toMatchObject(circuitOpen)
    expect(other.transitions).toMatchObject([{ to: 'open', heard: true }])
    expect(one.transitions).toHaveLength(1)
  })

  test('a node that meets the connector later learns of it, and its first call does not wait for that', async () => {
    const { clock, node } = setUp()
    const one = node()
    await one.fail()
    await one.fail()
    const late = node()
    expect(await late.call()).toBe('ok')
    await clock.advance(0)
    expect(await late.call()).toMatchObject(circuitOpen)
  })

  test('one node at a time probes, also when the store takes its time', async () => {
    const clock = manualClock()
    const memory = createMemoryStore({ clock })
    const { node, clock: time } = setUp({
      store: {
        takeProbe: async (group, key, leaseMs) => memory.takeProbe(group, key, leaseMs),
        endProbe: memory.endProbe,
      },
    })
    const [one, other] = [node(), node()]
    await one.call()
    await other.call()
    await one.fail()
    await one.fail()
    await time.advance(30_001)
    const probe = one.call(() => time.sleep(5_000))
    await time.advance(1)
    expect(await other.call()).toMatchObject({ ...circuitOpen, retryAfterMs: 250 })
    await time.advance(5_000)
    await probe
    expect(one.breakers.snapshot('acme')).toMatchObject([{ state: 'closed' }])
    expect(await other.call()).toBe('ok')
  })

  test('a breaker that closed after its probes closes at the others, too', async () => {
    const { clock, node } = setUp()
    const [one, other] = [node(), node()]
    await other.call()
    await one.fail()
    await one.fail()
    await clock.advance(30_001)
    while (one.breakers.snapshot('acme')[0]?.state !== 'closed') await one.call()
    await clock.advance(0)
    expect(other.breakers.snapshot('acme')).toMatchObject([{ state: 'closed' }])
    expect(other.transitions.map(({ to, heard }) => [to, heard])).toEqual([
      ['open', true],
      ['closed', true],
    ])
  })

  test('a breaker that closed is not opened by its old opening at a node that begins later', async () => {
    const { clock, node } = setUp()
    const one = node()
    await one.fail()
    await one.fail()
    one.breakers.setForced('acme', 'stripe', { state: 'closed', forMs: 1_000, why: 'it is back' })
    const late = node()
    await late.call()
    await clock.advance(0)
    expect(await late.call()).toBe('ok')
  })

  test('after close nothing is heard any more', async () => {
    const { clock, node } = setUp()
    const [one, other] = [node(), node()]
    await other.call()
    other.breakers.close()
    await one.fail()
    await one.fail()
    await clock.advance(0)
    expect(await other.call()).toBe('ok')
  })
})

test('an opening from before the restart still refuses, and is not told again', async () => {
  const { node } = setUp()
  const { breakers, call, transitions } = node()
  breakers.restore([{ group: 'acme', key: 'stripe', forMs: 5_000, why: 'before' }])
  expect(await call()).toMatchObject({ ...circuitOpen, retryAfterMs: 5_000 })
  expect(transitions).toEqual([])
})

test('however many connectors there are, the table stays bounded', async () => {
  const { node } = setUp({ atMost: 10 })
  const { breakers, call } = node()
  for (let count = 0; count < 100; count += 1) await call(undefined, { key: `connector-${count}` })
  expect(breakers.size).toBeLessThanOrEqual(11)
})

test('a full table forgets no breaker that is open or forced', async () => {
  const { node } = setUp({ atMost: 5 })
  const { breakers, call, fail } = node()
  await fail()
  await fail()
  breakers.setForced('acme', 'by hand', { state: 'open', forMs: 60_000, why: 'maintenance' })
  for (let count = 0; count < 50; count += 1) await call(undefined, { key: `connector-${count}` })
  expect(await call()).toMatchObject(circuitOpen)
  expect(await call(undefined, { key: 'by hand' })).toMatchObject(circuitOpen)
  expect(breakers.size).toBeLessThanOrEqual(6)
})
