import { monitorEventLoopDelay } from 'node:perf_hooks'
import type { Clock } from './clock.ts'

/** The part of `perf_hooks.IntervalHistogram` that is read; all times in ns. */
export interface DelayHistogram {
  enable(): boolean
  disable(): boolean
  reset(): void
  readonly count: number
  readonly mean: number
  readonly stddev: number
}

export interface EventLoopOptions {
  readonly clock: Clock
  /** Told after each `everyMs` how late the event loop is, in ms, 0 when it is idle. */
  readonly onReading: (delayMs: number) => void
  readonly everyMs?: number
  readonly histogram?: (options: { readonly resolution: number }) => DelayHistogram
}

const EVERY_MS = 500
/** How often the histogram's own timer asks for its turn. Finer would cost more and say no more. */
const RESOLUTION_MS = 20
const NS_PER_MS = 1_000_000

/**
 * Measures how long work that arrives now waits before this thread looks at it. Once per Node process is enough:
 * all servers in it share the thread. Gives the function that stops it.
 *
 * The histogram counts turns of its timer, and a long turn counts once like a short one. But most work arrives in
 * long turns, so each is weighed by its length: Σd² / Σd = mean + variance / mean. With the plain mean, a thread
 * that is blocked 250 ms of every 500 ms would look all but idle.
 */
export function watchEventLoop(options: EventLoopOptions): () => void {
  const { clock, onReading, everyMs = EVERY_MS } = options
  const histogram = (options.histogram ?? monitorEventLoopDelay)({ resolution: RESOLUTION_MS })
  const stopped = new AbortController()
  const watch = async () => {
    for (;;) {
      await clock.sleep(everyMs, stopped.signal)
      // Nothing counted yet after a long turn: its figure comes with the next reading, so it must not be reset.
      if (histogram.count === 0) continue
      const { mean, stddev } = histogram
      histogram.reset()
      onReading(Math.max(0, (mean + (stddev * stddev) / mean) / NS_PER_MS - RESOLUTION_MS))
    }
  }
  histogram.enable()
  watch().catch((error: unknown) => {
    // The only way out of the loop that is meant; whatever else fails is a bug and must be seen.
    if (!stopped.signal.aborted) throw error
  })
  return () => {
    stopped.abort()
    histogram.disable()
  }
}
