import type { Db } from '../platform/db/db.ts'
import type { Queryable } from '../platform/db/statement.ts'
import type { Log } from '../platform/log.ts'
import {
  abdicate,
  analyzeFreshPartitions,
  createPartitionsAhead,
  dropCancelled,
  lead,
  measureBlocked,
  measureDead,
  measureDeferred,
  measureDepth,
  removeExpiredKeys,
} from './housekeeping.sql.ts'
import { type LaneKey, QUEUES, type QueueName } from './job.ts'
import { removeDeadNodes } from './node.sql.ts'
import { OBSTACLES } from './obstacles.ts'
import type { QueueMetrics } from './queue-metrics.ts'
import { createReconciler } from './reconcile.ts'

const LEADER = 'queue_housekeeping'
const LEAD_MS = 60_000
const DAYS_AHEAD = 7
const EVERY_MS = 3_600_000
const KEYS_PER_STATEMENT = 1_000
const ROWS_PER_STATEMENT = 1_000

export interface HousekeepingOptions {
  readonly db: Db
  readonly owner: string
  readonly metrics: QueueMetrics
  readonly log: Log
  /** Monotonic milliseconds. */
  now(): number
  /** Lanes that got jobs back. */
  revived(lanes: readonly LaneKey[]): void
}

/**
 * Makes the partitions of the next days. Every process that writes jobs or events calls this before it serves:
 * a hub that was off for weeks has none for today.
 */
export async function ensurePartitions(db: Queryable, log: Log): Promise<void> {
  const { created } = await createPartitionsAhead(db, { days: DAYS_AHEAD })
  if (created > 0) log.info({ created }, 'daily partitions created')
}

/** The work that one node does for all. */
export interface Housekeeping {
  /**
   * Sampled depths each time, the rest each hour; nothing while another node leads. Samples read whole tables and
   * may fail on big ones, which keeps nothing else from its time.
   */
  round(): Promise<void>
  /** Lets another node lead at once, and not after a minute without samples. */
  resign(): Promise<void>
}

export function createHousekeeping({
  db,
  owner,
  metrics,
  log,
  now,
  revived,
}: HousekeepingOptions): Housekeeping {
  let hourlyAt = now()
  const reconcile = createReconciler(db, { log, repaired: (fault) => metrics.repaired.inc({ fault }) })

  const sample = async (): Promise<void> => {
    const depths = await measureDepth(db, undefined)
    const letters = await measureDead(db, undefined)
    const { deferred } = await measureDeferred(db, undefined)
    const blocked = await measureBlocked(db, undefined)
    for (const queue of Object.keys(QUEUES) as QueueName[]) {
      const inQueue = (row: { readonly queue: number }) => row.queue === QUEUES[queue]
      const depth = depths.find(inQueue)
      metrics.ready.set({ queue }, depth?.ready ?? 0)
      metrics.oldest.set({ queue }, depth?.oldest_seconds ?? 0)
      metrics.dead.set({ queue }, letters.find(inQueue)?.dead ?? 0)
    }
    metrics.deferred.set(deferred)
    for (const reason of OBSTACLES)
      metrics.blocked.set({ reason }, blocked.find((row) => row.reason === reason)?.blocked ?? 0)
  }

  const forget = (): void => {
    for (const gauge of [metrics.ready, metrics.oldest, metrics.deferred, metrics.dead, metrics.blocked])
      gauge.reset()
  }

  const removeOld = async (): Promise<void> => {
    await removeDeadNodes(db, undefined)
    while ((await removeExpiredKeys(db, { limit: KEYS_PER_STATEMENT })) === KEYS_PER_STATEMENT);
  }

  const dropAllCancelled = async (): Promise<void> => {
    while ((await dropCancelled(db, { limit: ROWS_PER_STATEMENT })) === ROWS_PER_STATEMENT);
  }

  /** For what must not keep the rest from its time: false = it failed, and is tried when it is due again. */
  const tried = async (what: string, work: () => Promise<unknown>): Promise<boolean> => {
    try {
      await work()
      return true
    } catch (err) {
      log.warn({ err, what }, 'a part of the housekeeping failed')
      return false
    }
  }

  const round = async (): Promise<void> => {
    if ((await lead(db, { name: LEADER, owner, ttlMs: LEAD_MS })) === undefined) {
      // Old samples of a former leader would stay in its metrics for ever.
      forget()
      return
    }
    const isHourly = now() >= hourlyAt
    // Before all else: without a partition for its day no job can be stored.
    if (isHourly) {
      await ensurePartitions(db, log)
      hourlyAt = now() + EVERY_MS
    }
    await tried('analyze', () => analyzeFreshPartitions(db, undefined))
    // What is dropped must not be counted.
    await tried('drop cancelled jobs', () => dropAllCancelled())
    // Better no numbers than old ones.
    if (!(await tried('sample', sample))) forget()
    if (!isHourly) return
    await tried('remove old rows', removeOld)
    revived((await reconcile()).lanes)
  }
  return {
    round,
    resign: async () => {
      await abdicate(db, { name: LEADER, owner })
    },
  }
}
