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
import { cancelJob } from '../../queue/cancel.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { Enqueuer } from '../../queue/enqueuer.ts'
import type { EnqueuedJob, FollowUps, NewJob, Priority } from '../../queue/job.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import type { ActiveConfigs } from '../configs/configs.ts'
import { findOperation } from '../connectors/connectors.ts'

export { createFollowUps } from './follow-ups.ts'

import type { NewJobBody } from './jobs.schema.ts'

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
  const job = await newJob(deps, caller, body, '/body')
  return deps.enqueuer.enqueue(dedupe ? { ...job, dedupe } : job)
}

/**
 * Accepts all jobs or none, in one transaction. Errors: `validation_error` that names every fault of every
 * item; `database_unavailable`.
 */
export async function submitBatch(
  deps: JobDeps,
  caller: Caller,
  bodies: readonly NewJobBody[],
): Promise<EnqueuedJob[]> {
  const details: ProblemDetail[] = []
  const jobs: NewJob[] = []
  for (const [at, body] of bodies.entries()) {
    const path = `/body/jobs/${at}`
    try {
      jobs.push(await newJob(deps, caller, body, path))
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

async function newJob(
  deps: JobDeps,
  { principal, call }: Caller,
  body: NewJobBody,
  path: string,
): Promise<NewJob> {
  const { tenantId } = principal
  const { connector, configVersion } = await deps.activeConfigs.connector(tenantId, body.connector)
  findOperation(connector, body.operation).validateInput(body.input, `${path}/input`)
  if (body.callback) await requireCallback(deps, tenantId, body.callback.connector, path)
  const runAt = body.run_at === undefined ? undefined : startTime(deps.clock, body.run_at, path)
  return {
    id: newId(),
    tenantId,
    queue: body.queue ?? 'default',
    lane: connector.lane,
    connector: connector.name,
    operation: body.operation,
    input: body.input,
    // Its range has been checked by the schema.
    ...(body.priority !== undefined && { priority: body.priority as Priority }),
    ...(runAt && { runAt }),
    ...(body.metadata && { metadata: body.metadata }),
    ...(body.callback && { completion: { callback: body.callback } }),
    configVersion,
    createdBy: principal.subject,
    call,
  }
}

async function requireCallback(deps: JobDeps, tenantId: string, name: string, path: string): Promise<void> {
  const { connectors } = await deps.activeConfigs.get(tenantId)
  const kind = connectors.get(name)?.connector.kind
  if (kind === 'callback') return
  const message =
    kind === undefined ? 'is not a connector of the active config' : 'is not a connector of kind callback'
  throw new Problem('validation_error', `${path}/callback/connector ${message}.`, {
    details: [{ path: `${path}/callback/connector`, message }],
  })
}

function startTime(clock: Clock, text: string, path: string): Date {
  const runAt = new Date(text)
  if (runAt.getTime() - clock.now() <= HORIZON_DAYS * DAY_MS) return runAt
  const message = `must be at most ${HORIZON_DAYS} days ahead`
  throw new Problem('validation_error', `${path}/run_at ${message}.`, {
    details: [{ path: `${path}/run_at`, message }],
  })
}

export interface CancelDeps {
  readonly db: Db
  readonly wakeUp: Pick<WakeUp, 'hint'>
  readonly followUps: FollowUps
}

/** Cancels a job of the caller's workspace. Errors: `not_found`; `conflict` when it has ended. */
export async function cancel(
  deps: CancelDeps,
  principal: Principal,
  id: string,
  reason: string | undefined,
): Promise<{ job_id: string; status: 'cancelled' | 'cancelling' }> {
  const request = {
    tenantId: principal.tenantId,
    id,
    actor: principal.subject,
    ...(reason !== undefined && { reason }),
  }
  const { state, lanes } = await cancelJob(deps.db, request, deps.followUps)
  deps.wakeUp.hint(lanes)
  return { job_id: id, status: state }
}
