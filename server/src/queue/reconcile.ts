import type { Db } from '../platform/db/db.ts'
import type { Log } from '../platform/log.ts'
import { type LaneKey, queueName } from './job.ts'
import { lockTenant } from './lock-tenant.ts'
import { closedBefore, findMisplaced, listJobDays, repairJob } from './reconcile.sql.ts'

export interface Reconciled {
  /** Jobs that were in none or in several of ready, run and deferred. */
  readonly repaired: number
  /** Lanes that got a job back. */
  readonly lanes: readonly LaneKey[]
}

/** Repairs per day and round: more than a handful means a fault that no repair mends. */
const BATCH = 1_000
/** Rounds after which days that had nothing unfinished are looked at again: a replay can revive an old job. */
const ROUNDS_PER_LOOK = 24

/**
 * Makes the function that holds invariant 1 of `queue.ts` against the tables and mends what breaks it: a bug, a
 * restored backup, a hand in the database. Days are read whole; past days without unfinished jobs are remembered and
 * left out of most rounds. One caller at a time is enough; several do no harm.
 */
export function createReconciler(
  db: Db,
  { log, repaired }: { readonly log: Log; repaired(fault: string): void },
): () => Promise<Reconciled> {
  const finished = new Set<string>()
  let rounds = 0

  return async () => {
    if (rounds % ROUNDS_PER_LOOK === 0) finished.clear()
    rounds += 1
    const days = (await listJobDays(db, undefined)).map(({ day }) => day)
    const { day: newestClosed } = await closedBefore(db, undefined)
    const lanes: LaneKey[] = []
    let count = 0
    for (const day of days) {
      if (finished.has(day)) continue
      const { unfinished, misplaced } = await findMisplaced(db, { day, limit: BATCH })
      // Into a later day new jobs may still come.
      if (unfinished === 0 && day < newestClosed) finished.add(day)
      for (const { tenant_id: tenantId, id } of misplaced) {
        const repair = await db.transaction(async (tx) => {
          await lockTenant(tx, { tenantId })
          return repairJob(tx, { tenantId, id })
        })
        if (repair === undefined) continue
        count += 1
        repaired(repair.fault)
        log.error({ tenant_id: tenantId, job_id: id, fault: repair.fault }, 'a misplaced job was repaired')
        if (repair.revived) lanes.push({ queue: queueName(repair.queue), tenantId, lane: repair.lane })
      }
    }
    return { repaired: count, lanes }
  }
}
