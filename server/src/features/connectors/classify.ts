import type { DialFailure } from '../../platform/dial/dial-failure.ts'
import type { DialResponse } from '../../platform/dial/dial-request.ts'
import { CallFailure, excerptOf, type FailureClass } from '../../resilience/failure.ts'
import { parseRetryAfter } from '../../resilience/retry-after.ts'

/** Answers that say "not now" (RFC 9110 §15.5.9, RFC 8470, RFC 6585); 5xx besides. */
const TRANSIENT = new Set([408, 425, 429])
/** Among them those that say the request was not carried out. */
const NOT_DONE = new Set([425, 429])

/** What an upstream means by statuses of its own. */
export interface StatusMeaning {
  /** The request was not carried out, so that even one that is not repeatable may be sent again. */
  readonly notDone?: readonly number[] | undefined
  /** A passing trouble. */
  readonly retryable?: readonly number[] | undefined
}

/** What a failed answer means for an operation of which repeating does no harm (`repeatable`), or may. */
export function classOfStatus(
  status: number,
  repeatable: boolean,
  { notDone, retryable }: StatusMeaning = {},
): FailureClass {
  if (notDone?.includes(status)) return 'safe_to_repeat'
  if (retryable?.includes(status)) return repeatable ? 'safe_to_repeat' : 'outcome_unknown'
  if (!TRANSIENT.has(status) && status < 500) return 'permanent'
  if (repeatable) return 'safe_to_repeat'
  return NOT_DONE.has(status) ? 'permanent' : 'outcome_unknown'
}

/**
 * The failure of an answer that is no success. `now` is in epoch ms, for a Retry-After with a date; `notDone` are
 * statuses of this upstream by which it says that it has not carried the request out.
 */
export function failureOfAnswer(
  response: DialResponse,
  failureClass: FailureClass,
  now: number,
  notDone: readonly number[] = [],
): CallFailure {
  const { status, headers, body } = response
  const retryAfterMs = parseRetryAfter(headers['retry-after'], now)
  return new CallFailure({
    class: failureClass,
    kind: kindOfStatus(status),
    message: messageOfStatus(status),
    httpStatus: status,
    ...(notDone.includes(status) && { effect: 'put_off' }),
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    upstream: { http_status: status, body_excerpt: excerptOf(body) },
  })
}

const kindOfStatus = (status: number): string =>
  status === 429 ? 'http_429' : `http_${Math.floor(status / 100)}xx`

const messageOfStatus = (status: number): string =>
  status >= 300 && status < 400
    ? `The upstream answered with a redirect (HTTP ${status}), which is not followed.`
    : `The upstream answered with HTTP ${status}.`

/**
 * The failure of a request without a usable answer. An answer whose head came but whose body is refused has a
 * known status: then the status decides, and a success with an unreadable body has had its effect.
 */
export function failureOfDial(failure: DialFailure, repeatable: boolean): CallFailure {
  const { status } = failure
  return new CallFailure({
    class: classOfDial(failure, repeatable),
    kind: failure.class,
    message: failure.message,
    ...(status !== undefined && { httpStatus: status, upstream: { http_status: status, body_excerpt: '' } }),
    cause: failure,
  })
}

function classOfDial({ class: failureClass, sent, status }: DialFailure, repeatable: boolean): FailureClass {
  if (failureClass === 'address_forbidden') return 'permanent'
  if (status !== undefined) return classOfStatus(status, repeatable)
  // Nothing was sent and nothing will be: a request that cannot be written stays unwritable.
  if (failureClass === 'protocol' && sent === 'never') return 'permanent'
  if (sent === 'never') return 'never_sent'
  return repeatable ? 'safe_to_repeat' : 'outcome_unknown'
}
