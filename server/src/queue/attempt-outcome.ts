import type { Random } from '../platform/clock.ts'
import { isTransient } from '../platform/db/failures.ts'
import type { Log } from '../platform/log.ts'
import type { ClaimedJob, Outcome } from './job.ts'
import type { Settlement } from './settle.ts'

/**
 * Why an attempt is told to stop: somebody cancelled the job, the process stops, the node could not prove for
 * too long that it lives, or the attempt took too long.
 */
export type AbortCause = 'cancelled' | 'stopping' | 'lease_lost' | 'deadline'

export class AttemptAborted extends Error {
  readonly why: AbortCause

  constructor(why: AbortCause) {
    super(`the attempt was aborted: ${why}`)
    this.name = 'AttemptAborted'
    this.why = why
  }
}

/**
 * What an outcome means when the attempt was told to stop. A success stays one: the effect happened. Everything
 * else may just be the abort itself, so it must neither spend an attempt nor bury the job.
 */
export function afterAbort(outcome: Outcome, signal: AbortSignal): Settlement['outcome'] {
  const why = signal.reason instanceof AttemptAborted ? signal.reason.why : undefined
  if (outcome.kind === 'done' || why === undefined || why === 'deadline') return outcome
  const { configVersion } = outcome
  const ranOn = configVersion !== undefined && { configVersion }
  if (why === 'cancelled') return { kind: 'cancelled', why: 'Cancelled on request while it ran.', ...ranOn }
  return { kind: 'returned', why: WHY_RETURNED[why] }
}

/** The same for a job that waits for a place. */
export function abortedBefore(why: AbortCause): Settlement['outcome'] {
  if (why === 'cancelled') return { kind: 'cancelled', why: 'Cancelled on request before it started.' }
  return { kind: 'returned', why: WHY_RETURNED[why] }
}

const WHY_RETURNED = {
  stopping: 'The worker stops; the attempt is not spent.',
  lease_lost: 'The worker could not reach the database for too long; the attempt is not spent.',
  deadline: 'The attempt had no time left; it is not spent.',
} as const

/** Attempts that a bug in a handler may cost before the job becomes a dead letter. */
const MAX_FAILURES = 5
const DATABASE_PAUSE_MS = 2_000

/** A handler that throws is a bug, or the database is away. The error goes to the log only: it may hold internals. */
export function outcomeOfFailure(
  error: unknown,
  job: ClaimedJob,
  { log, random }: { readonly log: Log; readonly random: Random },
): Outcome {
  if (error instanceof AttemptAborted) {
    const message = 'The attempt took too long and was stopped.'
    return retryOrDie(job, random, { class: 'timeout', message }, message)
  }
  if (isTransient(error))
    return { kind: 'snooze', delayMs: DATABASE_PAUSE_MS, why: 'The hub could not reach its database.' }
  log.error(
    { err: error, job_id: job.id, tenant_id: job.tenantId },
    'the handler of a job failed unexpectedly',
  )
  const message = 'The worker failed unexpectedly; its log has the details.'
  return retryOrDie(job, random, { class: 'internal_error', message }, message)
}

function retryOrDie(
  job: ClaimedJob,
  random: Random,
  error: { readonly class: string; readonly message: string },
  why: string,
): Outcome {
  if (job.attempt >= MAX_FAILURES) return { kind: 'dead', reason: 'handler_failed', error, why }
  return { kind: 'retry', delayMs: 1_000 * 2 ** job.attempt * (0.5 + random() / 2), error, why }
}
