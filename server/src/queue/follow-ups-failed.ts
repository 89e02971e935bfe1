import { isTransient } from '../platform/db/failures.ts'
import type { Tx } from '../platform/db/statement.ts'
import type { EndedJob, FollowUps, LaneKey } from './job.ts'

/** Follow-ups threw something that would be thrown again; `cause` is what. */
export class FollowUpsFailed extends Error {
  constructor(cause: unknown) {
    super('the follow-ups of ended jobs failed', { cause })
    this.name = 'FollowUpsFailed'
  }
}

/**
 * Runs follow-ups so that their own faults can be told from those of the transaction around them. A database in
 * trouble is nobody's fault: its error comes through as it is. Errors: `FollowUpsFailed`.
 */
export async function runFollowUps(
  followUps: FollowUps,
  tx: Tx,
  ended: readonly EndedJob[],
): Promise<readonly LaneKey[]> {
  try {
    return await followUps(tx, ended)
  } catch (error) {
    throw isTransient(error) ? error : new FollowUpsFailed(error)
  }
}
