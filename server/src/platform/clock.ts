import { setTimeout as delay } from 'node:timers/promises'

/**
 * Time as an argument, so that state machines can be tested without waiting. Leases never use it: there the
 * database clock is the only clock.
 */
export interface Clock {
  /** Milliseconds since the Unix epoch. */
  now(): number
  /** Milliseconds from an arbitrary start, never going back: for measuring durations. */
  monotonic(): number
  /** Resolves after `ms`; rejects with the signal's reason when aborted. */
  sleep(ms: number, signal?: AbortSignal): Promise<void>
  /** Runs `run` once, `ms` from now; what it gives back takes that back. Cheaper than a sleep: no promise, no signal. */
  after(ms: number, run: () => void): () => void
}

/** Longer timers of Node fire at once. */
const LONGEST_TIMER_MS = 2 ** 31 - 1

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  sleep: async (ms, signal) => {
    try {
      await delay(ms, undefined, signal && { signal })
    } catch (error) {
      throw signal?.aborted ? signal.reason : error
    }
  },
  after: (ms, run) => {
    const timer = setTimeout(run, Math.min(ms, LONGEST_TIMER_MS))
    return () => clearTimeout(timer)
  },
}

/** A source of uniformly distributed numbers in [0, 1): jitter and sampling only, never secrets. */
export type Random = () => number

export const systemRandom: Random = Math.random
