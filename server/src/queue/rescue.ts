import type { Db } from '../platform/db/db.ts'
import type { Log } from '../platform/log.ts'
import { endInBatches } from './end-in-batches.ts'
import type { EndedJob, FollowUps, LaneKey } from './job.ts'
import { factsOf } from './job-row.ts'
import { type RescuedRow, rescueLost } from './rescue.sql.ts'

export interface RescueLimits {
  /** A node that has not beaten for this long is dead. */
  readonly deadAfterMs: number
  /** Added to an attempt's deadline, so that its own worker ends it first. */
  readonly overrunGraceMs: number
  /** Lost workers after which a job is a dead letter. */
  readonly poisonAfter: number
}

export const RESCUE_LIMITS: RescueLimits = { deadAfterMs: 15_000, overrunGraceMs: 30_000, poisonAfter: 3 }

export interface Rescued {
  readonly retried: number
  readonly dead: number
  readonly cancelled: number
  readonly lanes: readonly LaneKey[]
}

/**
 * Takes every job from nodes that went silent and from attempts that overran, and puts it back, or ends it as
 * poison. Any node may do this at any time: rows that another rescuer holds are skipped.
 */
export async function rescue(
  db: Db,
  options: { readonly limits: RescueLimits; readonly followUps?: FollowUps | undefined; readonly log: Log },
): Promise<Rescued> {
  const fates = { retry: 0, dead: 0, cancelled: 0 }
  const lanes = await endInBatches(db, {
    ...options,
    end: (tx, limit) => rescueLost(tx, { ...options.limits, limit }),
    endedOf,
    committed: (rows) => {
      for (const { fate } of rows) fates[fate] += 1
    },
  })
  return { retried: fates.retry, dead: fates.dead, cancelled: fates.cancelled, lanes }
}

function endedOf(row: RescuedRow): EndedJob[] {
  const job = { ...factsOf(row), attempt: row.attempt }
  if (row.fate === 'retry' || job.completion === null) return []
  const dead = row.fate === 'dead'
  return [
    {
      job,
      state: row.fate,
      result: null,
      why: row.why,
      reason: dead ? 'poison' : null,
      error: dead ? { class: 'worker_lost', message: row.why } : null,
    },
  ]
}
