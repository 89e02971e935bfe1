/**
 * Where the scan of a lane may start, per priority. Claimed rows stay in the index as dead entries while an old
 * snapshot exists; a claim that starts behind them stays flat (research/performance.md §5b: 27 ms → 0.85 ms).
 * The mark trails the last claim, because a transaction that draws its number early may commit late; what
 * commits even later is found by the discovery scan, which lowers the mark again.
 */
export interface Watermark {
  /** One number per priority: claim rows with a greater `seq`. */
  low(): readonly number[]
  /** The highest `seq` claimed per priority; null = none. */
  claimed(last: readonly (number | null)[], nowMs: number): void
  /** A row with this `seq` is waiting: it must not lie below the mark. */
  seen(priority: number, seq: number): void
}

/** How long after a claim rows with lower numbers may still commit and be found by the next claim. */
const TRAIL_MS = 500

interface Mark {
  low: number
  next: number
  nextSinceMs: number
  latest: number
}

/** `nowMs` is monotonic. */
export function createWatermark(): Watermark {
  const marks: Mark[] = [1, 2, 3, 4].map(() => ({ low: 0, next: 0, nextSinceMs: 0, latest: 0 }))
  return {
    low: () => marks.map(({ low }) => low),
    claimed: (last, nowMs) => {
      for (const [index, mark] of marks.entries()) {
        mark.latest = Math.max(mark.latest, last[index] ?? 0)
        if (nowMs - mark.nextSinceMs < TRAIL_MS) continue
        // `next` was the last claimed number at least TRAIL_MS ago.
        mark.low = Math.max(mark.low, mark.next)
        mark.next = mark.latest
        mark.nextSinceMs = nowMs
      }
    },
    seen: (priority, seq) => {
      const mark = marks[priority - 1]
      if (mark === undefined || seq > mark.low) return
      mark.low = seq - 1
      mark.next = Math.min(mark.next, seq - 1)
      mark.latest = Math.min(mark.latest, seq - 1)
    },
  }
}
