/**
 * The claims of an access token, checked further than jose does. Whatever is not understood is refused, because a
 * claim that is overlooked may have been a limit.
 */
import type { JWTHeaderParameters, JWTPayload } from 'jose'
import { timeOfId } from '../ids.ts'
import type { Principal } from './principal.ts'

/** RFC 9068 §2.1: keeps other kinds of JWT, e.g. ID tokens, from being taken for access tokens. */
export const TYPE = 'at+jwt'

export const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/
const NAME = /^[\x21-\x7e]{1,200}$/
export const isName = (value: unknown): value is string => typeof value === 'string' && NAME.test(value)

/** Why a token is refused, for the debug log; never shown to the caller. */
export class Refusal extends Error {}

const HEADER_MEMBERS = new Set(['alg', 'typ', 'kid'])

/** The key id of a header. Errors (Refusal): none, or a member that no token of ours has, e.g. a key or where to get one. */
export function keyIdOf(header: Pick<JWTHeaderParameters, 'kid'>): string {
  const stranger = Object.keys(header).find((member) => !HEADER_MEMBERS.has(member))
  if (stranger !== undefined) throw new Refusal('the header has a member that our tokens do not have')
  if (typeof header.kid !== 'string') throw new Refusal('no key has this kid')
  return header.kid
}

export function nameSet(value: unknown, claim: string): ReadonlySet<string> {
  if (!Array.isArray(value) || value.length > 100 || !value.every(isName))
    throw new Refusal(`the claim ${claim} is not a list of names`)
  return new Set(value)
}

/** What tokens of every issuer say, and how. Errors (Refusal): a claim of another shape, an audience that is not one string. */
export function factsOf(
  claims: JWTPayload,
  maxAgeSeconds: number,
): Pick<Principal, 'subject' | 'tenantId' | 'tokenId' | 'issuedAt' | 'expiresAt'> {
  const { sub, tid, jti, aud, exp, iat } = claims
  if (typeof aud !== 'string') throw new Refusal('the claim aud is not one string')
  if (!isName(sub) || !isName(jti)) throw new Refusal('the claim sub or jti is not a name')
  if (typeof tid !== 'string' || !UUID.test(tid)) throw new Refusal('the claim tid is not a UUID')
  if (!Number.isSafeInteger(exp) || !Number.isSafeInteger(iat))
    throw new Refusal('exp or iat is not an integer')
  if (Number(exp) - Number(iat) > maxAgeSeconds) throw new Refusal('the token lives too long')
  return {
    subject: sub,
    tenantId: tid,
    tokenId: jti,
    issuedAt: Number(iat) * 1_000,
    expiresAt: Number(exp) * 1_000,
  }
}

/** The principal of a token that the hub has issued. Errors (Refusal). */
export function principalOf(claims: JWTPayload, maxAgeSeconds: number): Principal {
  const facts = factsOf(claims, maxAgeSeconds)
  return {
    ...facts,
    issuedAt: issuedAtOf(facts),
    scopes: nameSet(claims.scopes, 'scopes'),
    roles: nameSet(claims.roles ?? [], 'roles'),
    ...furtherFacts(claims),
  }
}

/** `iat` counts whole seconds; the id of a token of ours says the millisecond, which decides what a cut-off ends. */
function issuedAtOf({ issuedAt, tokenId }: { issuedAt: number; tokenId: string }): number {
  const exact = timeOfId(tokenId)
  return exact !== undefined && Math.floor(exact / 1_000) * 1_000 === issuedAt ? exact : issuedAt
}

const THUMBPRINT = /^[A-Za-z0-9_-]{43}$/

function furtherFacts({ sid, act, read_only, cnf }: JWTPayload): Partial<Principal> {
  if (sid !== undefined && !isName(sid)) throw new Refusal('the claim sid is not a name')
  if (read_only !== undefined && (act === undefined || typeof read_only !== 'boolean'))
    throw new Refusal('the claim read_only is not a yes or no beside act')
  return {
    ...(sid !== undefined && { sessionId: sid }),
    ...(act !== undefined && { impersonator: actorOf(act), readOnly: read_only !== false }),
    ...(cnf !== undefined && { certificateSha256: thumbprintOf(cnf) }),
  }
}

/** Only one actor: an `act` inside of an `act` would be an impersonation begun during another one. */
function actorOf(act: unknown): string {
  const { sub, ...others } = membersOf(act)
  if (!isName(sub) || Object.keys(others).length > 0) throw new Refusal('the claim act is not one actor')
  return sub
}

/** The client certificate of a `cnf` claim (RFC 8705 §3.1); any other kind of proof is refused. */
export function thumbprintOf(cnf: unknown): string {
  const { 'x5t#S256': thumbprint, ...others } = membersOf(cnf)
  if (typeof thumbprint !== 'string' || !THUMBPRINT.test(thumbprint) || Object.keys(others).length > 0)
    throw new Refusal('the claim cnf is not the thumbprint of a certificate')
  return thumbprint
}

const membersOf = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? { ...value } : {}
