import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import type { AttemptError, ClaimedJob, Outcome } from '../../queue/job.ts'
import { CallFailure } from '../../resilience/failure.ts'
import { decideRetry } from '../../resilience/retry.ts'
import type { ActiveConnector } from '../configs/configs.ts'
import type { GuardMetrics } from '../guards/guards.ts'
import { jobSchedule } from '../policies/policies.ts'
import { askedToWait, busyLane, waitsForUpstream } from './busy-upstream.ts'
import { holdLaneBack } from './hold-lane-back.ts'
import type { JobGate } from './job-gate.ts'
import { waitsForRule } from './refused-by-hub.ts'

export interface FailedDeps {
  readonly platform: Pick<Platform, 'random' | 'log' | 'db'>
  readonly guardMetrics: Pick<GuardMetrics, 'refused'>
  readonly gate: JobGate
}

/** How long a job waits for the hub's own troubles; they spend no attempt. */
const DATABASE_PAUSE_MS = 5_000
/** A connector that this hub cannot use waits for an operator or for a newer hub. */
const UNUSABLE_PAUSE_MS = 60_000
/** A receiver that wants no more of a job says so in a header; that is its wish, not a kind of failure. */
const OWN_REASONS = new Set(['aborted_by_receiver'])

/** What no attempt can mend: the config has changed since the job was accepted, or the hub is in trouble itself. */
export async function refused(deps: FailedDeps, job: ClaimedJob, error: unknown): Promise<Outcome> {
  if (!(error instanceof Problem)) throw error
  const why = `The attempt has to wait: ${error.message}`
  if (error.status >= 500) return { kind: 'snooze', delayMs: DATABASE_PAUSE_MS, why }
  if (error.code === 'config_invalid') {
    await holdLaneBack(deps.platform, job, { forMs: UNUSABLE_PAUSE_MS, reason: 'connector_unusable', why })
    return { kind: 'snooze', delayMs: UNUSABLE_PAUSE_MS, why }
  }
  const kept = await deps.gate.after(job, error)
  if (kept) return kept
  if (error.code === 'payload_erased') return { kind: 'cancelled', why: error.message }
  const detail = error.extra.details?.map(({ path, message }) => `${path} ${message}`).join('; ')
  const message = detail ? `${error.message} ${detail}` : error.message
  return { kind: 'dead', reason: error.code, error: { class: error.code, message }, why: message }
}

/** Neither safe nor keyed: another attempt could have the effect a second time, so an operator has to decide. */
export function lost(): Outcome {
  const message =
    'A worker was lost while it ran this job, so that nobody knows whether it had its effect, and its operation is neither safe nor keyed.'
  return {
    kind: 'dead',
    reason: 'outcome_unknown',
    error: { class: 'worker_lost', message },
    why: `${message} It is not repeated.`,
  }
}

/** What becomes of a job whose call failed: it waits, is tried again, is kept by whoever answers for it, or is buried. */
export async function failed(
  deps: FailedDeps,
  job: ClaimedJob,
  active: ActiveConnector,
  error: unknown,
): Promise<Outcome> {
  const failure = asCallFailure(error)
  if (!failure) return refused(deps, job, error)
  deps.guardMetrics.refused(failure)
  if (failure.refusedBy && failure.class === 'never_sent') return waitsForRule(deps.platform, job, failure)
  const kept = await deps.gate.after(job, failure)
  if (kept) return kept
  const waitMs = OWN_REASONS.has(failure.kind) ? undefined : askedToWait(failure)
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

function deadReason({ class: failureClass, kind }: CallFailure): string {
  if (OWN_REASONS.has(kind)) return kind
  return failureClass === 'permanent' || failureClass === 'outcome_unknown' ? failureClass : 'attempts_spent'
}

const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`
