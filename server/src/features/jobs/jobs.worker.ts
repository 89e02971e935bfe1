import { context } from '@opentelemetry/api'
import { traceparentOf } from '../../platform/call-context.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import type { AttemptError, ClaimedJob, Outcome } from '../../queue/job.ts'
import { wasLost } from '../../queue/read.ts'
import { attemptTimeout, remainingMs } from '../../resilience/deadline.ts'
import { CallFailure } from '../../resilience/failure.ts'
import { outermost, runPipeline } from '../../resilience/pipeline.ts'
import { decideRetry } from '../../resilience/retry.ts'
import type { ActiveConfigs, ActiveConnector } from '../configs/configs.ts'
import { findOperation, invokeOperation } from '../connectors/connectors.ts'
import { circuitStage, type GuardMetrics, type Guards, limitStage } from '../guards/guards.ts'
import { jobSchedule } from '../policies/policies.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { askedToWait, busyLane, waitsForUpstream } from './busy-upstream.ts'
import { holdLaneBack } from './hold-lane-back.ts'
import { waitsForRule } from './refused-by-hub.ts'

export interface JobHandlerDeps {
  readonly platform: Pick<Platform, 'clock' | 'random' | 'log' | 'db'>
  readonly activeConfigs: ActiveConfigs
  readonly directory: Pick<WorkspaceDirectory, 'find'>
  readonly dial: Dial
  readonly resolveSecret: (tenantId: string, refName: string) => Promise<Secret>
  readonly guards: Guards
  readonly guardMetrics: GuardMetrics
  /** The whole input of a job that has an `inputRef`. Errors: a `Problem`, as for what is wrong with a config. */
  readonly readInput: (job: ClaimedJob) => Promise<unknown>
}

/** How long a job waits for the hub's own troubles; they spend no attempt. */
const DATABASE_PAUSE_MS = 5_000
/** How soon after the end of a suspension its jobs go on. */
const SUSPENDED_PAUSE_MS = 30_000
/** A connector that this hub cannot use waits for an operator or for a newer hub. */
const UNUSABLE_PAUSE_MS = 60_000

/**
 * Makes the function that runs one attempt of a claimed job and says how it ended; it never throws for what an
 * upstream, a config or a secret can do wrong. Between attempts the queue waits, not this function.
 */
export function createJobHandler(
  deps: JobHandlerDeps,
): (job: ClaimedJob, signal: AbortSignal) => Promise<Outcome> {
  return async (job, signal) => {
    const outcome = await attempt(deps, job, signal)
    logOutcome(deps, job, outcome)
    return outcome
  }
}

function logOutcome({ platform }: JobHandlerDeps, job: ClaimedJob, outcome: Outcome): void {
  platform.log.info(
    {
      tenant_id: job.tenantId,
      job_id: job.id,
      connector: job.connector,
      attempt: job.attempt,
      outcome: outcome.kind,
      request_id: job.call.requestId,
      correlation_id: job.call.correlationId,
      trace_id: job.call.traceId,
    },
    `job attempt: ${outcome.why}`,
  )
}

async function attempt(deps: JobHandlerDeps, job: ClaimedJob, signal: AbortSignal): Promise<Outcome> {
  const workspace = await deps.directory.find(job.tenantId)
  if (workspace?.status !== 'active') {
    const why = 'The workspace is suspended; no attempt is spent.'
    await holdLaneBack(deps.platform, job, { forMs: SUSPENDED_PAUSE_MS, reason: 'workspace_suspended', why })
    return { kind: 'snooze', delayMs: SUSPENDED_PAUSE_MS, why }
  }
  let active: ActiveConnector
  let run: ClaimedJob
  try {
    active = await deps.activeConfigs.connector(job.tenantId, job.connector, '/connector')
    const operation = findOperation(active.connector, job.operation, '/operation')
    const input = job.inputRef === null ? job.input : await deps.readInput(job)
    operation.validateInput(input, '/input')
    run = { ...job, input }
    if (!operation.repeatable && job.attempt > 1 && (await wasLost(deps.platform.db, job))) return lost()
  } catch (error) {
    return refused(deps, job, error)
  }
  return { ...(await attemptOn(deps, run, active, signal)), configVersion: active.configVersion }
}

async function attemptOn(
  deps: JobHandlerDeps,
  job: ClaimedJob,
  active: ActiveConnector,
  signal: AbortSignal,
): Promise<Outcome> {
  try {
    const { output, httpStatus } = await call(deps, job, active, signal)
    return {
      kind: 'done',
      result: output,
      ...(httpStatus !== null && { httpStatus }),
      why: `Attempt ${job.attempt} succeeded${httpStatus === null ? '' : ` with HTTP ${httpStatus}`}.`,
    }
  } catch (error) {
    return failed(deps, job, active, error)
  }
}

/** What no attempt can mend: the config has changed since the job was accepted, or the hub is in trouble itself. */
async function refused(deps: JobHandlerDeps, job: ClaimedJob, error: unknown): Promise<Outcome> {
  if (!(error instanceof Problem)) throw error
  const why = `The attempt has to wait: ${error.message}`
  if (error.status >= 500) return { kind: 'snooze', delayMs: DATABASE_PAUSE_MS, why }
  if (error.code === 'config_invalid') {
    await holdLaneBack(deps.platform, job, { forMs: UNUSABLE_PAUSE_MS, reason: 'connector_unusable', why })
    return { kind: 'snooze', delayMs: UNUSABLE_PAUSE_MS, why }
  }
  const detail = error.extra.details?.map(({ path, message }) => `${path} ${message}`).join('; ')
  const message = detail ? `${error.message} ${detail}` : error.message
  return { kind: 'dead', reason: error.code, error: { class: error.code, message }, why: message }
}

/** Neither safe nor keyed: another attempt could have the effect a second time, so an operator has to decide. */
function lost(): Outcome {
  const message =
    'A worker was lost while it ran this job, so that nobody knows whether it had its effect, and its operation is neither safe nor keyed.'
  return {
    kind: 'dead',
    reason: 'outcome_unknown',
    error: { class: 'worker_lost', message },
    why: `${message} It is not repeated.`,
  }
}

function call(deps: JobHandlerDeps, job: ClaimedJob, active: ActiveConnector, signal: AbortSignal) {
  const { clock } = deps.platform
  const { policy } = active.policy(job.operation)
  const { policy: connectorPolicy } = active.policy()
  const { tenantId, connector, operation } = job
  const onWouldHave = deps.guardMetrics.wouldHave
  // The total time is of executions.
  const attemptMs = policy.timeouts.attempt_ms
  const guarded = {
    tenantId,
    connector,
    operation,
    policy,
    connectorPolicy,
    attemptMs,
    ofJob: true,
    onWouldHave,
  }
  const stages = [
    limitStage(deps.guards, guarded),
    circuitStage(deps.guards, guarded, clock),
    attemptTimeout({ attemptMs, clock }),
  ]
  return runPipeline(stages, outermost(signal), (scope) =>
    invokeOperation(
      { dial: deps.dial, clock, resolveSecret: (name) => deps.resolveSecret(job.tenantId, name) },
      active.connector,
      job.operation,
      job.input,
      {
        signal: scope.signal,
        connectTimeoutMs: policy.timeouts.connect_ms,
        remainingMs: Math.min(remainingMs(scope, clock), attemptMs),
        idempotencyKey: job.idempotencyKey,
        attemptToken: newId(),
        traceparent: traceparentOf(context.active()),
      },
    ),
  )
}

async function failed(
  deps: JobHandlerDeps,
  job: ClaimedJob,
  active: ActiveConnector,
  error: unknown,
): Promise<Outcome> {
  const failure = asCallFailure(error)
  if (!failure) return refused(deps, job, error)
  deps.guardMetrics.refused(failure)
  if (failure.refusedBy && failure.class === 'never_sent') return waitsForRule(deps.platform, job, failure)
  const waitMs = askedToWait(failure)
  if (waitMs !== undefined) {
    const why = busyLane(failure, job, waitMs)
    await holdLaneBack(deps.platform, job, { forMs: waitMs, reason: 'retry_after', why })
    const longestMs = active.policy(job.operation).policy.job_wait.upstream_ms
    if (failure.httpStatus === 429)
      return waitsForUpstream(deps.platform, job, failure, { waitMs, longestMs })
  }
  const facts: AttemptError = {
    class: failure.kind,
    message: failure.message,
    ...(failure.httpStatus !== undefined && { httpStatus: failure.httpStatus }),
  }
  const decision = decideRetry({
    failure,
    failedAttempts: job.attempt,
    schedule: jobSchedule(active.policy(job.operation).policy),
    random: deps.platform.random,
  })
  const why = `Attempt ${job.attempt} failed (${failure.kind}): ${failure.message} ${sentence(decision.why)}`
  if (decision.again) return { kind: 'retry', delayMs: decision.delayMs, error: facts, why }
  return { kind: 'dead', reason: deadReason(failure), error: facts, why }
}

/** A secret can be put where its ref points while the job waits, so its absence counts as a call that was never sent. */
function asCallFailure(error: unknown): CallFailure | undefined {
  if (error instanceof CallFailure) return error
  if (!(error instanceof Problem) || error.code !== 'secret_unresolved') return undefined
  return new CallFailure({ class: 'never_sent', kind: error.code, message: error.message, cause: error })
}

const deadReason = (failure: CallFailure): string =>
  failure.class === 'permanent' || failure.class === 'outcome_unknown' ? failure.class : 'attempts_spent'

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
