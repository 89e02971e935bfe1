import { beforeEach, describe, expect, test, vi } from 'vitest'
import type { SharedOpening, SharedStore } from '../src/resilience/stores/store.ts'
import type { StoreUnderTest } from './store-under-test.ts'

const GROUP = 'workspace-1'

/** The part of the conformance suite that is about breakers: what nodes tell each other, and who may probe. */
export function breakerSharing(current: () => StoreUnderTest): void {
  let under: StoreUnderTest
  let one: SharedStore
  let two: SharedStore
  beforeEach(() => {
    under = current()
    ;[one, two] = under.nodes
  })
  const about = (actual: number | undefined, exact: number) => {
    expect(actual).toBeLessThanOrEqual(exact)
    expect(actual).toBeGreaterThanOrEqual(exact - under.driftMs)
  }

  describe('openings of breakers', () => {
    const opening: SharedOpening = { group: GROUP, key: 'stripe', forMs: 2_500, why: '5 failures in a row' }

    test('are heard by the other node, by each listener, until it stops', async () => {
      const heard: string[] = []
      const stop = two.onOpening(({ why }) => heard.push(`first: ${why}`))
      const stopSecond = two.onOpening(({ group, key, why }) => heard.push(`second: ${group} ${key} ${why}`))
      one.shareOpening(opening)
      await vi.waitFor(() =>
        expect(heard.sort()).toEqual([
          'first: 5 failures in a row',
          `second: ${GROUP} stripe 5 failures in a row`,
        ]),
      )
      stop()
      one.shareOpening({ ...opening, why: 'again' })
      await vi.waitFor(() => expect(heard).toContain(`second: ${GROUP} stripe again`))
      expect(heard).not.toContain('first: again')
      stopSecond()
    })

    test('tell a listener how long they last', async () => {
      const heard: number[] = []
      const stop = two.onOpening(({ forMs }) => heard.push(forMs))
      one.shareOpening(opening)
      await vi.waitFor(() => expect(heard).toHaveLength(1))
      about(heard[0], 2_500)
      stop()
    })

    test('are found by who comes later, with what is left of them, and end by themselves', async () => {
      one.shareOpening(opening)
      await vi.waitFor(async () => expect(await two.opening(GROUP, 'stripe')).toBeDefined())
      await under.advance(1_000)
      const found = await two.opening(GROUP, 'stripe')
      expect(found).toMatchObject({ group: GROUP, key: 'stripe', why: '5 failures in a row' })
      about(found?.forMs, 1_500)
      await under.advance(1_500)
      expect(await two.opening(GROUP, 'stripe')).toBeUndefined()
    })

    test('are replaced by a later one of the same breaker', async () => {
      one.shareOpening(opening)
      one.shareOpening({ ...opening, forMs: 1_000, why: 'later' })
      await vi.waitFor(async () => expect(await two.opening(GROUP, 'stripe')).toMatchObject({ why: 'later' }))
      await under.advance(1_000)
      expect(await two.opening(GROUP, 'stripe')).toBeUndefined()
    })

    test('are taken back', async () => {
      one.shareOpening(opening)
      await vi.waitFor(async () => expect(await two.opening(GROUP, 'stripe')).toBeDefined())
      const heard: SharedOpening[] = []
      const stop = one.onOpening((told) => heard.push(told))
      two.endOpening(GROUP, 'stripe')
      await vi.waitFor(async () => expect(await one.opening(GROUP, 'stripe')).toBeUndefined())
      await vi.waitFor(() => expect(heard).toMatchObject([{ group: GROUP, key: 'stripe', forMs: 0 }]))
      stop()
    })
  })

  describe('the right to probe', () => {
    test('is given to one node of all that ask at once', async () => {
      const given = await Promise.all(
        Array.from({ length: 50 }, (_, index) => (index % 2 === 0 ? one : two).takeProbe(GROUP, 'a', 2_000)),
      )
      expect(given.filter(Boolean)).toHaveLength(1)
    })

    test('ends with its lease, so that a node that died does not keep it', async () => {
      expect(await one.takeProbe(GROUP, 'a', 2_000)).toBe(true)
      await under.advance(1_000)
      expect(await two.takeProbe(GROUP, 'a', 2_000)).toBe(false)
      await under.advance(1_000)
      expect(await two.takeProbe(GROUP, 'a', 2_000)).toBe(true)
      expect(await one.takeProbe(GROUP, 'a', 2_000)).toBe(false)
    })

    test('is given back', async () => {
      expect(await one.takeProbe(GROUP, 'a', 2_000)).toBe(true)
      one.endProbe(GROUP, 'a')
      await vi.waitFor(async () => expect(await two.takeProbe(GROUP, 'a', 2_000)).toBe(true))
    })
  })
}
