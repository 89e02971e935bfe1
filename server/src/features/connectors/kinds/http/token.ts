import { DialFailure } from '../../../../platform/dial/dial-failure.ts'
import type { DialResponse } from '../../../../platform/dial/dial-request.ts'
import { isHeaderValue } from '../../../../platform/dial/request-headers.ts'
import { parseJson } from '../../../../platform/http/json-body.ts'
import { CallFailure, excerptOf } from '../../../../resilience/failure.ts'
import { parseRetryAfter } from '../../../../resilience/retry-after.ts'
import type { HealthContext } from '../../define-connector.ts'
import { scrubbing } from '../../scrub.ts'
import { basic, hiddenIn } from './auth.ts'
import type { OauthSettings } from './auth-settings.ts'

/** Where the server does not say how long a token lasts (RFC 6749 §5.1 only recommends that it does). */
const UNKNOWN_LIFETIME_MS = 5 * 60_000
const MAX_TOKEN_BYTES = 64 * 1024

export interface NewToken {
  readonly token: string
  readonly lifetimeMs: number
}

/** RFC 6749 §4.4.2, with the client's secret in it. */
function tokenRequest(settings: OauthSettings, secret: string) {
  const { client_id: clientId, scope, audience } = settings
  const inBody = settings.client_auth === 'post'
  const body = new URLSearchParams({
    grant_type: 'client_credentials',
    ...(scope !== undefined && { scope }),
    ...(audience !== undefined && { audience }),
    ...(inBody && { client_id: clientId, client_secret: secret }),
  })
  // RFC 6749 §2.3.1: both are form-encoded before they go into the Basic header.
  const credential = inBody ? undefined : basic(formEncoded(clientId), formEncoded(secret))
  return {
    method: 'POST',
    url: settings.token_url,
    headers: {
      accept: 'application/json',
      'content-type': 'application/x-www-form-urlencoded',
      'user-agent': 'orchestrator',
      ...(credential && { [credential.name]: credential.value }),
    },
    body: body.toString(),
    credential,
  } as const
}

const formEncoded = (text: string): string => new URLSearchParams({ '': text }).toString().slice(1)

/**
 * One request for a token. Throws `CallFailure`: never_sent, because the call that needs the token was not even
 * tried, or permanent when the server refuses the client.
 */
export async function requestToken(
  settings: OauthSettings,
  context: HealthContext,
  secret: string,
): Promise<NewToken> {
  const { credential, ...request } = tokenRequest(settings, secret)
  let response: DialResponse
  try {
    response = await scrubbing(context.dial, hiddenIn(credential ? [credential] : [])).request({
      ...request,
      signal: context.signal,
      connectTimeoutMs: context.connectTimeoutMs,
      maxResponseBytes: MAX_TOKEN_BYTES,
    })
  } catch (error) {
    throw error instanceof DialFailure ? failureOfTokenDial(error) : error
  }
  if (response.status !== 200) throw refusedToken(response, context.clock.now())
  return tokenOf(response)
}

/** The call itself was not even tried, whatever became of the request for its token. */
function failureOfTokenDial(failure: DialFailure): CallFailure {
  return new CallFailure({
    class: failure.class === 'address_forbidden' ? 'permanent' : 'never_sent',
    effect: 'not_sent',
    kind: failure.class,
    message: `No access token for the call: ${failure.message}`,
    cause: failure,
  })
}

/** The codes of RFC 6749 §5.2; anything else that stands there is not repeated in a message. */
const ERRORS = new Set([
  'invalid_request',
  'invalid_client',
  'invalid_grant',
  'unauthorized_client',
  'unsupported_grant_type',
  'invalid_scope',
])

function refusedToken(response: DialResponse, now: number): CallFailure {
  const { status, headers, body } = response
  const passing = status === 429 || status === 408 || status >= 500
  const retryAfterMs = parseRetryAfter(headers['retry-after'], now)
  const error = errorOf(body)
  const said = ERRORS.has(error) ? ` (${error})` : ''
  return new CallFailure({
    class: passing ? 'never_sent' : 'permanent',
    effect: 'not_sent',
    kind: passing ? 'oauth_unavailable' : 'oauth_refused',
    message: `No access token for the call: the token endpoint answered with HTTP ${status}${said}.`,
    // No `httpStatus`: that is the answer to the call, and there is none.
    ...(retryAfterMs !== undefined && { retryAfterMs }),
    upstream: { http_status: status, body_excerpt: excerptOf(body) },
  })
}

function errorOf(body: Buffer): string {
  try {
    const { error } = parseJson(body) as { error?: unknown }
    return typeof error === 'string' ? error : ''
  } catch {
    return ''
  }
}

function tokenOf({ status, body }: DialResponse): NewToken {
  const unusable = (what: string, cause?: unknown) =>
    new CallFailure({
      class: 'permanent',
      effect: 'not_sent',
      kind: 'oauth_invalid_answer',
      message: `No access token for the call: the answer of the token endpoint ${what}.`,
      // The answer may be a token in an unexpected form, so nothing of it is shown.
      upstream: { http_status: status, body_excerpt: '' },
      cause,
    })
  let answer: unknown
  try {
    answer = parseJson(body)
  } catch (cause) {
    throw unusable('is not acceptable JSON', cause)
  }
  if (typeof answer !== 'object' || answer === null) throw unusable('is no JSON object')
  const { access_token: token, token_type: type, expires_in: seconds } = answer as Record<string, unknown>
  if (typeof token !== 'string' || token === '' || !isHeaderValue(token))
    throw unusable('has no usable access_token')
  if (typeof type !== 'string' || type.toLowerCase() !== 'bearer')
    throw unusable('has a token_type other than Bearer')
  // Some servers write the number as text.
  const lifetime = Number(seconds ?? Number.NaN) * 1_000
  return { token, lifetimeMs: Number.isFinite(lifetime) ? lifetime : UNKNOWN_LIFETIME_MS }
}
