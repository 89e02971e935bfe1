/**
 * Tokens of the hub: JWT access tokens (RFC 9068) for exactly one audience, signed by that audience's keys.
 *
 * jose refuses `alg: none`, HS256 with a public key and unknown `crit` by itself, but accepts a token without
 * `exp`, `aud` or `typ` unless told otherwise (measured). So every option is set here and in no other place.
 */
import { decodeJwt, type JWTPayload, jwtVerify, SignJWT } from 'jose'
import type { Clock } from '../clock.ts'
import { newId } from '../ids.ts'
import type { Log } from '../log.ts'
import { SIGNING_ALGORITHM } from './key-set.ts'
import { CLOCK_SKEW_SECONDS, type Keys } from './keys.ts'
import type { VerifyToken } from './principal.ts'
import { isName, keyIdOf, principalOf, Refusal, TYPE, UUID } from './token-claims.ts'
import { type CheckToken, rememberVerified, tokenRefused } from './verified-tokens.ts'

export { tokenRefused } from './verified-tokens.ts'

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

/** The token of an `Authorization: Bearer` header (RFC 6750 §2.1). Errors: `auth_required`. */
export function bearerToken(authorization: string | undefined): string {
  const token = /^bearer +([^\s]+)$/i.exec(authorization ?? '')?.[1]
  if (token === undefined) throw tokenRefused()
  return token
}

export interface VerifierOptions {
  readonly keys: Keys
  readonly rules: TokenRules
  readonly clock: Clock
  readonly log: Log
  /** How many verified tokens are remembered; a signature check costs more than a look-up. */
  readonly cacheSize?: number
}

/** Verifies the hub's own tokens of one plane. */
export const checkOwnToken =
  ({ keys, rules, clock }: Pick<VerifierOptions, 'keys' | 'rules' | 'clock'>): CheckToken =>
  async (token) => {
    let kid = ''
    const { payload } = await jwtVerify(
      token,
      async (header) => {
        kid = keyIdOf(header)
        const key = await keys.publicKey(kid)
        if (!key) throw new Refusal('no key has this kid')
        return key
      },
      { ...verifyOptions(rules, clock), algorithms: [SIGNING_ALGORITHM] },
    )
    return { principal: principalOf(payload, rules.maxAgeSeconds), holds: () => keys.accepts(kid) }
  }

/** Sends each token to whoever knows its issuer. The hub's own is never anybody else's. Errors: jose's, for what is no JWT. */
export const checkByIssuer =
  (ownIssuer: string, own: CheckToken, foreign: CheckToken): CheckToken =>
  async (token) =>
    claimedIssuer(token) === ownIssuer ? own(token) : foreign(token)

/** Nothing is verified yet. */
const claimedIssuer = (token: string): unknown => decodeJwt(token).iss

/** What jose checks in a token of any issuer. */
export const verifyOptions = (rules: TokenRules, clock: Clock) => ({
  typ: TYPE,
  issuer: rules.issuer,
  audience: rules.audience,
  requiredClaims: ['iss', 'sub', 'aud', 'tid', 'iat', 'exp', 'jti'],
  maxTokenAge: rules.maxAgeSeconds,
  clockTolerance: CLOCK_SKEW_SECONDS,
  currentDate: new Date(clock.now()),
})

/** The way from one of the hub's own tokens to a principal on one plane. */
export const createVerifier = (options: VerifierOptions): VerifyToken =>
  rememberVerified({ ...options, check: checkOwnToken(options) })
