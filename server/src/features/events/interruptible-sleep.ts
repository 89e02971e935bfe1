import type { Clock } from '../../platform/clock.ts'

const WOKEN = Symbol('woken')

/**
 * Sleeps until `ms` have passed (false) or the function given to `arm` was called (true). `arm` returns how to
 * disarm. Rejects with the signal's reason when aborted. Leaves no listener and no timer behind, so that a
 * stream of days may call it without end.
 */
export async function interruptibleSleep(
  clock: Clock,
  ms: number,
  signal: AbortSignal,
  arm: (wake: () => void) => () => void,
): Promise<boolean> {
  signal.throwIfAborted()
  const stop = new AbortController()
  const onAbort = (): void => stop.abort(signal.reason)
  signal.addEventListener('abort', onAbort, { once: true })
  const disarm = arm(() => stop.abort(WOKEN))
  try {
    await clock.sleep(ms, stop.signal)
    return false
  } catch (error) {
    if (error === WOKEN) return true
    throw error
  } finally {
    disarm()
    signal.removeEventListener('abort', onAbort)
  }
}
