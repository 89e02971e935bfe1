/** What has been counted of the calls of a sliding window. */
export interface WindowCounts {
  readonly calls: number
  readonly failed: number
  readonly slow: number
}

/** So finely the window slides: it covers between 9/10 of its length and all of it. */
export const SLICES = 10

/** Counts calls of the last `windowMs`. Costs the same however many calls there are. */
export interface BreakerWindow {
  /** Counts one call that ended at `now` (monotonic ms). Another `windowMs` than before begins a new window. */
  add(now: number, windowMs: number, call: { readonly failed: boolean; readonly slow: boolean }): WindowCounts
  clear(): void
}

export function breakerWindow(): BreakerWindow {
  const calls = new Uint32Array(SLICES)
  const failed = new Uint32Array(SLICES)
  const slow = new Uint32Array(SLICES)
  const total = { calls: 0, failed: 0, slow: 0 }
  let lengthMs = 0
  let slice = 0

  const clear = () => {
    calls.fill(0)
    failed.fill(0)
    slow.fill(0)
    total.calls = 0
    total.failed = 0
    total.slow = 0
  }
  const drop = (index: number) => {
    total.calls -= calls[index] ?? 0
    total.failed -= failed[index] ?? 0
    total.slow -= slow[index] ?? 0
    calls[index] = 0
    failed[index] = 0
    slow[index] = 0
  }

  return {
    clear,
    add: (now, windowMs, call) => {
      const current = Math.floor((now * SLICES) / windowMs)
      if (windowMs !== lengthMs) clear()
      else if (current - slice >= SLICES) clear()
      else for (let passed = slice + 1; passed <= current; passed += 1) drop(passed % SLICES)
      lengthMs = windowMs
      slice = current
      const index = current % SLICES
      calls[index] = (calls[index] ?? 0) + 1
      total.calls += 1
      if (call.failed) {
        failed[index] = (failed[index] ?? 0) + 1
        total.failed += 1
      }
      if (call.slow) {
        slow[index] = (slow[index] ?? 0) + 1
        total.slow += 1
      }
      return total
    },
  }
}
