/**
 * The door of the jobs feature: an operation of a connector, to run later (DESIGN D2).
 *
 * States: queued (waits for a worker), scheduled (waits for its time), retrying (waits for its next attempt),
 * running, and the ends: done, cancelled, dead. Invariants are the queue's (queue/queue.ts). What this feature
 * adds: a job is accepted only when its connector, operation, input and callback fit the active config, and the
 * tenant is the caller's.
 */
import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { newId } from '../../platform/ids.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { cancelJob, completionOf } from '../../queue/cancel.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { Enqueuer } from '../../queue/enqueuer.ts'
import type { EnqueuedJob, FollowUps, NewJob, Priority } from '../../queue/job.ts'
import { jobOfKey } from '../../queue/job-of-key.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import type { ActiveConfig, ActiveConfigs } from '../configs/configs.ts'
import { findOperation } from '../connectors/connectors.ts'
import { createFollowUps } from './follow-ups.ts'
import type { NewJobBody } from './jobs.schema.ts'

export { createFollowUps }

/** History is kept by the day: a job further ahead would hold its day's partition open for too long. */
const HORIZON_DAYS = 30
const DAY_MS = 86_400_000

export interface JobDeps {
  readonly db: Db
  readonly clock: Clock
  readonly activeConfigs: ActiveConfigs
  readonly enqueuer: Enqueuer
  readonly wakeUp: Pick<WakeUp, 'hint'>
}

interface Caller {
  readonly principal: Principal
  readonly call: CallContext
}

/**
 * Accepts one job; resolves after the commit. Errors: `connector_not_found`, `operation_not_found`,
 * `input_invalid`, `validation_error`, `idempotency_key_reused`, `database_unavailable`.
 */
export async function submitJob(
  deps: JobDeps,
  caller: Caller,
  body: NewJobBody,
  dedupe?: NewJob['dedupe'],
): Promise<EnqueuedJob> {
  const { tenantId } = caller.principal
  const config = await deps.activeConfigs.get(tenantId, namesIn([body]))
  let job: NewJob
  try {
    job = newJob(config, deps.clock, caller, body, '/body')
  } catch (error) {
    // What was accepted once stays accepted, whatever the config and the clock say now.
    const first = dedupe && (await jobOfKey(deps.db, tenantId, dedupe))
    if (first) return first
    throw error
  }
  return deps.enqueuer.enqueue(dedupe ? { ...job, dedupe } : job)
}

/**
 * Accepts all jobs or none, in one transaction, all of them by one config. Errors: `validation_error` that names
 * every item at fault; `database_unavailable`.
 */
export async function submitBatch(
  deps: JobDeps,
  caller: Caller,
  bodies: readonly NewJobBody[],
): Promise<EnqueuedJob[]> {
  const config = await deps.activeConfigs.get(caller.principal.tenantId, namesIn(bodies))
  const details: ProblemDetail[] = []
  const jobs: NewJob[] = []
  for (const [at, body] of bodies.entries()) {
    const path = `/body/jobs/${at}`
    try {
      jobs.push(newJob(config, deps.clock, caller, body, path))
    } catch (error) {
      if (!(error instanceof Problem) || error.status >= 500) throw error
      details.push(...(error.extra.details ?? [{ path, message: error.message }]))
    }
  }
  if (details.length > 0)
    throw new Problem('validation_error', `${details.length} faults in the batch; nothing was stored.`, {
      details,
    })
  const enqueued = await enqueueJobs(deps.db, jobs)
  deps.wakeUp.hint(jobs)
  return enqueued
}

/** The connectors that the jobs need. */
const namesIn = (bodies: readonly NewJobBody[]): string[] =>
  bodies.flatMap(({ connector, callback }) => (callback ? [connector, callback.connector] : [connector]))

function newJob(
  config: ActiveConfig,
  clock: Clock,
  { principal, call }: Caller,
  body: NewJobBody,
  path: string,
): NewJob {
  const { connector, configVersion } = config.connector(body.connector, `${path}/connector`)
  findOperation(connector, body.operation, `${path}/operation`).validateInput(body.input, `${path}/input`)
  if (body.callback) requireCallback(config, body.callback.connector, `${path}/callback/connector`)
  const runAt = body.run_at === undefined ? undefined : startTime(clock, body.run_at, `${path}/run_at`)
  const expiresAt =
    body.expires_at === undefined ? undefined : expiry(clock, runAt, body.expires_at, `${path}/expires_at`)
  return {
    id: newId(),
    tenantId: principal.tenantId,
    queue: body.queue ?? 'default',
    lane: connector.lane,
    connector: connector.name,
    operation: body.operation,
    input: body.input,
    // Its range has been checked by the schema.
    ...(body.priority !== undefined && { priority: body.priority as Priority }),
    ...(runAt && { runAt }),
    ...(expiresAt && { expiresAt }),
    ...(body.metadata && { metadata: body.metadata }),
    ...(body.callback && { completion: { callback: body.callback } }),
    configVersion,
    createdBy: principal.subject,
    call,
  }
}

const fault = (path: string, message: string): Problem =>
  new Problem('validation_error', `${path} ${message}.`, { details: [{ path, message }] })

function requireCallback(config: ActiveConfig, name: string, path: string): void {
  const kind = config.connectors.get(name)?.connector.kind
  if (kind === undefined) throw fault(path, 'is not a connector of the active config')
  if (kind !== 'callback') throw fault(path, 'is not a connector of kind callback')
}

function momentOf(clock: Clock, text: string, path: string): Date {
  const moment = new Date(text)
  const aheadMs = moment.getTime() - clock.now()
  // The schema's format takes some texts that name no moment here, leap seconds for one.
  if (Number.isNaN(aheadMs)) throw fault(path, 'is not a moment that the hub can read')
  if (aheadMs > HORIZON_DAYS * DAY_MS) throw fault(path, `must be at most ${HORIZON_DAYS} days ahead`)
  return moment
}

/** Undefined for a moment that has passed: the job runs at once. */
function startTime(clock: Clock, text: string, path: string): Date | undefined {
  const runAt = momentOf(clock, text, path)
  return runAt.getTime() > clock.now() ? runAt : undefined
}

function expiry(clock: Clock, runAt: Date | undefined, text: string, path: string): Date {
  const expiresAt = momentOf(clock, text, path)
  if (expiresAt.getTime() <= clock.now()) throw fault(path, 'has passed: the job could never start')
  if (runAt && expiresAt <= runAt) throw fault(path, 'must be after run_at')
  return expiresAt
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
  const request = { ...ref, actor: principal.subject, ...(reason !== undefined && { reason }) }
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
