import { setTimeout as delay } from 'node:timers/promises'

/**
 * Starts operations at a fixed rate, whether or not earlier ones have ended, so that a slow moment is seen by
 * all who arrive in it. A late timer is made up for at once. Resolves when all have ended; gives how many.
 */
export async function openLoop(options: {
  readonly perSecond: number
  readonly forMs: number
  once(): Promise<void>
  readonly signal?: AbortSignal
}): Promise<number> {
  const { perSecond, forMs, once, signal } = options
  const started = performance.now()
  const pending = new Set<Promise<void>>()
  let failure: unknown
  let count = 0
  for (;;) {
    const elapsed = performance.now() - started
    if (elapsed >= forMs || signal?.aborted || failure !== undefined) break
    for (const due = Math.floor((elapsed / 1_000) * perSecond); count < due; count += 1) {
      const running = once().then(
        () => void pending.delete(running),
        (error: unknown) => {
          failure ??= error
        },
      )
      pending.add(running)
    }
    await delay(1)
  }
  await Promise.all(pending)
  if (failure !== undefined) throw failure
  return count
}
