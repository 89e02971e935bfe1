import type { Db } from '../platform/db/db.ts'
import type { Log } from '../platform/log.ts'
import { endInBatches } from './end-in-batches.ts'
import { type ExpiredRow, endExpired, lockExpired } from './expire.sql.ts'
import type { EndedJob, FollowUps, LaneKey } from './job.ts'
import { factsOf } from './job-row.ts'

/**
 * Ends every job that should have started by now and has not, as a dead letter with the reason `expired`. Any node
 * may do this at any time. Gives how many, and the lanes that follow-ups enqueued into.
 */
export async function expire(
  db: Db,
  options: { readonly followUps?: FollowUps | undefined; readonly log: Log },
): Promise<{ readonly expired: number; readonly lanes: readonly LaneKey[] }> {
  let expired = 0
  const lanes = await endInBatches(db, {
    ...options,
    end: async (tx, limit) => {
      const keys = await lockExpired(tx, { limit })
      const ended = new Map(
        (keys.length === 0 ? [] : await endExpired(tx, { keys })).map((row) => [row.id, row]),
      )
      // One row per job that was looked at: their number says whether there may be more.
      return keys.map((key) => ended.get(key.job_id))
    },
    endedOf: (row) => (row ? endedOf(row) : []),
    committed: (rows) => {
      expired += rows.filter((row) => row !== undefined).length
    },
  })
  return { expired, lanes }
}

function endedOf(row: ExpiredRow): EndedJob[] {
  const job = { ...factsOf(row), attempt: row.attempts }
  if (job.completion === null) return []
  const error = { class: 'expired', message: row.why }
  return [{ job, state: 'dead', result: null, why: row.why, reason: 'expired', error }]
}
