import { CallFailure } from './failure.ts'

/**
 * What the end of a call says about its upstream. `ok`: it answered. `failed`: it answered that it is broken.
 * `transport`: nothing usable came back. `busy`: it lives and takes nothing now (429). `none`: nothing is known.
 */
export type Health = 'ok' | 'failed' | 'transport' | 'busy' | 'none'

/** The call did not get through, or no answer came back: kinds of `platform/dial`, and those of other protocols. */
const TRANSPORT = new Set(['dns', 'refused', 'reset', 'tls', 'connect_timeout'])
/** Ends of a call that are the hub's or the caller's own doing. */
const OURS = new Set(['aborted', 'address_forbidden'])

/**
 * What a failed call says about its upstream. 429 is no fault: the upstream lives, and its limits have a rule of
 * their own; every other answer below 500 says that it is well. A timeout counts only when the upstream had at
 * least half of the time that the policy of the operation gives to an attempt: callers may ask for less, and their
 * haste must not open the breaker for everybody. `attemptMs` is that time.
 */
export function healthOf(error: unknown, durationMs: number, attemptMs: number): Health {
  if (!(error instanceof CallFailure) || error.refusedBy !== undefined || OURS.has(error.kind)) return 'none'
  if (error.httpStatus === 429) return 'busy'
  if (error.kind === 'timeout') return durationMs >= attemptMs / 2 ? 'transport' : 'none'
  // Also with a status: the head of an answer without its body is no answer.
  if (TRANSPORT.has(error.kind)) return 'transport'
  if (error.httpStatus !== undefined) return error.httpStatus >= 500 ? 'failed' : 'ok'
  return healthWithoutStatus(error)
}

function healthWithoutStatus({ class: failureClass, kind }: CallFailure): Health {
  // What cannot be written was never sent; what was sent and answered with something that is not HTTP was.
  if (kind === 'protocol') return failureClass === 'permanent' ? 'none' : 'transport'
  if (failureClass === 'never_sent') return 'none'
  // An answer of another protocol that puts one request off, e.g. greylisting of a recipient (RFC 6647).
  if (kind.endsWith('_4xx')) return 'ok'
  return failureClass === 'permanent' ? 'ok' : 'failed'
}
