import type { Queryable } from '../platform/db/statement.ts'
import type { Log } from '../platform/log.ts'
import {
  analyzeFreshPartitions,
  createPartitionsAhead,
  lead,
  measureDeferred,
  measureDepth,
  removeExpiredKeys,
} from './housekeeping.sql.ts'
import { QUEUES, type QueueName } from './job.ts'
import { removeDeadNodes } from './node.sql.ts'
import type { QueueMetrics } from './queue-metrics.ts'

const LEADER = 'queue_housekeeping'
const LEAD_MS = 60_000
const DAYS_AHEAD = 7
const EVERY_MS = 3_600_000
const KEYS_PER_STATEMENT = 1_000

export interface HousekeepingOptions {
  readonly db: Queryable
  readonly owner: string
  readonly metrics: QueueMetrics
  readonly log: Log
  /** Monotonic milliseconds. */
  now(): number
}

/**
 * Makes the partitions of the next days. Every process that writes jobs or events calls this before it serves:
 * a hub that was off for weeks has none for today.
 */
export async function ensurePartitions(db: Queryable, log: Log): Promise<void> {
  const { created } = await createPartitionsAhead(db, { days: DAYS_AHEAD })
  if (created > 0) log.info({ created }, 'daily partitions created')
}

/** One round of the work that one node does for all: sampled depths each time, the rest each hour. */
export function createHousekeeping({
  db,
  owner,
  metrics,
  log,
  now,
}: HousekeepingOptions): () => Promise<void> {
  let hourlyAt = now()

  const sample = async (): Promise<void> => {
    const depths = await measureDepth(db, undefined)
    for (const queue of Object.keys(QUEUES) as QueueName[]) {
      const depth = depths.find((row) => row.queue === QUEUES[queue])
      metrics.ready.set({ queue }, depth?.ready ?? 0)
      metrics.oldest.set({ queue }, depth?.oldest_seconds ?? 0)
    }
    const { deferred, dead } = await measureDeferred(db, undefined)
    metrics.deferred.set(deferred)
    metrics.dead.set(dead)
  }

  const hourly = async (): Promise<void> => {
    await ensurePartitions(db, log)
    await removeDeadNodes(db, undefined)
    while ((await removeExpiredKeys(db, { limit: KEYS_PER_STATEMENT })) === KEYS_PER_STATEMENT);
  }

  return async () => {
    if ((await lead(db, { name: LEADER, owner, ttlMs: LEAD_MS })) === undefined) {
      // Old samples of a former leader would stay in its metrics for ever.
      for (const gauge of [metrics.ready, metrics.oldest, metrics.deferred, metrics.dead]) gauge.reset()
      return
    }
    await analyzeFreshPartitions(db, undefined)
    await sample()
    if (now() < hourlyAt) return
    await hourly()
    hourlyAt = now() + EVERY_MS
  }
}
