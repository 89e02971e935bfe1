import type { Db } from '../platform/db/db.ts'
import type { Log } from '../platform/log.ts'
import { Problem } from '../problems.ts'
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

/** Jobs per statement. */
const BATCH = 200

/**
 * Takes every job from nodes that went silent and from attempts that overran, and puts it back, or ends it as
 * poison. Any node may do this at any time: rows that another rescuer holds are skipped. Follow-ups that fail
 * are left out in the end: a broken one must not keep all others from being rescued.
 */
export async function rescue(
  db: Db,
  options: { readonly limits: RescueLimits; readonly followUps?: FollowUps | undefined; readonly log: Log },
): Promise<Rescued> {
  const rows: RescuedRow[] = []
  const lanes: LaneKey[] = []
  let limit = BATCH
  let followUps = options.followUps
  for (;;) {
    try {
      const found = await db.transaction(async (tx) => {
        const rescued = await rescueLost(tx, { ...options.limits, limit })
        const ended = rescued.flatMap(endedOf)
        if (followUps && ended.length > 0) lanes.push(...(await followUps(tx, ended)))
        return rescued
      })
      rows.push(...found)
      if (found.length < limit) break
      limit = BATCH
      followUps = options.followUps
    } catch (error) {
      if ((error instanceof Problem && error.code === 'database_unavailable') || followUps === undefined)
        throw error
      options.log.error({ err: error }, 'follow-ups of rescued jobs failed')
      if (limit === 1) followUps = undefined
      limit = 1
    }
  }
  const count = (fate: RescuedRow['fate']) => rows.filter((row) => row.fate === fate).length
  return { retried: count('retry'), dead: count('dead'), cancelled: count('cancelled'), lanes }
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
