import { Problem, type ProblemCode } from '../../problems.ts'
import { CallFailure } from '../../resilience/failure.ts'

/**
 * What a failed execution may have done upstream; where several attempts differ, the last of these counts.
 * `not_sent`: nothing arrived. `refused`: the upstream answered and did not do it. `unknown`: it may have had its
 * effect, so it is repeated only with the same idempotency key. `done`: it had its effect, only its answer is unusable.
 */
const EFFECTS = ['not_sent', 'refused', 'unknown', 'done'] as const
export type Effect = (typeof EFFECTS)[number]

/** Answers by which an upstream says that it has not carried the request out. */
const NOT_DONE = new Set([425, 429])

function effectOf({ class: failureClass, httpStatus }: CallFailure): Effect {
  if (failureClass === 'never_sent') return 'not_sent'
  if (httpStatus !== undefined && NOT_DONE.has(httpStatus)) return 'refused'
  if (failureClass !== 'permanent') return 'unknown'
  if (httpStatus === undefined) return 'not_sent'
  return httpStatus < 300 ? 'done' : 'refused'
}

const CODES: Readonly<Record<string, ProblemCode>> = {
  timeout: 'upstream_timeout',
  connect_timeout: 'upstream_timeout',
  address_forbidden: 'target_forbidden',
  // Only a process that stops gives a call up.
  aborted: 'shutting_down',
}

function codeOf(failure: CallFailure): ProblemCode {
  const known = CODES[failure.kind]
  if (known) return known
  return failure.class === 'permanent' ? 'upstream_rejected' : 'upstream_error'
}

export interface Attempted {
  readonly attempts: number
  /** Of every failed attempt, in their order. */
  readonly failures: readonly CallFailure[]
  readonly idempotencyKey: string
}

/**
 * What the caller gets for a failed execution: how often it was tried, with which idempotency key, and what may
 * have come of it. What failed before the first attempt, and what is neither a failed call nor a `Problem`, is
 * given back as it is.
 */
export function asAnswer(error: unknown, { attempts, failures, idempotencyKey }: Attempted): unknown {
  const failed = error instanceof CallFailure
  if (!failed && !(error instanceof Problem && failures.length > 0)) return error
  const effects = (failed ? [...failures, error] : failures).map(effectOf)
  const members = {
    attempts,
    outcome: EFFECTS.findLast((effect) => effects.includes(effect)),
    idempotency: { key: idempotencyKey, replayed: false },
  }
  if (!failed) return new Problem(error.code, error.message, { ...error.extra, members, cause: error })
  return new Problem(codeOf(error), error.message, {
    ...(error.retryAfterMs !== undefined && { retryAfterSeconds: error.retryAfterMs / 1_000 }),
    members: { ...members, ...(error.upstream && { upstream: error.upstream }) },
    cause: error,
  })
}
