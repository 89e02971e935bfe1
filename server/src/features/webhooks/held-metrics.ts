import type { Db } from '../../platform/db/db.ts'
import { newId } from '../../platform/ids.ts'
import type { Metrics } from '../../platform/metrics.ts'
import { takesLead } from '../../queue/leader.ts'
import { measureHeld } from './held.sql.ts'
import { HELD_WHYS } from './reception.ts'

const LEADER = 'webhooks_held'
/** Longer than the time between two samples. */
const LEAD_MS = 60_000
const CAUSES = [...HELD_WHYS, 'ordering'] as const

/** Makes the function that samples what waits in the inbox; of several workers one does it for all. */
export function createHeldSample(db: Db, metrics: Metrics): () => Promise<void> {
  const owner = newId()
  const held = metrics.gauge('webhooks_held', 'Events that wait without a job', ['why'])
  const oldest = metrics.gauge('webhooks_held_oldest_seconds', 'How long the oldest of them waits', ['why'])
  return async () => {
    if (!(await takesLead(db, { name: LEADER, owner, ttlMs: LEAD_MS }))) {
      // Old samples of a former leader would stay in its metrics for ever.
      held.reset()
      oldest.reset()
      return
    }
    const rows = await measureHeld(db, undefined)
    for (const why of CAUSES) {
      const row = rows.find((each) => each.why === why)
      held.set({ why }, row?.events ?? 0)
      oldest.set({ why }, row?.oldest_seconds ?? 0)
    }
  }
}
