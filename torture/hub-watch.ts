import { setTimeout as delay } from 'node:timers/promises'
import type { Database } from './database.ts'
import type { HeldLease, History } from './history.ts'

const LOOK_MS = 1_000
/** Shorter leases are ordinary work. */
const OLD_MS = 3_000

export interface Seen {
  readonly leases: readonly HeldLease[]
  readonly nodes: History['nodes']
}

/**
 * Looks at the hub from outside all through a run, for what leaves no trace: leases whose claim was answered into a
 * broken connection, and nodes that stopped in peace.
 */
export function watchHub(database: Database): { stop(): Promise<Seen> } {
  const leases = new Map<number, HeldLease>()
  const nodes = new Map<string, string>()
  const ended = new AbortController()

  const look = async (): Promise<void> => {
    const old = await database.query<Omit<HeldLease, 'seen'>>(
      `select lease_id::float8 as lease, job_id as job, node_id as node,
              (extract(epoch from started_at) * 1000)::float8 as started
       from job_run where started_at < clock_timestamp() - $1 * interval '1 millisecond'`,
      [OLD_MS],
    )
    for (const row of old) leases.set(row.lease, { ...row, seen: Date.now() })
    const known = await database.query<{ node_id: string; host: string }>('select node_id, host from node')
    for (const { node_id, host } of known) nodes.set(node_id, host)
  }

  const watch = async (): Promise<void> => {
    while (!ended.signal.aborted) {
      await look()
      await delay(LOOK_MS, undefined, { signal: ended.signal }).catch(() => undefined)
    }
    await look()
  }
  const watching = watch()
  // A fault is told by `stop`, however long nobody asks.
  watching.catch(() => undefined)
  return {
    stop: async () => {
      ended.abort()
      await watching
      return {
        leases: [...leases.values()],
        nodes: [...nodes].map(([node, process]) => ({ node, process })),
      }
    },
  }
}
