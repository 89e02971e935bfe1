import type { FollowUps } from '../../../queue/job.ts'
import { endLineTurns } from '../intake/lines.ts'
import { keepHeldEvents } from './held.ts'

/**
 * What follows the end of deliveries, in its transaction: one that is held keeps the head of its line, otherwise the next
 * event gets its turn; then what is held begins to wait.
 *
 * The order of locks, for all that touches several of these: routes, jobs and dead letters, lines, rows of the inbox,
 * each kind by its ids (ADR 0027).
 */
export const followDeliveries: FollowUps = async (tx, ended) => {
  const lanes = await endLineTurns(tx, ended)
  await keepHeldEvents(tx, ended)
  return lanes
}
