import type { Db } from '../platform/db/db.ts'
import type { Tx } from '../platform/db/statement.ts'
import type { Log } from '../platform/log.ts'
import { Problem } from '../problems.ts'
import type { EndedJob, FollowUps, LaneKey } from './job.ts'

/** Jobs per transaction. */
const BATCH = 200

/**
 * Ends jobs that no worker ends (lost, expired) until there are none left, each batch with its follow-ups in one
 * transaction. Follow-ups that fail are left out in the end: a broken one must not keep all others waiting.
 */
export async function endInBatches<Row>(
  db: Db,
  options: {
    readonly followUps?: FollowUps | undefined
    readonly log: Log
    /** Ends up to `limit` jobs; fewer rows than that mean that there are no more. */
    end(tx: Tx, limit: number): Promise<readonly Row[]>
    /** What follow-ups are told of a row: nothing when its job goes on or has no completion. */
    endedOf(row: Row): readonly EndedJob[]
  },
): Promise<{ readonly rows: readonly Row[]; readonly lanes: readonly LaneKey[] }> {
  const rows: Row[] = []
  const lanes: LaneKey[] = []
  let limit = BATCH
  let followUps = options.followUps
  for (;;) {
    try {
      const found = await db.transaction(async (tx) => {
        const done = await options.end(tx, limit)
        const ended = done.flatMap(options.endedOf)
        if (followUps && ended.length > 0) lanes.push(...(await followUps(tx, ended)))
        return done
      })
      rows.push(...found)
      if (found.length < limit) return { rows, lanes }
      limit = BATCH
      followUps = options.followUps
    } catch (error) {
      if ((error instanceof Problem && error.code === 'database_unavailable') || followUps === undefined)
        throw error
      options.log.error({ err: error }, 'follow-ups of ended jobs failed')
      if (limit === 1) followUps = undefined
      limit = 1
    }
  }
}
