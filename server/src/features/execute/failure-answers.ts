import { Problem, type ProblemCode } from '../../problems.ts'
import { CallFailure } from '../../resilience/failure.ts'

const CODES: Readonly<Record<string, ProblemCode>> = {
  timeout: 'upstream_timeout',
  connect_timeout: 'upstream_timeout',
  address_forbidden: 'target_forbidden',
}

function codeOf(failure: CallFailure): ProblemCode {
  const known = CODES[failure.kind]
  if (known) return known
  return failure.class === 'permanent' ? 'upstream_rejected' : 'upstream_error'
}

/**
 * What the caller gets for a failed call. A call whose outcome nobody knows says so (`outcome: "unknown"`), and
 * that the caller can repeat it only with the same idempotency key. Everything that is no call failure is
 * given back as it is.
 */
export function asAnswer(error: unknown, attempts: number): unknown {
  if (!(error instanceof CallFailure)) return error
  return new Problem(codeOf(error), error.message, {
    ...(error.retryAfterMs !== undefined && { retryAfterSeconds: error.retryAfterMs / 1_000 }),
    members: {
      attempts,
      ...(error.class === 'never_sent' && { outcome: 'not_sent' }),
      ...(error.class === 'outcome_unknown' && { outcome: 'unknown' }),
      ...(error.upstream && { upstream: error.upstream }),
    },
    cause: error,
  })
}
