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
}

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
}

/** A source of uniformly distributed numbers in [0, 1): jitter and sampling only, never secrets. */
export type Random = () => number

export const systemRandom: Random = Math.random
