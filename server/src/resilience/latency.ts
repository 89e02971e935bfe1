import { keyedStates } from './keyed-states.ts'

/** How long the calls of one operation take. */
export interface Latency {
  observe(ms: number): void
  /** So many ms that 95 of 100 calls took less; undefined while too few were seen. Up to 19 % too high. */
  p95(): number | undefined
}

/** The latencies of one process, by workspace and operation. */
export interface Latencies {
  of(group: string, key: string): Latency
  readonly size: number
}

/** Four steps per doubling, from 1 ms to 65 s. */
const STEPS_PER_DOUBLING = 4
const STEPS = 16 * STEPS_PER_DOUBLING + 1
const MIN_SAMPLES = 20
/** Then everything counts half, so that the estimate follows the upstream. */
const HALVE_AT = 1_000
const MAX_OPERATIONS = 10_000

export function createLatencies(options: { readonly atMost?: number } = {}): Latencies {
  const states = keyedStates({ create: latency, idle: () => false, atMost: options.atMost ?? MAX_OPERATIONS })
  return {
    of: (group, key) => {
      states.tidy()
      return states.of(group, key)
    },
    get size() {
      return states.size
    },
  }
}

function latency(): Latency {
  const counts = new Uint16Array(STEPS)
  let total = 0
  const halve = () => {
    total = 0
    for (let step = 0; step < STEPS; step += 1) {
      const half = (counts[step] ?? 0) >> 1
      counts[step] = half
      total += half
    }
  }
  return {
    observe: (ms) => {
      const step = Math.min(
        STEPS - 1,
        Math.max(0, Math.ceil(Math.log2(Math.max(1, ms)) * STEPS_PER_DOUBLING)),
      )
      counts[step] = (counts[step] ?? 0) + 1
      total += 1
      if (total >= HALVE_AT) halve()
    },
    p95: () => {
      if (total < MIN_SAMPLES) return undefined
      let above = total * 0.05
      let step = STEPS - 1
      for (; step > 0; step -= 1) {
        above -= counts[step] ?? 0
        if (above < 0) break
      }
      return 2 ** (step / STEPS_PER_DOUBLING)
    },
  }
}
