import type { Db } from '../platform/db/db.ts'
import { notify } from '../platform/db/notifications.ts'
import type { Queryable, Tx } from '../platform/db/statement.ts'
import { appendEvents } from '../platform/event-log.ts'
import { Problem } from '../problems.ts'
import { finishCancelled, removeDeferred, requestCancel, selectCompletion, stateOf } from './cancel.sql.ts'
import type { Completion, FollowUps, LaneKey } from './job.ts'
import { factsOf } from './job-row.ts'
import { lockTenant } from './lock-tenant.ts'
import { storable } from './settle.ts'

/** The channel on which workers hear of cancel requests before their next heartbeat; payload: a lease id. */
export const CANCEL_CHANNEL = 'orchestrator_cancel'

export interface CancelRequest {
  readonly tenantId: string
  readonly id: string
  /** Who asks, for the timeline: a subject, never a token. */
  readonly actor: string
  readonly reason?: string
}

export interface Cancelled {
  /** `cancelling`: a worker holds the job and was told to stop; it may still end as done. */
  readonly state: 'cancelled' | 'cancelling'
  /** Lanes of the jobs that follow-ups enqueued: for `WakeUp.hint`. */
  readonly lanes: readonly LaneKey[]
}

/** What commits with a cancel. */
export interface CancelTogether {
  readonly followUps?: FollowUps
  /** Runs last in the transaction, and only when the cancel changes something. */
  readonly record?: (tx: Tx, state: Cancelled['state']) => Promise<void>
}

/** The same words for a job that does not exist and for one of another workspace. */
export const jobNotFound = (): Problem => new Problem('not_found', 'There is no such job in this workspace.')

/** What follows the end of a job; null when nothing does, or when there is no such job. */
export async function completionOf(
  on: Queryable,
  ref: Pick<CancelRequest, 'tenantId' | 'id'>,
): Promise<Completion | null> {
  return (await selectCompletion(on, ref))?.completion ?? null
}

/**
 * Cancels a job. One that waits is cancelled at once and never runs; for one that runs the worker gets an
 * AbortSignal. Asking again changes nothing and gives the same answer. Errors: `not_found`; `conflict` when it has
 * ended in another way, naming its state.
 *
 * Why it cannot race: the lock keeps claims of the workspace out, so a job can only move on in the direction
 * running → deferred → ready while we look, and we look in that order.
 */
export const cancelJob = (db: Db, request: CancelRequest, together?: CancelTogether): Promise<Cancelled> =>
  db.transaction((tx) => cancelJobIn(tx, request, together))

/** The same as part of a transaction, which keeps claims of the workspace out until it ends: it must be short. */
export async function cancelJobIn(
  tx: Tx,
  { tenantId, id, actor, reason }: CancelRequest,
  { followUps, record }: CancelTogether = {},
): Promise<Cancelled> {
  const why = storable(`Cancelled by ${actor}${reason ? `: ${reason}` : '.'}`)
  await lockTenant(tx, { tenantId })
  const known = await stateOf(tx, { tenantId, id })
  if (known === undefined) throw jobNotFound()
  const event = {
    tenant_id: tenantId,
    job_id: id,
    connector: known.connector,
    correlation_id: known.correlation_id,
    trace_id: known.trace_id,
    message: why,
    data: { actor },
  }

  const running = await requestCancel(tx, { tenantId, id, why })
  if (running) {
    // Also when it was asked before: the hint may have been lost.
    await notify(tx, { channel: CANCEL_CHANNEL, payload: String(running.lease_id) })
    if (running.first) {
      await appendEvents(tx, { events: [{ ...event, type: 'job.cancel_requested' }] })
      await record?.(tx, 'cancelling')
    }
    return { state: 'cancelling', lanes: [] }
  }

  await removeDeferred(tx, { tenantId, id })
  const row = await finishCancelled(tx, { tenantId, id })
  if (row === undefined) {
    const state = (await stateOf(tx, { tenantId, id }))?.state ?? known.state
    if (state !== 'cancelled') throw hasEnded(state)
    return { state: 'cancelled', lanes: [] }
  }
  await appendEvents(tx, { events: [{ ...event, type: 'job.cancelled' }] })
  const job = { ...factsOf(row), attempt: row.attempts }
  const ended = { job, state: 'cancelled', result: null, why, reason: null, error: null } as const
  const lanes = followUps && job.completion !== null ? await followUps(tx, [ended]) : []
  await record?.(tx, 'cancelled')
  return { state: 'cancelled', lanes }
}

const hasEnded = (state: string): Problem =>
  new Problem('conflict', `The job has ended: it is ${state === 'dead' ? 'a dead letter' : state}.`)
