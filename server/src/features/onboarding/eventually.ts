import type { Clock } from '../../platform/clock.ts'
import { NotShown } from './verdict.ts'

const EVERY_MS = 100

/**
 * Looks until `look` gives something; what goes through other processes takes a moment. Errors: `NotShown` with
 * `reason` and what was seen last.
 */
export async function eventually<Value>(
  wait: {
    readonly clock: Clock
    readonly signal: AbortSignal
    readonly withinMs: number
    readonly everyMs?: number
  },
  reason: string,
  look: () => Promise<{ readonly found: Value } | { readonly seen: string }>,
): Promise<Value> {
  const until = wait.clock.monotonic() + wait.withinMs
  for (;;) {
    const result = await look()
    if ('found' in result) return result.found
    if (wait.clock.monotonic() >= until)
      throw new NotShown(`${reason} within ${wait.withinMs / 1_000} s; seen: ${result.seen}.`)
    await wait.clock.sleep(wait.everyMs ?? EVERY_MS, wait.signal)
  }
}
