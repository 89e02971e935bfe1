import type { Clock } from '../src/platform/clock.ts'

/** A clock that stands still until it is told otherwise. `sleep` ends at once and moves it. */
export interface ManualClock extends Clock {
  advance(ms: number): void
}

/** Starts at a whole second, so that times in tokens and headers come out even. */
export function manualClock(startsAt = Date.parse('2026-11-21T12:00:00Z')): ManualClock {
  let elapsed = 0
  return {
    now: () => startsAt + elapsed,
    monotonic: () => elapsed,
    sleep: async (ms, signal) => {
      signal?.throwIfAborted()
      elapsed += ms
    },
    advance: (ms) => {
      elapsed += ms
    },
  }
}
