import type { Secret } from '../../../../platform/secret.ts'
import { Problem } from '../../../../problems.ts'
import { CallFailure } from '../../../../resilience/failure.ts'
import type { HealthContext } from '../../define-connector.ts'
import type { OauthSettings } from './auth-settings.ts'
import { requestToken } from './token.ts'

/** The token is renewed this long before it ends, so that none ends on its way. */
const RENEW_BEFORE_MS = 60_000
/** A token request that nobody's limit has ended by then is given up, so that not everybody joins one that hangs. */
const TOKEN_LIMIT_MS = 10_000

export interface AccessToken {
  readonly value: string
  /** Fetched for this call and not found in memory: refused, it would be refused again. */
  readonly fresh: boolean
}

export interface TokenSource {
  /** The token of now. Throws `CallFailure` (class never_sent or permanent) or Problem `secret_unresolved`. */
  get(context: HealthContext): Promise<AccessToken>
  /** The upstream refuses this token: it is not given again. */
  drop(token: string): void
}

interface Kept {
  readonly token: string
  readonly secret: string
  /** `clock.monotonic()`. */
  readonly until: number
}

interface Flight {
  readonly secret: string
  readonly answer: Promise<string>
  readonly controller: AbortController
  waiting: number
}

/**
 * Tokens by client credentials (RFC 6749 §4.4), in memory only. Calls that need one at the same time share one
 * request for it; it ends when nobody waits for it any more.
 */
export function createTokenSource(settings: OauthSettings): TokenSource {
  let kept: Kept | undefined
  let flight: Flight | undefined

  const takeOff = (context: HealthContext, secret: string): Flight => {
    const controller = new AbortController()
    const stopTimer = context.clock.after(TOKEN_LIMIT_MS, () =>
      controller.abort(new DOMException('The time limit is over.', 'TimeoutError')),
    )
    const answer = requestToken(settings, { ...context, signal: controller.signal }, secret)
      .then(({ token, lifetimeMs }) => {
        const until = context.clock.monotonic() + lifetimeMs - RENEW_BEFORE_MS
        kept = { token, secret, until }
        return token
      })
      .finally(() => {
        stopTimer()
        if (flight === started) flight = undefined
      })
    // Whoever waits hears of it; without anybody it is nobody's failure.
    answer.catch(() => undefined)
    const started: Flight = { secret, answer, controller, waiting: 0 }
    return started
  }

  return {
    get: async (context) => {
      const secret = usableSecret(context.secrets.client_secret)
      // A rotated secret may belong to another client with other rights: its token is another one.
      if (kept?.secret === secret && context.clock.monotonic() < kept.until)
        return { value: kept.token, fresh: false }
      if (flight?.secret !== secret) flight = takeOff(context, secret)
      const joined = flight
      joined.waiting += 1
      try {
        return { value: await untilAborted(joined.answer, context.signal), fresh: true }
      } finally {
        joined.waiting -= 1
        if (joined.waiting === 0) {
          if (flight === joined) flight = undefined
          joined.controller.abort(new Error('nobody waits for the token'))
        }
      }
    },
    drop: (token) => {
      if (kept?.token === token) kept = undefined
    },
  }
}

function usableSecret(secret: Secret | undefined): string {
  const value = secret?.reveal() ?? ''
  if (value === '') throw new Problem('secret_unresolved', 'The value of the secret client_secret is empty.')
  return value
}

/** The answer, or what the signal says: who stops waiting does not stop the others. */
function untilAborted<T>(answer: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const onAbort = () => reject(gaveUpWaiting(signal.reason))
    if (signal.aborted) return onAbort()
    signal.addEventListener('abort', onAbort, { once: true })
    const done = () => signal.removeEventListener('abort', onAbort)
    answer.then(
      (value) => {
        done()
        resolve(value)
      },
      (error: unknown) => {
        done()
        reject(error)
      },
    )
  })
}

function gaveUpWaiting(reason: unknown): CallFailure {
  const late = reason instanceof Error && reason.name === 'TimeoutError'
  return new CallFailure({
    class: 'never_sent',
    kind: late ? 'timeout' : 'aborted',
    message: late ? 'There was no access token for the call in time.' : 'The call was given up.',
    cause: reason,
  })
}
