import type { Db } from '../platform/db/db.ts'
import type { Log } from '../platform/log.ts'
import { Problem } from '../problems.ts'
import { type LaneKey, queueName } from './job.ts'
import { lockTenant } from './lock-tenant.ts'
import { closedBefore, findMisplaced, limitLook, listJobDays, repairJob } from './reconcile.sql.ts'

export interface Reconciled {
  /** Jobs that were in none or in several of ready, run and deferred. */
  readonly repaired: number
  /** Lanes that got a job back. */
  readonly lanes: readonly LaneKey[]
}

/** Repairs per day and round: more than a handful means a fault that no repair mends. */
const BATCH = 1_000
/** A look reads a day, which may be big; no longer, because its snapshot keeps dead rows everywhere. */
const LOOK_MS = 120_000
/** Rounds after which days that had nothing unfinished are looked at again: a replay can revive an old job. */
const ROUNDS_PER_LOOK = 24

/**
 * Makes the function that holds invariant 1 of `queue.ts` against the tables and mends what breaks it: a bug, a
 * restored backup, a hand in the database. Days are read whole; past days without unfinished jobs are remembered and
 * left out of most rounds. A day that fails, as one that cannot be read in time does, keeps no other from its look.
 * One caller at a time is enough; several do no harm. Errors of a round: `database_unavailable`.
 */
export function createReconciler(
  db: Db,
  { log, repaired }: { readonly log: Log; repaired(fault: string): void },
): () => Promise<Reconciled> {
  const finished = new Set<string>()
  let rounds = 0

  const look = (day: string) =>
    db.transaction(async (tx) => {
      await limitLook(tx, { ms: LOOK_MS })
      return findMisplaced(tx, { day, limit: BATCH })
    })

  const repair = ({ tenant_id: tenantId, id }: { readonly tenant_id: string; readonly id: string }) =>
    db.transaction(async (tx) => {
      await lockTenant(tx, { tenantId })
      return repairJob(tx, { tenantId, id })
    })

  return async () => {
    if (rounds % ROUNDS_PER_LOOK === 0) finished.clear()
    rounds += 1
    const days = (await listJobDays(db, undefined)).map(({ day }) => day)
    const { day: newestClosed } = await closedBefore(db, undefined)
    const lanes: LaneKey[] = []
    let count = 0

    const mend = async (day: string): Promise<void> => {
      const { unfinished, misplaced } = await look(day)
      // Into a later day new jobs may still come.
      if (unfinished === 0 && day < newestClosed) finished.add(day)
      for (const job of misplaced) {
        const done = await repair(job)
        if (done === undefined) continue
        count += 1
        repaired(done.fault)
        const about = { tenant_id: job.tenant_id, job_id: job.id, fault: done.fault }
        log.error(about, 'a misplaced job was repaired')
        if (done.revived)
          lanes.push({ queue: queueName(done.queue), tenantId: job.tenant_id, lane: done.lane })
      }
    }

    for (const day of days) {
      if (finished.has(day)) continue
      await mend(day).catch((err: unknown) => {
        if (err instanceof Problem) throw err
        log.error(
          { err, day },
          'misplaced jobs of a day could not be looked for; tried again in the next round',
        )
      })
    }
    return { repaired: count, lanes }
  }
}
