import type { Queryable } from '../platform/db/statement.ts'
import { type LaneKey, queueName } from './job.ts'
import { promoteDue } from './promote.sql.ts'

/** Jobs per statement. */
const BATCH = 1_000
/** A job that another process defers while we sleep may be due before the next one we know of. */
export const LONGEST_PAUSE_MS = 250
const SHORTEST_PAUSE_MS = 2

/**
 * One round moves everything that is due into its lane and gives the milliseconds until the next round: up to
 * the next due time, 250 ms at most. Several nodes may promote at once; each takes other rows.
 */
export function createPromoter(
  db: Queryable,
  promoted: (jobs: number, lanes: readonly LaneKey[]) => void,
): () => Promise<number> {
  return async () => {
    for (;;) {
      const row = await promoteDue(db, { limit: BATCH })
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
