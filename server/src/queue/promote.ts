import type { Queryable } from '../platform/db/statement.ts'
import { type LaneKey, queueName } from './job.ts'
import { promoteDue } from './promote.sql.ts'

/** Jobs per statement. */
const BATCH = 1_000
/** A job that another process defers while we sleep may be due before the next one we know of. */
export const LONGEST_PAUSE_MS = 250
const SHORTEST_PAUSE_MS = 2

/**
 * From the beginning again after this time: what committed later than the mark allows is found then, and what was
 * locked when its turn came.
 */
const LOOK_BACK_MS = 1_000
/** A look back that has to walk many dead entries is rarer: it takes a tenth of the time at most. */
const REST_PER_LOOK_BACK = 9
const BEGINNING = '-infinity'

/**
 * One round moves everything that is due into its lane and gives the milliseconds until the next round: up to
 * the next due time, 250 ms at most. Several nodes may promote at once; each takes other rows. `now` is monotonic.
 */
export function createPromoter(
  db: Queryable,
  promoted: (jobs: number, lanes: readonly LaneKey[]) => void,
  now: () => number,
): () => Promise<number> {
  let after = BEGINNING
  let lookBackAt = now() + LOOK_BACK_MS
  return async () => {
    for (;;) {
      const startedAt = now()
      const looksBack = startedAt >= lookBackAt
      if (looksBack) after = BEGINNING
      const row = await promoteDue(db, { limit: BATCH, after })
      if (looksBack) {
        const endedAt = now()
        lookBackAt = endedAt + Math.max(LOOK_BACK_MS, REST_PER_LOOK_BACK * (endedAt - startedAt))
      }
      after = row.clear_until ?? after
      if (row.promoted > 0)
        promoted(
          row.promoted,
          row.lanes.map(({ queue, tenant_id, lane }) => ({
            queue: queueName(queue),
            tenantId: tenant_id,
            lane,
          })),
        )
      if (row.promoted === BATCH) continue
      return Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, row.next_ms ?? LONGEST_PAUSE_MS))
    }
  }
}
