import { Problem, type ProblemCode } from '../../problems.ts'
import { CallFailure } from '../../resilience/failure.ts'

/**
 * What a failed execution may have done upstream; where several attempts differ, the last of these counts.
 * `not_sent`: nothing arrived. `refused`: the upstream answered and did not do it. `unknown`: it may have had its
 * effect, so it is repeated only with the same idempotency key. `done`: it had its effect, only its answer is unusable.
 */
const EFFECTS = ['not_sent', 'refused', 'unknown', 'done'] as const
export type Effect = (typeof EFFECTS)[number]

/** Answers by which an upstream says that it has not carried the request out, and may do so later. */
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
  rate_limited: 'rate_limited',
  concurrency_limited: 'concurrency_limited',
  circuit_open: 'circuit_open',
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
  readonly executionId: string
  /** As the answer tells of the key. */
  readonly idempotency: object
  /** It was run before, and nobody knows what came of that. */
  readonly takenUp: boolean
}

export interface Failed {
  /** What the caller gets. Not a `Problem`: a bug. */
  readonly error: unknown
  readonly effect: Effect
  /** Whether the upstream said that the same request may be carried out later. */
  readonly later: boolean
  /** Whether the last attempt failed in a way that another one would repeat. */
  readonly forGood: boolean
}

/**
 * What a failed execution means, and what the caller gets for it: how often it was tried, with which idempotency
 * key, and what may have come of it. What failed before the first attempt, and what is neither a failed call nor a
 * `Problem`, is given back as it is.
 */
export function failedAs(error: unknown, attempted: Attempted): Failed {
  const { attempts, failures, takenUp } = attempted
  const all = error instanceof CallFailure ? [...failures, error] : failures
  const effects = all.map(effectOf)
  if (takenUp) effects.push('unknown')
  // A bug in the middle of an attempt: it may have been sent. A `Problem` stands for what is found before.
  if (!(error instanceof CallFailure || error instanceof Problem) && attempts > 0) effects.push('unknown')
  const effect = EFFECTS.findLast((each) => effects.includes(each)) ?? 'not_sent'
  const last = all.at(-1)
  return {
    error: asAnswer(error, attempted, effect),
    effect,
    later: last?.httpStatus !== undefined && NOT_DONE.has(last.httpStatus),
    forGood: last?.class === 'permanent',
  }
}

function asAnswer(
  error: unknown,
  { attempts, failures, executionId, idempotency, takenUp }: Attempted,
  effect: Effect,
): unknown {
  const members = { execution_id: executionId, attempts, outcome: effect, idempotency }
  if (error instanceof CallFailure)
    return new Problem(codeOf(error), error.message, {
      ...(error.retryAfterMs !== undefined && { retryAfterSeconds: error.retryAfterMs / 1_000 }),
      members: { ...members, ...(error.upstream && { upstream: error.upstream }) },
      cause: error,
    })
  if (error instanceof Problem)
    return failures.length === 0 && !takenUp
      ? error
      : new Problem(error.code, error.message, { ...error.extra, members, cause: error })
  if (effect !== 'unknown') return error
  return new Problem('internal_error', 'An unexpected failure; it has been logged with the request id.', {
    members,
    cause: error,
  })
}
