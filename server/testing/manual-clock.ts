import type { Clock } from '../src/platform/clock.ts'

export interface ManualClock extends Clock {
  /**
   * Moves the time on. Sleepers wake in the order of their times, each at its own time, and what they start runs
   * before the next one wakes: a loop that sleeps 10 ms runs ten times in `advance(100)`.
   */
  advance(ms: number): Promise<void>
  /** How many sleep, or wait to be run by `after`, at this moment. */
  readonly sleeping: number
  /** Resolves when at least `count` sleep: then `advance` cannot run past a sleep that has not begun yet. */
  whenSleeping(count?: number): Promise<void>
}

interface Sleeper {
  readonly due: number
  wake(): void
}

/** A clock that stands still until the test moves it. */
export function manualClock(startEpochMs = Date.UTC(2026, 0, 1)): ManualClock {
  const sleepers = new Set<Sleeper>()
  const watchers = new Set<() => void>()
  let elapsed = 0
  const add = (sleeper: Sleeper) => {
    sleepers.add(sleeper)
    for (const watch of watchers) watch()
  }

  const earliest = (until: number): Sleeper | undefined => {
    let first: Sleeper | undefined
    for (const sleeper of sleepers)
      if (sleeper.due <= until && (first === undefined || sleeper.due < first.due)) first = sleeper
    return first
  }

  return {
    now: () => startEpochMs + elapsed,
    monotonic: () => elapsed,
    get sleeping() {
      return sleepers.size
    },
    sleep: (ms, signal) =>
      new Promise<void>((resolve, reject) => {
        if (signal?.aborted) {
          reject(signal.reason)
          return
        }
        const abort = () => {
          sleepers.delete(sleeper)
          reject(signal?.reason)
        }
        const sleeper: Sleeper = {
          due: elapsed + Math.max(0, ms),
          wake: () => {
            signal?.removeEventListener('abort', abort)
            sleepers.delete(sleeper)
            resolve()
          },
        }
        signal?.addEventListener('abort', abort, { once: true })
        add(sleeper)
      }),
    after: (ms, run) => {
      const sleeper: Sleeper = {
        due: elapsed + Math.max(0, ms),
        wake: () => {
          sleepers.delete(sleeper)
          run()
        },
      }
      add(sleeper)
      return () => void sleepers.delete(sleeper)
    },
    advance: async (ms) => {
      const target = elapsed + ms
      await settled()
      for (let sleeper = earliest(target); sleeper; sleeper = earliest(target)) {
        elapsed = sleeper.due
        sleeper.wake()
        await settled()
      }
      elapsed = target
    },
    whenSleeping: (count = 1) =>
      new Promise<void>((resolve) => {
        const watch = () => {
          if (sleepers.size < count) return
          watchers.delete(watch)
          resolve()
        }
        watchers.add(watch)
        watch()
      }),
  }
}

/** One turn of the event loop: every chain of promises that waits for nothing outside has run to its end. */
const settled = () => new Promise<void>((resolve) => setImmediate(resolve))
