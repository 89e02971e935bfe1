/**
 * The door of the jobs feature: an operation of a connector, to run later (DESIGN D2).
 *
 * States: queued (waits for a worker), scheduled (waits for its time), retrying (waits for its next attempt),
 * running, and the ends: done, cancelled, dead. Invariants are the queue's (queue/queue.ts). What this feature
 * adds: a job is accepted only when its connector, operation, input and callback fit the active config, and the
 * tenant is the caller's.
 */
import type { Principal } from '../../platform/auth/principal.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { cancelJob, completionOf } from '../../queue/cancel.ts'
import { startable } from '../../queue/enqueue.ts'
import type { Enqueuer } from '../../queue/enqueuer.ts'
import type { EnqueuedJob, FollowUps, NewJob } from '../../queue/job.ts'
import { jobsOfKeys } from '../../queue/job-of-key.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import type { LoadShed } from '../../resilience/load-shed.ts'
import { authorOf, type Change, nameOf, recordAudit } from '../audit/audit.ts'
import type { ActiveConfigs } from '../configs/configs.ts'
import type { GuardMetrics } from '../guards/guards.ts'
import type { Backlog } from '../workspaces/workspaces.ts'
import { admitJobs } from './admit-jobs.ts'
import { createFollowUps } from './follow-ups.ts'
import type { NewJobBody } from './jobs.schema.ts'
import { enqueueWithInputs, keepInputs, type LargeBodies } from './large-bodies.ts'
import { type Caller, connectorsOf, newJob } from './new-job.ts'

export { createPayloadInput, PAYLOAD_INPUT } from './large-bodies.ts'
export { createFollowUps }

export interface JobDeps {
  readonly db: Db
  readonly clock: Clock
  readonly activeConfigs: ActiveConfigs
  readonly enqueuer: Enqueuer
  readonly wakeUp: Pick<WakeUp, 'hint'>
  /** Refuses jobs when the process has too much to do. */
  readonly loadShed: LoadShed
  /** Refuses jobs of a workspace that has as many waiting as it may. */
  readonly backlog: Backlog
  /** Where large inputs go. */
  readonly payloads: LargeBodies
  /** Told of jobs that a load shedding in shadow mode would have refused. */
  readonly wouldHave: GuardMetrics['wouldHave']
}

/**
 * Accepts one job; resolves after the commit. `bytes` is the size of the body. Errors: `connector_not_found`, `operation_not_found`,
 * `input_invalid`, `validation_error`, `idempotency_key_reused`, `database_unavailable`, `overloaded`, `backlog_full`,
 * `payload_store_unavailable`.
 */
export async function submitJob(
  deps: JobDeps,
  caller: Caller,
  body: NewJobBody,
  { dedupe, bytes }: { readonly dedupe: NewJob['dedupe']; readonly bytes: number },
): Promise<EnqueuedJob> {
  const { tenantId } = caller.principal
  const config = await deps.activeConfigs.get(tenantId, connectorsOf([body]))
  admitJobs(deps.loadShed, config, [body], deps.wouldHave)
  let job: NewJob
  try {
    job = newJob(config, deps.clock, caller, body, '/body')
  } catch (error) {
    // What was accepted once stays accepted, whatever the config and the clock say now.
    const first = dedupe && (await jobsOfKeys(deps.db, tenantId, [dedupe])).get(dedupe.key)
    if (first) return first
    throw error
  }
  await deps.backlog.admit(tenantId, 1)
  const keyed = dedupe ? { ...job, dedupe } : job
  const withInputs = await keepInputs(deps.payloads, [keyed], bytes)
  if (withInputs.kept.size === 0) return deps.enqueuer.enqueue(keyed, bytes)
  const [answer] = await enqueueWithInputs(deps.db, deps.payloads, withInputs)
  if (!answer) throw new Error('a job was stored without an answer')
  deps.wakeUp.hint(startable(withInputs.jobs, [answer]))
  return answer
}

export type CancelDeps = Pick<JobDeps, 'db' | 'clock' | 'activeConfigs' | 'wakeUp'>

/**
 * Cancels a job of the caller's workspace; with `change`, the audit entry commits with it. Asking again gives the
 * same answer and leaves no second entry. Errors: `not_found`; `conflict` when it has ended in another way.
 */
export async function cancel(
  deps: CancelDeps,
  principal: Principal,
  id: string,
  reason: string | undefined,
  change?: Change,
): Promise<{ job_id: string; status: 'cancelled' | 'cancelling' }> {
  const ref = { tenantId: principal.tenantId, id }
  const request = { ...ref, actor: nameOf(authorOf(principal)), ...(reason !== undefined && { reason }) }
  const { state, lanes } = await cancelJob(deps.db, request, {
    followUps: await followUpsOf(deps, ref),
    ...(change && {
      record: (tx, after) =>
        recordAudit(tx, { ...change, tenantId: ref.tenantId, action: ACTIONS[after], object: `job:${id}` }),
    }),
  })
  deps.wakeUp.hint(lanes)
  return { job_id: id, status: state }
}

const ACTIONS = { cancelled: 'job.cancelled', cancelling: 'job.cancel_requested' }

/**
 * The config is read before the transaction: as many cancels as the pool has connections would otherwise each hold
 * one and wait for another.
 */
async function followUpsOf(
  { db, activeConfigs, clock }: CancelDeps,
  ref: { readonly tenantId: string; readonly id: string },
): Promise<FollowUps> {
  const callback = (await completionOf(db, ref))?.callback
  const config = callback && (await activeConfigs.get(ref.tenantId, [callback.connector]))
  return createFollowUps({ activeConfigs: config ? { get: async () => config } : activeConfigs, clock })
}
