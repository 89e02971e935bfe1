import type { Clock } from '../../platform/clock.ts'

export interface VirtualTime {
  readonly clock: Clock
  /** Runs `run` when the time is `at` (ms since the epoch); at once after what is due now, when that is over. */
  at(at: number, run: () => void): void
  /** Runs everything in the order of its time, and what it brings about. */
  run(): void
}

interface Due {
  readonly at: number
  readonly run: () => void
}

/** A clock that jumps from one thing to the next: hours of a log pass in milliseconds. */
export function virtualTime(): VirtualTime {
  /** Latest first, so that the next one is taken from the end. */
  const due: Due[] = []
  let now = 0
  const at = (time: number, run: () => void): Due => {
    const one = { at: time, run }
    let low = 0
    let high = due.length
    while (low < high) {
      const middle = (low + high) >> 1
      if ((due[middle]?.at ?? 0) > time) low = middle + 1
      else high = middle
    }
    due.splice(low, 0, one)
    return one
  }
  return {
    clock: {
      now: () => now,
      // From the epoch, too: what is measured with it are differences.
      monotonic: () => now,
      sleep: (ms) => new Promise((resolve) => at(now + ms, resolve)),
      after: (ms, run) => {
        const one = at(now + ms, run)
        return () => {
          const index = due.indexOf(one)
          if (index >= 0) due.splice(index, 1)
        }
      },
    },
    at: (time, run) => void at(time, run),
    run: () => {
      for (let next = due.pop(); next; next = due.pop()) {
        now = Math.max(now, next.at)
        next.run()
      }
    },
  }
}
