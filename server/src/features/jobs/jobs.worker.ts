import { context } from '@opentelemetry/api'
import { traceparentOf } from '../../platform/call-context.ts'
import type { Dial } from '../../platform/dial/dial.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import type { Secret } from '../../platform/secret.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import { wasLost } from '../../queue/read.ts'
import { attemptTimeout, remainingMs } from '../../resilience/deadline.ts'
import { outermost, runPipeline } from '../../resilience/pipeline.ts'
import type { ActiveConfigs, ActiveConnector } from '../configs/configs.ts'
import { findOperation, invokeOperation } from '../connectors/connectors.ts'
import { circuitStage, type GuardMetrics, type Guards, limitStage } from '../guards/guards.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { failed, lost, refused } from './failed-attempt.ts'
import { holdLaneBack } from './hold-lane-back.ts'
import type { JobGate } from './job-gate.ts'
import { keepResult, type LargeBodies } from './large-bodies.ts'

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
  readonly gate: JobGate
  /** Where large results go. */
  readonly payloads: LargeBodies
}

/** How soon after the end of a suspension its jobs go on. */
const SUSPENDED_PAUSE_MS = 30_000

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
  const held = await deps.gate.before(job)
  if (held) return held
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
      ...(await keepResult({ ...deps.platform, payloads: deps.payloads }, job, output)),
      ...(httpStatus !== null && { httpStatus }),
      why: `Attempt ${job.attempt} succeeded${httpStatus === null ? '' : ` with HTTP ${httpStatus}`}.`,
    }
  } catch (error) {
    return failed(deps, job, active, error)
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
