/** Tokens that were verified a moment ago need no second look at their signature: that costs more than all the rest. */
import { hash } from 'node:crypto'
import { errors } from 'jose'
import { Problem } from '../../problems.ts'
import type { Clock } from '../clock.ts'
import type { Log } from '../log.ts'
import { CLOCK_SKEW_SECONDS } from './keys.ts'
import type { Principal, VerifyToken } from './principal.ts'
import { Refusal } from './token-claims.ts'

export interface VerifiedToken {
  readonly principal: Principal
  /** False once the key or the issuer is not trusted any more: then it is verified anew. */
  holds(): boolean
}

/** Verifies a token from its first byte. Errors: Refusal, or jose's. */
export type CheckToken = (token: string) => Promise<VerifiedToken>

/** The answer to every missing or unacceptable token: the same for every cause, so that it teaches nothing. */
export const tokenRefused = (): Problem =>
  new Problem('auth_required', 'The bearer token is missing or not valid.')

/** Far above our own tokens (about 500 bytes) and far below what would be costly to look at. */
const MAX_TOKEN_LENGTH = 8_192
const COMPACT_JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/
const CACHE_SIZE = 5_000

/** Remembers the last `cacheSize` verified tokens, and answers every refusal in the same words. */
export function rememberVerified({
  check,
  clock,
  log,
  cacheSize = CACHE_SIZE,
}: {
  readonly check: CheckToken
  readonly clock: Clock
  readonly log: Log
  readonly cacheSize?: number | undefined
}): VerifyToken {
  const verified = new Map<string, VerifiedToken>()
  const living = ({ principal, holds }: VerifiedToken): boolean =>
    clock.now() < principal.expiresAt + CLOCK_SKEW_SECONDS * 1_000 && holds()

  return async (token) => {
    // The token itself is not kept: a dump of this process's memory must not hand out live tokens by the thousand.
    const digest = hash('sha256', token)
    const known = verified.get(digest)
    if (known && living(known)) return known.principal
    verified.delete(digest)
    try {
      if (token.length > MAX_TOKEN_LENGTH || !COMPACT_JWS.test(token)) throw new Refusal('not a compact JWS')
      const fresh = await check(token)
      const oldest = verified.size >= cacheSize ? verified.keys().next().value : undefined
      if (oldest !== undefined) verified.delete(oldest)
      verified.set(digest, fresh)
      return fresh.principal
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof errors.JOSEError)) throw error
      // Only the sentence: jose's errors carry the claims.
      log.debug({ why: error.message }, 'a token was refused')
      throw tokenRefused()
    }
  }
}
