import type { DialResponse } from '../../../../platform/dial/dial-request.ts'
import { parseJson } from '../../../../platform/http/json-body.ts'
import { CallFailure, excerptOf, type FailureClass } from '../../../../resilience/failure.ts'
import { parseRetryAfter } from '../../../../resilience/retry-after.ts'
import { classOfStatus } from '../../classify.ts'
import { isObject } from '../../schema-rules.ts'
import type { StripeCall } from './request.ts'

/** What of an error is kept: it explains, and names no card and no customer's data. */
const KEPT = ['type', 'code', 'decline_code', 'param', 'message', 'doc_url', 'request_log_url', 'charge']

/**
 * The failure of an answer that is no success. Sources: docs.stripe.com/api/errors, /error-low-level,
 * /api/idempotent_requests.
 */
export function failureOfStripe(
  { status, headers, body }: DialResponse,
  method: StripeCall['method'],
  now: number,
): CallFailure {
  const error = errorOf(body)
  const kind = kindOf(status, error)
  const retryAfterMs = parseRetryAfter(headers['retry-after'], now)
  return new CallFailure({
    class: classOf(status, headers['stripe-should-retry'], method),
    kind,
    message: messageOf(status, kind, error),
    httpStatus: status,
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    upstream: {
      http_status: status,
      body_excerpt: excerptOf(error ? Buffer.from(JSON.stringify({ error: kept(error) })) : body),
    },
  })
}

/**
 * Every POST carries our key, so repeating does no harm, unless Stripe says that it is of no use. It says so of
 * errors that it keeps under the key: the same key will bring the same answer. Of a kept 5xx nobody knows what
 * was done before it.
 */
function classOf(
  status: number,
  shouldRetry: string | undefined,
  method: StripeCall['method'],
): FailureClass {
  if (shouldRetry === 'true') return 'safe_to_repeat'
  if (shouldRetry === 'false') return status >= 500 && method !== 'GET' ? 'outcome_unknown' : 'permanent'
  // Another request with the same key, or one on the same object, is under way.
  return status === 409 ? 'safe_to_repeat' : classOfStatus(status, true)
}

type StripeError = Readonly<Record<string, unknown>>

function errorOf(body: Buffer): StripeError | undefined {
  try {
    const value = parseJson(body)
    return isObject(value) && isObject(value.error) ? value.error : undefined
  } catch {
    return undefined
  }
}

const BY_STATUS: Readonly<Record<number, string>> = {
  401: 'authentication_error',
  402: 'card_error',
  403: 'permission_error',
  409: 'conflict',
  429: 'http_429',
}

/** Stripe gives wrong keys and missing rights the type of a bad request: there the status says more. */
function kindOf(status: number, error: StripeError | undefined): string {
  if (status >= 500) return 'http_5xx'
  if (error?.code === 'lock_timeout') return 'lock_timeout'
  const type = wordOf(error?.type)
  return (
    BY_STATUS[status] ??
    (type === 'invalid_request_error' || type === 'idempotency_error' || type === 'card_error'
      ? type
      : `http_${Math.floor(status / 100)}xx`)
  )
}

const wordOf = (value: unknown): string | undefined =>
  typeof value === 'string' && /^[a-z0-9_]{1,80}$/.test(value) ? value : undefined

function messageOf(status: number, kind: string, error: StripeError | undefined): string {
  if (status >= 300 && status < 400)
    return `Stripe answered with a redirect (HTTP ${status}), which is not followed.`
  const words = [wordOf(error?.code), wordOf(error?.decline_code)].filter((word) => word !== undefined)
  const why = words.length > 0 ? `: ${words.join(', ')}` : ''
  return `Stripe answered with HTTP ${status} (${wordOf(error?.type) ?? kind}${why}).`
}

/** Ids of the objects in question instead of the objects, which would fill the excerpt. */
function kept(error: StripeError): StripeError {
  const { payment_intent: intent } = error
  return {
    ...Object.fromEntries(KEPT.flatMap((name) => (name in error ? [[name, error[name]]] : []))),
    ...(isObject(intent) && { payment_intent: intent.id }),
  }
}
