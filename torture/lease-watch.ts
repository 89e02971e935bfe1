import { setTimeout as delay } from 'node:timers/promises'
import type { Database } from './database.ts'
import type { HeldLease } from './history.ts'

const LOOK_MS = 1_000
/** Shorter ones are ordinary work. */
const OLD_MS = 3_000

/**
 * Looks at the leases that live, from outside, all through a run: a lease whose claim was answered into a broken
 * connection leaves no trace in any other table.
 */
export function watchLeases(database: Database): { stop(): Promise<readonly HeldLease[]> } {
  const leases = new Map<number, HeldLease>()
  const ended = new AbortController()

  const watch = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      const rows = await database.query<Omit<HeldLease, 'seen'>>(
        `select lease_id::float8 as lease, job_id as job, node_id as node,
                (extract(epoch from started_at) * 1000)::float8 as started
         from job_run where started_at < clock_timestamp() - $1 * interval '1 millisecond'`,
        [OLD_MS],
      )
      for (const row of rows) leases.set(row.lease, { ...row, seen: Date.now() })
      await delay(LOOK_MS, undefined, { signal: ended.signal }).catch(() => undefined)
    }
  }
  const watching = watch()
  return {
    stop: async () => {
      ended.abort()
      await watching
      return [...leases.values()]
    },
  }
}
