import type { FollowUps } from '../../queue/job.ts'
import { keepHeldEvents } from './held.ts'
import { endLineTurns } from './lines.ts'

/**
 * What follows the end of deliveries, in its transaction: one that is held begins to wait, and then the next event of the
 * line gets its turn, for which it counts whether the one before is held.
 */
export const followDeliveries: FollowUps = async (tx, ended) => {
  await keepHeldEvents(tx, ended)
  return endLineTurns(tx, ended)
}
