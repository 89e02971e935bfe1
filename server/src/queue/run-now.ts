import type { Tx } from '../platform/db/statement.ts'
import type { LaneKey } from './job.ts'
import { queueName } from './job.ts'
import { runDeferredNow } from './run-now.sql.ts'

export interface HastenedJob extends LaneKey {
  readonly id: string
}

/**
 * Lets jobs run now that wait for a retry, for the end of a snooze, or for the time that they were scheduled for; each
 * gets an event. Those in another place are left out of the answer. A lane that is paused or blocked still waits for its
 * end. Call `WakeUp.hint` with the answer after the commit.
 */
export const runJobsNow = async (
  tx: Tx,
  args: {
    readonly tenantId: string
    readonly ids: readonly string[]
    readonly actor: string
    readonly why: string
    readonly planId: string | null
  },
): Promise<HastenedJob[]> =>
  args.ids.length === 0
    ? []
    : (await runDeferredNow(tx, args)).map(({ job_id, queue, lane }) => ({
        ...{ id: job_id, queue: queueName(queue), tenantId: args.tenantId, lane },
      }))
