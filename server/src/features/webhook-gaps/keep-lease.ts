import type { Platform } from '../../platform/platform.ts'
import { type HeldCheck, renewLease } from './gap-checks.sql.ts'

/** Renewed so often in its time that one renewal may fail. */
const RENEWALS = 3

/**
 * Does `work` on a check and keeps its lease meanwhile. Leases are short, so that the check of a worker that has died goes
 * on soon. One that is lost ends nothing here: what the work writes is refused then.
 */
export async function keepingLease<T>(
  { db, clock, log }: Pick<Platform, 'db' | 'clock' | 'log'>,
  held: HeldCheck,
  leaseMs: number,
  work: () => Promise<T>,
): Promise<T> {
  const done = new AbortController()
  const renew = async (): Promise<void> => {
    for (;;) {
      // A rest that is cut short ends the loop, nothing else.
      await clock.sleep(leaseMs / RENEWALS, done.signal).catch(() => undefined)
      if (done.signal.aborted) return
      try {
        if ((await renewLease(db, { ...held, leaseMs })) === 0) return
      } catch (error) {
        log.warn(
          { err: error, route_id: held.routeId },
          'the lease of a check for missing webhooks was not renewed',
        )
      }
    }
  }
  const renewing = renew()
  try {
    return await work()
  } finally {
    done.abort()
    await renewing
  }
}
