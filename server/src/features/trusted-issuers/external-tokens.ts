import { decodeJwt, type JWTPayload, jwtVerify } from 'jose'
import type { Principal } from '../../platform/auth/principal.ts'
import { FOREIGN_ALGORITHMS, type PublicKey } from '../../platform/auth/public-jwks.ts'
import type { RemoteKeys } from '../../platform/auth/remote-keys.ts'
import { factsOf, isName, keyIdOf, nameSet, Refusal, thumbprintOf } from '../../platform/auth/token-claims.ts'
import { type TokenRules, verifyOptions } from '../../platform/auth/tokens.ts'
import type { CheckToken } from '../../platform/auth/verified-tokens.ts'
import type { Clock } from '../../platform/clock.ts'
import { type IssuerDirectory, sessionOf } from './issuer-directory.ts'
import type { TrustedIssuerRow } from './trusted-issuers.sql.ts'

const MAX_SUBJECT_LENGTH = 120

/**
 * Verifies tokens of trusted issuers, as strictly as the hub's own. Nothing of the token is believed before its
 * signature but where to look: the workspace that it names must trust the issuer that it names.
 */
export const checkExternalToken =
  ({
    issuers,
    keys,
    rules,
    clock,
  }: {
    readonly issuers: Pick<IssuerDirectory, 'find' | 'known'>
    readonly keys: RemoteKeys
    /** Of the plane; the issuer of a token is put in its place. */
    readonly rules: TokenRules
    readonly clock: Clock
  }): CheckToken =>
  async (token) => {
    const { iss, tid } = decodeJwt(token)
    await issuers.known()
    const trusted = typeof tid === 'string' && typeof iss === 'string' ? issuers.find(tid, iss) : undefined
    if (!trusted) throw new Refusal('the workspace of the token does not trust its issuer')
    let used: PublicKey | undefined
    const { payload } = await jwtVerify(
      token,
      async (header) => {
        used = await keys.find(trusted.jwks_url, keyIdOf(header))
        // Each key has one algorithm, so that a token cannot choose another for it.
        if (used === undefined || used.algorithm !== header.alg) throw new Refusal('no key has this kid')
        return used.key
      },
      {
        ...verifyOptions({ ...rules, issuer: trusted.issuer }, clock),
        algorithms: [...FOREIGN_ALGORITHMS],
      },
    )
    const key = used
    return {
      principal: principalOf(payload, trusted, rules.maxAgeSeconds),
      holds: () =>
        issuers.find(trusted.tenant_id, trusted.issuer) === trusted &&
        key !== undefined &&
        keys.accepts(trusted.jwks_url, key),
    }
  }

function principalOf(claims: JWTPayload, trusted: TrustedIssuerRow, maxAgeSeconds: number): Principal {
  const facts = factsOf(claims, maxAgeSeconds)
  const { act, read_only, cnf, sub } = claims
  // Impersonation is the hub's own business, and a limit that is not understood must not be overlooked.
  if (act !== undefined || read_only !== undefined) throw new Refusal('a foreign token impersonates')
  if (facts.tenantId !== trusted.tenant_id) throw new Refusal('the claim tid is of another workspace')
  if (!isName(sub) || sub.length > MAX_SUBJECT_LENGTH) throw new Refusal('the claim sub is too long')
  if (trusted.subjects && !trusted.subjects.includes(sub))
    throw new Refusal('the issuer is not trusted for this subject')
  const asked = scopesOf(claims)
  return {
    ...facts,
    subject: `ext:${trusted.name}:${sub}`,
    scopes: new Set(trusted.scopes.filter((scope) => asked.has(scope))),
    // Roles are given in the hub, to people of the hub.
    roles: new Set(),
    sessionId: sessionOf(trusted),
    ...(cnf !== undefined && { certificateSha256: thumbprintOf(cnf) }),
  }
}

/** `scope` as in RFC 9068 §2.2.3 or `scopes` as in the hub's own tokens, not both. */
function scopesOf({ scope, scopes }: JWTPayload): ReadonlySet<string> {
  if ((scope === undefined) === (scopes === undefined))
    throw new Refusal('exactly one of the claims scope and scopes is needed')
  if (scopes !== undefined) return nameSet(scopes, 'scopes')
  if (typeof scope !== 'string') throw new Refusal('the claim scope is not text')
  return nameSet(scope.split(' '), 'scope')
}
