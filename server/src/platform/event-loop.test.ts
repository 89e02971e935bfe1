import { expect, test, vi } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import { systemClock } from './clock.ts'
import { type DelayHistogram, watchEventLoop } from './event-loop.ts'

/** A histogram of turns that the test writes down, in ms. */
function written(turns: number[]) {
  const state = { enabled: false, resolution: 0 }
  const mean = () => turns.reduce((sum, turn) => sum + turn, 0) / turns.length
  const histogram: DelayHistogram = {
    enable: () => {
      state.enabled = true
      return true
    },
    disable: () => {
      state.enabled = false
      return true
    },
    reset: () => {
      turns.length = 0
    },
    get count() {
      return turns.length
    },
    get mean() {
      return mean() * 1e6
    },
    get stddev() {
      return Math.sqrt(turns.reduce((sum, turn) => sum + (turn - mean()) ** 2, 0) / turns.length) * 1e6
    },
  }
  return {
    state,
    make: (options: { readonly resolution: number }) => {
      state.resolution = options.resolution
      return histogram
    },
  }
}

function setUp() {
  const clock = manualClock()
  const turns: number[] = []
  const readings: number[] = []
  const { state, make } = written(turns)
  const stop = watchEventLoop({
    clock,
    onReading: (delayMs) => readings.push(Math.round(delayMs)),
    histogram: make,
  })
  return { clock, turns, readings, state, stop }
}

test('an idle thread is not late: the histogram counts the time between two turns of its own timer', async () => {
  const { clock, turns, readings } = setUp()
  turns.push(...Array(25).fill(20))
  await clock.advance(500)
  expect(readings).toEqual([0])
})

test('a turn weighs as much as work that arrives in it: half the time blocked is not all but idle', async () => {
  const { clock, turns, readings } = setUp()
  turns.push(250, ...Array(12).fill(20))
  await clock.advance(500)
  // Σd² / Σd = (250² + 12 · 20²) / (250 + 12 · 20), less the 20 of the timer; the plain mean would be 18.
  expect(readings).toEqual([117])
})

test('each reading is of its own time only', async () => {
  const { clock, turns, readings } = setUp()
  turns.push(520)
  await clock.advance(500)
  turns.push(...Array(25).fill(20))
  await clock.advance(500)
  expect(readings).toEqual([500, 0])
})

test('a turn that is not counted yet is waited for and not lost', async () => {
  const { clock, turns, readings } = setUp()
  await clock.advance(500)
  expect(readings).toEqual([])
  turns.push(720)
  await clock.advance(500)
  expect(readings).toEqual([700])
})

test('ends when it is told to, and leaves no timer behind', async () => {
  const { clock, turns, readings, state, stop } = setUp()
  expect(state).toEqual({ enabled: true, resolution: 20 })
  stop()
  turns.push(500)
  await clock.advance(5_000)
  expect([readings, state.enabled, clock.sleeping]).toEqual([[], false, 0])
})

test('a real blocked thread is seen as late by about the length of its turns', async () => {
  const readings: number[] = []
  const stop = watchEventLoop({ clock: systemClock, onReading: (ms) => readings.push(ms), everyMs: 50 })
  const block = (ms: number) => {
    const end = performance.now() + ms
    while (performance.now() < end);
  }
  await vi.waitFor(
    () => {
      block(150)
      expect(readings.some((ms) => ms >= 100)).toBe(true)
    },
    { interval: 1, timeout: 10_000 },
  )
  stop()
})
