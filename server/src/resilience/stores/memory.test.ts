import { expect, test } from 'vitest'
import { manualClock } from '../../../testing/manual-clock.ts'
import { storeConformance } from '../../../testing/store-conformance.ts'
import { createMemoryStore } from './memory.ts'

storeConformance('the memory store', async () => {
  const clock = manualClock()
  const store = createMemoryStore({ clock })
  return { nodes: [store, store], advance: clock.advance, driftMs: 0, close: store.close }
})

const SECOND = { permits: 1, periodMs: 1_000, burst: 1 }
const charge = (key: string, limit = SECOND) => ({ key, limit, cost: 1, enforced: true })

test('answers at once, so that a call costs no turn of the event loop', () => {
  const store = createMemoryStore({ clock: manualClock() })
  expect(store.charge('w', [charge('a')])).toMatchObject({ allowed: true })
  expect(store.takeProbe('w', 'a', 1_000)).toBe(true)
})

test('forgets limits, openings and probes that are over: a million callers do not stay in memory', async () => {
  const clock = manualClock()
  const store = createMemoryStore({ clock })
  for (let caller = 0; caller < 1_000; caller += 1) {
    store.charge('w', [charge(`caller/${caller}`)])
    store.shareOpening({ group: 'w', key: `${caller}`, forMs: 900, why: 'x' })
    store.takeProbe('w', `${caller}`, 900)
    if (caller % 10 === 9) await clock.advance(1_000)
  }
  // Ten of each are in use at any time.
  expect(store.size).toBeLessThan(3 * 40)
})

test('does not forget a limit that is in use, while it drops those around it', async () => {
  const clock = manualClock()
  const store = createMemoryStore({ clock })
  const daily = charge('daily', { permits: 1, periodMs: 86_400_000, burst: 1 })
  expect(store.charge('w', [daily]).allowed).toBe(true)
  for (let caller = 0; caller < 200; caller += 1) {
    // Together with a new one: what a decision has in hand is not dropped under it.
    expect(store.charge('w', [charge(`caller/${caller}`), daily]).allowed).toBe(false)
    expect(store.charge('w', [charge(`caller/${caller}`), charge(`twin/${caller}`)]).allowed).toBe(true)
    expect(store.charge('w', [charge(`caller/${caller}`)]).allowed).toBe(false)
    expect(store.charge('w', [charge(`twin/${caller}`)]).allowed).toBe(false)
    await clock.advance(1_000)
  }
})

test('a listener hears nothing after it has stopped, not even what was on its way', async () => {
  const store = createMemoryStore({ clock: manualClock() })
  const heard: string[] = []
  const stop = store.onOpening(({ why }) => heard.push(why))
  store.shareOpening({ group: 'w', key: 'a', forMs: 1_000, why: 'first' })
  await Promise.resolve()
  store.shareOpening({ group: 'w', key: 'a', forMs: 1_000, why: 'second' })
  stop()
  await Promise.resolve()
  expect(heard).toEqual(['first'])
})

test('is full at its greatest number of limits, even when all of them are in use', () => {
  const store = createMemoryStore({ clock: manualClock(), maxLimits: 100 })
  for (let caller = 0; caller < 1_000; caller += 1) store.charge('w', [charge(`caller/${caller}`)])
  expect(store.size).toBe(100)
})
