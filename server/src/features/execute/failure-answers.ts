import { Problem, type ProblemCode } from '../../problems.ts'
import { CALL_EFFECTS, type CallEffect, CallFailure } from '../../resilience/failure.ts'

/** What an answer says of the effect, by the words of `CallEffect`: what was put off was not carried out either. */
export type Effect = Exclude<CallEffect, 'put_off'>

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
  /** The upstream knows our key again. */
  readonly takesKey: boolean
}

export interface Failed {
  /** What the caller gets. Not a `Problem`: a bug. */
  readonly error: unknown
  readonly effect: CallEffect
  /** Whether the last attempt failed in a way that another one would repeat. */
  readonly forGood: boolean
  readonly attempts: number
}

/**
 * What a failed execution means, and what the caller gets for it: how often it was tried, with which idempotency
 * key, and what may have come of it. What failed before the first attempt, and what is neither a failed call nor a
 * `Problem`, is given back as it is.
 */
export function failedAs(error: unknown, attempted: Attempted): Failed {
  const { attempts, failures } = attempted
  const effect = effectOf(error, attempted)
  const last = error instanceof CallFailure ? error : failures.at(-1)
  return { error: asAnswer(error, attempted, effect), effect, forGood: last?.class === 'permanent', attempts }
}

/** The most that may have happened in any attempt, unless the last answer tells of all of them. */
function effectOf(error: unknown, { attempts, failures, takenUp, takesKey }: Attempted): CallEffect {
  if (takesKey && error instanceof CallFailure && isConclusive(error)) return error.effect
  const effects = (error instanceof CallFailure ? [...failures, error] : failures).map(({ effect }) => effect)
  if (takenUp) effects.push('unknown')
  // A bug in the middle of an attempt: it may have been sent. A `Problem` stands for what is found before.
  if (!(error instanceof CallFailure || error instanceof Problem) && attempts > 0) effects.push('unknown')
  return CALL_EFFECTS.findLast((each) => effects.includes(each)) ?? 'not_sent'
}

/** Refusals that are found before the key is looked at, or that are about the key itself. */
const BEFORE_THE_KEY = new Set([401, 403, 404, 409])

/**
 * Whether a refusal under our key is the outcome of all attempts: an upstream that knows a key again answers with
 * what came of it first (docs.stripe.com/api/idempotent_requests, IETF draft idempotency-key §2.6).
 */
function isConclusive({ effect, httpStatus, kind }: CallFailure): boolean {
  return (
    effect === 'refused' &&
    httpStatus !== undefined &&
    httpStatus >= 400 &&
    httpStatus < 500 &&
    !BEFORE_THE_KEY.has(httpStatus) &&
    kind !== 'idempotency_error'
  )
}

function asAnswer(
  error: unknown,
  { attempts, failures, executionId, idempotency, takenUp }: Attempted,
  effect: CallEffect,
): unknown {
  const outcome: Effect = effect === 'put_off' ? 'refused' : effect
  const members = { execution_id: executionId, attempts, outcome, idempotency }
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
