import type { Db } from '../platform/db/db.ts'
import type { Tx } from '../platform/db/statement.ts'
import { appendEvents } from '../platform/event-log.ts'
import type { Log } from '../platform/log.ts'
import { markBeforeFollowUps, undoFollowUps } from './end-in-batches.sql.ts'
import { FollowUpsFailed, runFollowUps } from './follow-ups-failed.ts'
import type { EndedJob, FollowUps, LaneKey } from './job.ts'

/** Jobs per transaction. */
const BATCH = 200

/**
 * Ends jobs that no worker ends (lost, expired) until there are none left, each batch with its follow-ups in one
 * transaction. The follow-ups of a job that fail by themselves are left out, which its timeline tells: a broken one
 * must not keep all others waiting. Any other failure ends the round: what is left is for the next one. Gives the
 * lanes that follow-ups enqueued into.
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
    /** After each commit: there may be millions in a round, so nobody keeps them. */
    committed(rows: readonly Row[]): void
  },
): Promise<readonly LaneKey[]> {
  const { followUps, log } = options
  const lanes = new Map<string, LaneKey>()
  for (;;) {
    const batch = await db.transaction(async (tx) => {
      const rows = await options.end(tx, BATCH)
      const ended = rows.flatMap(options.endedOf)
      const enqueued = followUps && ended.length > 0 ? await followEach(tx, { followUps, log, ended }) : []
      return { rows, enqueued }
    })
    options.committed(batch.rows)
    for (const { queue, tenantId, lane } of batch.enqueued)
      lanes.set(`${queue} ${tenantId} ${lane}`, { queue, tenantId, lane })
    if (batch.rows.length < BATCH) return [...lanes.values()]
  }
}

interface Following {
  readonly followUps: FollowUps
  readonly log: Log
  readonly ended: readonly EndedJob[]
}

/** The follow-ups of all together; if that fails by their own fault, of each job alone. */
async function followEach(tx: Tx, { followUps, log, ended }: Following): Promise<readonly LaneKey[]> {
  await markBeforeFollowUps(tx, undefined)
  try {
    return await runFollowUps(followUps, tx, ended)
  } catch (error) {
    if (!(error instanceof FollowUpsFailed)) throw error
    await undoFollowUps(tx, undefined)
    const [first, ...others] = ended
    if (first === undefined) return []
    if (others.length === 0) {
      await tellSkipped(tx, { log, ended: first, error })
      return []
    }
  }
  const lanes: LaneKey[] = []
  for (const each of ended) lanes.push(...(await followEach(tx, { followUps, log, ended: [each] })))
  return lanes
}

async function tellSkipped(
  tx: Tx,
  { log, ended, error }: { readonly log: Log; readonly ended: EndedJob; readonly error: unknown },
): Promise<void> {
  const { job } = ended
  log.error(
    { err: error, job_id: job.id, tenant_id: job.tenantId },
    'the follow-ups of an ended job failed and were left out',
  )
  await appendEvents(tx, {
    events: [
      {
        tenant_id: job.tenantId,
        type: 'job.callback_skipped',
        severity: 'error',
        message:
          'No callback: what was to follow the end of the job failed; the log of the worker has the details.',
        connector: job.completion?.callback?.connector,
        job_id: job.id,
        inbox_id: job.inboxId ?? undefined,
        request_id: job.call.requestId,
        correlation_id: job.call.correlationId,
        trace_id: job.call.traceId,
      },
    ],
  })
}
