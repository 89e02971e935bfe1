import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import type { Charge, Charged, SharedStore } from '../src/resilience/stores/store.ts'
import { breakerSharing } from './breaker-sharing.ts'
import type { StoreUnderTest } from './store-under-test.ts'

const GROUP = 'workspace-1'
const OTHER_GROUP = 'workspace-2'
/** One permit per second, ten at once. */
const SLOW = { permits: 1, periodMs: 1_000, burst: 10 }
/** One permit, and the next one in an hour: nothing drifts back while a test runs. */
const HOURLY = { permits: 1, periodMs: 3_600_000, burst: 1 }

const charge = (key: string, extra: Partial<Charge> = {}): Charge => ({
  key,
  limit: SLOW,
  cost: 1,
  enforced: true,
  ...extra,
})

/**
 * Holds a `SharedStore` to its contract. Keys are the same in all tests: `make` gives an empty store each time.
 *
 *     storeConformance('the memory store', async () => ({ nodes: [store, store], advance, driftMs: 0, close }))
 */
export function storeConformance(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(`${name} as a shared store`, () => {
    let under: StoreUnderTest
    let one: SharedStore
    let two: SharedStore
    beforeEach(async () => {
      under = await make()
      ;[one, two] = under.nodes
    })
    afterEach(() => under.close())

    /** `exact`, or what is left of it when time has passed by itself. */
    const about = (actual: number | undefined, exact: number) => {
      expect(actual).toBeLessThanOrEqual(exact)
      expect(actual).toBeGreaterThanOrEqual(exact - under.driftMs)
    }
    const spend = async (times: number, ...charges: readonly Charge[]) => {
      let last: Charged | undefined
      for (let call = 0; call < times; call += 1) last = await one.charge(GROUP, charges)
      return last
    }

    describe('one limit', () => {
      test('lets the burst pass at once, on all nodes together, and no call more', async () => {
        const limit = { ...HOURLY, burst: 3 }
        const passed = []
        for (const node of [one, two, one, two, one])
          passed.push((await node.charge(GROUP, [charge('a', { limit })])).allowed)
        expect(passed).toEqual([true, true, true, false, false])
      })

      test('says what is left, when there is room again, and when all is as before', async () => {
        const first = await one.charge(GROUP, [charge('a')])
        expect(first).toMatchObject({ allowed: true, states: [{ allowed: true, remaining: 9 }] })
        expect(first.states[0]?.retryAfterMs).toBe(0)
        about(first.states[0]?.resetMs, 1_000)

        const second = await two.charge(GROUP, [charge('a', { cost: 9 })])
        expect(second).toMatchObject({ allowed: true, states: [{ remaining: 0, retryAfterMs: 0 }] })
        about(second.states[0]?.resetMs, 10_000)

        const third = await one.charge(GROUP, [charge('a', { cost: 3 })])
        expect(third).toMatchObject({ allowed: false, states: [{ allowed: false, remaining: 0 }] })
        about(third.states[0]?.retryAfterMs, 3_000)
        about(third.states[0]?.resetMs, 10_000)
      })

      test('has room exactly after the wait it named, and not before', async () => {
        const refused = await spend(11, charge('a'))
        const wait = refused?.states[0]?.retryAfterMs ?? 0
        about(wait, 1_000)
        const early = Math.max(1, under.driftMs)
        await under.advance(wait - early)
        // With drift, the time may be over already: then this says nothing, and the memory store says it exactly.
        if (under.driftMs === 0) expect((await one.charge(GROUP, [charge('a')])).allowed).toBe(false)
        await under.advance(early)
        expect((await two.charge(GROUP, [charge('a')])).allowed).toBe(true)
        expect((await two.charge(GROUP, [charge('a')])).allowed).toBe(false)
      })

      test('gives permits back by its rate, not all at the end of a window', async () => {
        const limit = { permits: 2, periodMs: 1_000, burst: 10 }
        await spend(1, charge('a', { limit, cost: 10 }))
        await under.advance(2_000)
        const passed = await spend(1, charge('a', { limit, cost: 4 }))
        expect(passed).toMatchObject({ allowed: true, states: [{ remaining: 0 }] })
        expect(await spend(1, charge('a', { limit, cost: 2 }))).toMatchObject({ allowed: false })
      })

      test('never holds more than its burst, however long nobody calls', async () => {
        const limit = { permits: 100, periodMs: 1_000, burst: 5 }
        await spend(1, charge('a', { limit, cost: 5 }))
        await under.advance(2_000)
        expect(await spend(1, charge('a', { limit, cost: 6 }))).toMatchObject({ allowed: false })
        expect(await spend(1, charge('a', { limit, cost: 5 }))).toMatchObject({ allowed: true })
      })

      test('never lets a call pass that costs more than its burst, and says so', async () => {
        const answer = await one.charge(GROUP, [charge('a', { cost: 11 })])
        expect(answer).toEqual({
          allowed: false,
          states: [{ allowed: false, remaining: 10, retryAfterMs: Number.POSITIVE_INFINITY, resetMs: 0 }],
        })
      })

      test('a refused call costs nothing', async () => {
        await spend(1, charge('a', { limit: { ...HOURLY, burst: 4 }, cost: 3 }))
        await spend(20, charge('a', { limit: { ...HOURLY, burst: 4 }, cost: 2 }))
        expect(await spend(1, charge('a', { limit: { ...HOURLY, burst: 4 }, cost: 1 }))).toMatchObject({
          allowed: true,
        })
      })

      test('a limit that is changed soon holds as it is now: nobody waits an hour for what the old one owed', async () => {
        await spend(1, charge('a', { limit: HOURLY }))
        const limit = { permits: 10, periodMs: 1_000, burst: 20 }
        // What the change itself gives or keeps is the store's affair; one rest of the new limit later all is paid.
        await spend(1, charge('a', { limit }))
        await under.advance(2_000)
        expect(await spend(1, charge('a', { limit, cost: 20 }))).toMatchObject({ allowed: true })
      })

      test('what a call leaves of the burst is there for those that leave nothing', async () => {
        const limit = { ...HOURLY, burst: 5 }
        const modest = charge('a', { limit, reserve: 2 })
        expect(await spend(3, modest)).toMatchObject({ allowed: true, states: [{ remaining: 0 }] })
        const refused = await spend(1, modest)
        expect(refused).toMatchObject({ allowed: false, states: [{ remaining: 0 }] })
        about(refused?.states[0]?.retryAfterMs, HOURLY.periodMs)
        expect(await spend(2, charge('a', { limit }))).toMatchObject({ allowed: true })
        expect(await spend(1, charge('a', { limit }))).toMatchObject({ allowed: false })
        // One whose cost needs them is not refused for ever.
        const dear = charge('b', { limit, cost: 5, reserve: 2 })
        expect(await spend(1, dear)).toMatchObject({ allowed: true })
      })

      test('1,000 calls at once on two nodes: exactly the burst passes', async () => {
        const limit = { ...HOURLY, burst: 137 }
        const answers = await Promise.all(
          Array.from({ length: 1_000 }, async (_, index) =>
            (index % 2 === 0 ? one : two).charge(GROUP, [charge('a', { limit })]),
          ),
        )
        expect(answers.filter(({ allowed }) => allowed)).toHaveLength(137)
        const left = answers.flatMap(({ allowed, states }) => (allowed ? [states[0]?.remaining] : []))
        expect(left.sort((a = 0, b = 0) => b - a)).toEqual(Array.from({ length: 137 }, (_, i) => 136 - i))
      })
    })

    describe('several limits', () => {
      test('are charged all or none, whichever of them has no room', async () => {
        const narrow = charge('narrow', { limit: { ...HOURLY, burst: 2 } })
        const wide = charge('wide', { limit: { ...HOURLY, burst: 10 } })
        for (const charges of [
          [narrow, wide],
          [wide, narrow],
        ])
          await spend(4, ...charges)
        const answer = await one.charge(GROUP, [wide, narrow])
        expect(answer).toMatchObject({
          allowed: false,
          states: [
            { allowed: true, remaining: 8, retryAfterMs: 0 },
            { allowed: false, remaining: 0 },
          ],
        })
      })

      test('1,000 calls at once never charge one limit without the other', async () => {
        const narrow = charge('narrow', { limit: { ...HOURLY, burst: 40 } })
        const wide = charge('wide', { limit: { ...HOURLY, burst: 400 } })
        const answers = await Promise.all(
          Array.from({ length: 1_000 }, async (_, index) =>
            (index % 2 === 0 ? one : two).charge(GROUP, index % 3 === 0 ? [wide, narrow] : [narrow, wide]),
          ),
        )
        expect(answers.filter(({ allowed }) => allowed)).toHaveLength(40)
        expect(await one.charge(GROUP, [{ ...wide, cost: 360 }])).toMatchObject({ allowed: true })
        expect(await one.charge(GROUP, [wide])).toMatchObject({ allowed: false })
      })

      test('no limit at all lets every call pass', async () => {
        expect(await one.charge(GROUP, [])).toEqual({ allowed: true, states: [] })
      })
    })

    describe('a limit that is only watched', () => {
      const watched = charge('watched', { limit: { ...HOURLY, burst: 2 }, enforced: false })

      test('never refuses, and says when it would have', async () => {
        const answers = [await spend(1, watched), await spend(1, watched), await spend(1, watched)]
        expect(answers.map((answer) => [answer?.allowed, answer?.states[0]?.allowed])).toEqual([
          [true, true],
          [true, true],
          [true, false],
        ])
      })

      test('does not owe what it would have refused', async () => {
        const answer = await spend(50, charge('watched', { enforced: false }))
        about(answer?.states[0]?.resetMs, 10_000)
        about(answer?.states[0]?.retryAfterMs, 1_000)
      })

      test('is not charged for a call that another limit refuses', async () => {
        const closed = charge('closed', { limit: HOURLY })
        await spend(1, closed)
        await spend(5, watched, closed)
        expect(await spend(1, watched)).toMatchObject({ states: [{ allowed: true, remaining: 1 }] })
      })

      test('that has no room does not keep the enforced ones from being charged', async () => {
        const enforced = charge('enforced', { limit: { ...HOURLY, burst: 4 } })
        const answer = await spend(4, watched, enforced)
        expect(answer).toMatchObject({ allowed: true, states: [{ allowed: false }, { remaining: 0 }] })
      })
    })

    test('groups and keys do not touch each other', async () => {
      const limit = HOURLY
      await one.charge(GROUP, [charge('a', { limit })])
      for (const [group, key] of [
        [OTHER_GROUP, 'a'],
        [GROUP, 'b'],
        [GROUP, 'a/b'],
        [`${GROUP}/a`, 'b'],
        [`${GROUP}:a`, 'b'],
      ] as const)
        expect(await two.charge(group, [charge(key, { limit })])).toMatchObject({ allowed: true })
      one.shareOpening({ group: GROUP, key: 'a', forMs: 2_000, why: 'x' })
      await vi.waitFor(async () => expect(await two.opening(GROUP, 'a')).toBeDefined())
      expect(await two.opening(OTHER_GROUP, 'a')).toBeUndefined()
      expect(await two.opening(GROUP, 'b')).toBeUndefined()
      expect(await one.takeProbe(GROUP, 'a', 2_000)).toBe(true)
      expect(await one.takeProbe(OTHER_GROUP, 'a', 2_000)).toBe(true)
      expect(await one.takeProbe(GROUP, 'b', 2_000)).toBe(true)
    })

    breakerSharing(() => under)
  })
}
