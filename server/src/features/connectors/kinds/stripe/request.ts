import { parseJson } from '../../../../platform/http/json-body.ts'
import type { Secret } from '../../../../platform/secret.ts'
import { Problem } from '../../../../problems.ts'
import { CallFailure } from '../../../../resilience/failure.ts'
import { isObject } from '../../schema-rules.ts'
import { encodeForm } from './form.ts'
import { baseUrlOf, DEFAULT_API_VERSION, type StripeSettings } from './settings.ts'

/** One call of Stripe's API before it is written down. */
export interface StripeCall {
  readonly method: 'GET' | 'POST' | 'DELETE'
  /** Starts with `/v1/`. */
  readonly path: string
  readonly params: Readonly<Record<string, unknown>>
  /** Of the input; the one in the settings stands above it. */
  readonly account?: string | undefined
}

/** `sk_` and `rk_` (restricted) keys; the middle says the mode. */
const KEY = /^(?:sk|rk)_(test|live)_\w+$/

/**
 * The request of a call, without the key. The idempotency key goes with POST only: Stripe takes it nowhere else,
 * because its GET and DELETE do no more when they are repeated.
 */
export function writeRequest(
  settings: StripeSettings,
  { method, path, params, account }: StripeCall,
  idempotencyKey: string,
): {
  readonly method: StripeCall['method']
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
  readonly body?: string
} {
  const form = encodeForm(params)
  const stripeAccount = settings.account ?? account
  const url = baseUrlOf(settings) + path
  const headers = {
    accept: 'application/json',
    'user-agent': 'orchestrator',
    'stripe-version': settings.api_version ?? DEFAULT_API_VERSION,
    ...(stripeAccount !== undefined && { 'stripe-account': stripeAccount }),
  }
  if (method !== 'POST') return { method, url: form === '' ? url : `${url}?${form}`, headers }
  return {
    method,
    url,
    headers: {
      ...headers,
      'content-type': 'application/x-www-form-urlencoded',
      'idempotency-key': idempotencyKey,
    },
    body: form,
  }
}

/**
 * The header that authenticates. Errors: `secret_unresolved` for a value that is no secret key of Stripe, or one of
 * the other mode: a test system must never move real money, and the reverse would lose sales in silence.
 */
export function authorization({ mode }: StripeSettings, key: Secret | undefined): string {
  const value = key?.reveal() ?? ''
  const ofMode = KEY.exec(value)?.[1]
  if (ofMode === undefined)
    throw new Problem(
      'secret_unresolved',
      'The value of the secret api_key is no secret key of Stripe: it starts with sk_ or rk_ and then test_ or live_.',
    )
  if (ofMode !== mode)
    throw new Problem(
      'secret_unresolved',
      `The secret api_key is a key of Stripe's ${ofMode} mode, but the connector is set to ${mode}.`,
    )
  return `Bearer ${value}`
}

/** Stripe's object. An unreadable answer to a success is final: the call had its effect. */
export function readObject(body: Buffer, httpStatus: number): Record<string, unknown> {
  let value: unknown
  try {
    value = parseJson(body)
  } catch (cause) {
    throw unreadable(httpStatus, cause)
  }
  if (!isObject(value)) throw unreadable(httpStatus)
  return value
}

const unreadable = (httpStatus: number, cause?: unknown): CallFailure =>
  new CallFailure({
    class: 'permanent',
    effect: 'done',
    kind: 'output_invalid',
    message: 'The upstream answered with success, but its body is not an object in JSON.',
    httpStatus,
    upstream: { http_status: httpStatus, body_excerpt: '' },
    cause,
  })
