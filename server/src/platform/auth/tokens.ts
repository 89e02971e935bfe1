/**
 * Tokens of the hub: JWT access tokens (RFC 9068) for exactly one audience, signed by that audience's keys.
 *
 * jose refuses `alg: none`, HS256 with a public key and unknown `crit` by itself, but accepts a token without
 * `exp`, `aud` or `typ` unless told otherwise (measured). So every option is set here and in no other place.
 */
import { hash } from 'node:crypto'
import { errors, type JWTPayload, jwtVerify, SignJWT } from 'jose'
import { Problem } from '../../problems.ts'
import type { Clock } from '../clock.ts'
import { newId } from '../ids.ts'
import type { Log } from '../log.ts'
import { SIGNING_ALGORITHM } from './key-set.ts'
import { CLOCK_SKEW_SECONDS, type Keys } from './keys.ts'
import type { Principal, VerifyToken } from './principal.ts'

/** What issuer and verifier of one audience agree on. */
export interface TokenRules {
  readonly issuer: string
  /** One string. A token for several audiences would be good where it was not meant to be. */
  readonly audience: string
  /** No token is issued for longer or accepted when older, whatever its `exp` says. */
  readonly maxAgeSeconds: number
}

export interface NewToken {
  readonly subject: string
  readonly tenantId: string
  readonly scopes: readonly string[]
  readonly roles?: readonly string[]
  readonly lifetimeSeconds: number
  /** The sign-on that the token ends with. */
  readonly sessionId?: string
  /** Who acts as the subject (RFC 8693 §4.1), and whether only to look. */
  readonly impersonator?: { readonly subject: string; readonly readOnly: boolean }
  /** Base64url SHA-256 of the client certificate that the caller must show (RFC 8705 §3.1). */
  readonly certificateSha256?: string
}

export interface IssuedToken {
  readonly token: string
  readonly tokenId: string
  readonly expiresAt: Date
}

/** RFC 9068 §2.1: keeps other kinds of JWT, e.g. ID tokens, from being taken for access tokens. */
const TYPE = 'at+jwt'

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const NAME = /^[\x21-\x7e]{1,200}$/
const isName = (value: unknown): value is string => typeof value === 'string' && NAME.test(value)

/**
 * Signs a token. Errors (RangeError): a lifetime that is not 1 to `maxAgeSeconds` whole seconds, or a claim that
 * our own verifier would refuse.
 */
export async function issueToken(
  deps: { readonly keys: Keys; readonly rules: TokenRules; readonly clock: Clock },
  token: NewToken,
): Promise<IssuedToken> {
  const { subject, tenantId, scopes, roles = [], lifetimeSeconds } = token
  const { issuer, audience, maxAgeSeconds } = deps.rules
  if (!Number.isInteger(lifetimeSeconds) || lifetimeSeconds < 1 || lifetimeSeconds > maxAgeSeconds)
    throw new RangeError(`a token must live 1 to ${maxAgeSeconds} seconds, not ${lifetimeSeconds}`)
  if (!isName(subject) || !UUID.test(tenantId) || ![...scopes, ...roles].every(isName))
    throw new RangeError('subject, scopes and roles of a token must be visible ASCII, its tenant a UUID')
  const issuedAt = Math.floor(deps.clock.now() / 1_000)
  const tokenId = newId()
  const { kid, key } = deps.keys.signer()
  const signed = await new SignJWT({ tid: tenantId, scopes, ...furtherClaims(token) })
    .setProtectedHeader({ alg: SIGNING_ALGORITHM, typ: TYPE, kid })
    .setIssuer(issuer)
    .setAudience(audience)
    .setSubject(subject)
    .setJti(tokenId)
    .setIssuedAt(issuedAt)
    .setExpirationTime(issuedAt + lifetimeSeconds)
    .sign(key)
  return { token: signed, tokenId, expiresAt: new Date((issuedAt + lifetimeSeconds) * 1_000) }
}

/** Claims that most tokens do not have. */
const furtherClaims = ({ roles = [], sessionId, impersonator, certificateSha256 }: NewToken): JWTPayload => ({
  ...(roles.length > 0 && { roles }),
  ...(sessionId !== undefined && { sid: sessionId }),
  ...(impersonator && { act: { sub: impersonator.subject }, read_only: impersonator.readOnly }),
  ...(certificateSha256 !== undefined && { cnf: { 'x5t#S256': certificateSha256 } }),
})

/** The answer to every missing or unacceptable token: the same for every cause, so that it teaches nothing. */
export const tokenRefused = (): Problem =>
  new Problem('auth_required', 'The bearer token is missing or not valid.')

/** The token of an `Authorization: Bearer` header (RFC 6750 §2.1). Errors: `auth_required`. */
export function bearerToken(authorization: string | undefined): string {
  const token = /^bearer +([^\s]+)$/i.exec(authorization ?? '')?.[1]
  if (token === undefined) throw tokenRefused()
  return token
}

/** Far above our own tokens (about 500 bytes) and far below what would be costly to look at. */
const MAX_TOKEN_LENGTH = 8_192
const COMPACT_JWS = /^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$/
const HEADER_MEMBERS = new Set(['alg', 'typ', 'kid'])
/** Why a token is refused, for the debug log; never shown to the caller. */
class Refusal extends Error {}

function nameSet(value: unknown, claim: string): ReadonlySet<string> {
  if (!Array.isArray(value) || value.length > 100 || !value.every(isName))
    throw new Refusal(`the claim ${claim} is not a list of names`)
  return new Set(value)
}

/** The claims that jose does not check: the shape of ours, and that the audience is one string. */
function principalOf(claims: JWTPayload, maxAgeSeconds: number): Principal {
  const { sub, tid, scopes, roles, jti, aud, exp, iat } = claims
  if (typeof aud !== 'string') throw new Refusal('the claim aud is not one string')
  if (!isName(sub) || !isName(jti)) throw new Refusal('the claim sub or jti is not a name')
  if (typeof tid !== 'string' || !UUID.test(tid)) throw new Refusal('the claim tid is not a UUID')
  if (!Number.isSafeInteger(exp) || !Number.isSafeInteger(iat))
    throw new Refusal('exp or iat is not an integer')
  if (Number(exp) - Number(iat) > maxAgeSeconds) throw new Refusal('the token lives too long')
  return {
    subject: sub,
    tenantId: tid,
    scopes: nameSet(scopes, 'scopes'),
    roles: nameSet(roles ?? [], 'roles'),
    tokenId: jti,
    issuedAt: Number(iat) * 1_000,
    expiresAt: Number(exp) * 1_000,
    ...furtherFacts(claims),
  }
}

const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/

/** A claim that limits its token must be understood or refused, never overlooked. */
function furtherFacts({ sid, act, read_only, cnf }: JWTPayload): Partial<Principal> {
  if (sid !== undefined && !isName(sid)) throw new Refusal('the claim sid is not a name')
  return {
    ...(sid !== undefined && { sessionId: sid }),
    ...(act !== undefined && { impersonator: actorOf(act), readOnly: read_only !== false }),
    ...(cnf !== undefined && { certificateSha256: thumbprintOf(cnf) }),
  }
}

/** Only one actor: an `act` inside of an `act` would be an impersonation begun during another one. */
function actorOf(act: unknown): string {
  const { sub, ...others } = (act ?? {}) as { sub?: unknown }
  if (!isName(sub) || Object.keys(others).length > 0) throw new Refusal('the claim act is not one actor')
  return sub
}

function thumbprintOf(cnf: unknown): string {
  const { 'x5t#S256': thumbprint, ...others } = (cnf ?? {}) as { 'x5t#S256'?: unknown }
  if (typeof thumbprint !== 'string' || !THUMBPRINT.test(thumbprint) || Object.keys(others).length > 0)
    throw new Refusal('the claim cnf is not the thumbprint of a certificate')
  return thumbprint
}

export interface VerifierOptions {
  readonly keys: Keys
  readonly rules: TokenRules
  readonly clock: Clock
  readonly log: Log
  /** How many verified tokens are remembered; a signature check costs more than a look-up. */
  readonly cacheSize?: number
}

const CACHE_SIZE = 5_000

/** The one way from a token to a principal on one plane. */
export function createVerifier({
  keys,
  rules,
  clock,
  log,
  cacheSize = CACHE_SIZE,
}: VerifierOptions): VerifyToken {
  const verified = new Map<string, { readonly principal: Principal; readonly kid: string }>()
  const forget = (digest: string): boolean => verified.delete(digest)

  const verify = async (token: string): Promise<{ principal: Principal; kid: string }> => {
    if (token.length > MAX_TOKEN_LENGTH || !COMPACT_JWS.test(token)) throw new Refusal('not a compact JWS')
    const { payload, protectedHeader } = await jwtVerify(
      token,
      async (header) => {
        const stranger = Object.keys(header).find((member) => !HEADER_MEMBERS.has(member))
        if (stranger !== undefined) throw new Refusal('the header has a member that our tokens do not have')
        const key = typeof header.kid === 'string' ? await keys.publicKey(header.kid) : undefined
        if (!key) throw new Refusal('no key has this kid')
        return key
      },
      {
        algorithms: [SIGNING_ALGORITHM],
        typ: TYPE,
        issuer: rules.issuer,
        audience: rules.audience,
        requiredClaims: ['iss', 'sub', 'aud', 'tid', 'scopes', 'iat', 'exp', 'jti'],
        maxTokenAge: rules.maxAgeSeconds,
        clockTolerance: CLOCK_SKEW_SECONDS,
        currentDate: new Date(clock.now()),
      },
    )
    return { principal: principalOf(payload, rules.maxAgeSeconds), kid: String(protectedHeader.kid) }
  }

  return async (token) => {
    // The token itself is not kept: a dump of this process's memory must not hand out live tokens by the thousand.
    const digest = hash('sha256', token)
    const known = verified.get(digest)
    if (
      known &&
      clock.now() < known.principal.expiresAt + CLOCK_SKEW_SECONDS * 1_000 &&
      keys.accepts(known.kid)
    )
      return known.principal
    forget(digest)
    try {
      const fresh = await verify(token)
      const oldest = verified.size >= cacheSize ? verified.keys().next().value : undefined
      if (oldest !== undefined) forget(oldest)
      verified.set(digest, fresh)
      return fresh.principal
    } catch (error) {
      if (!(error instanceof Refusal || error instanceof errors.JOSEError)) throw error
      // Only the sentence: jose's errors carry the claims.
      log.debug({ why: error.message, audience: rules.audience }, 'a token was refused')
      throw tokenRefused()
    }
  }
}
