import type { Secret } from '../../platform/secret.ts'
import type { IdentityRow } from './identities.sql.ts'

export interface Identity {
  /** Also the client id. */
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly createdAt: Date
  /** Subject of whoever made it; null = it is older than this is kept. */
  readonly createdBy: string | null
  /** To the minute; null = never. */
  readonly lastUsedAt: Date | null
  /** Until then the secret before the present one is accepted too; null = only the present one is. */
  readonly previousSecretUntil: Date | null
  readonly revokedAt: Date | null
  /** From then on it gets no tokens, and none of its tokens lives longer. */
  readonly expiresAt: Date | null
  readonly expired: boolean
  /** Its tokens are good only with the client certificate that asked for them. */
  readonly certificateBound: boolean
  /** The one certificate that may ask; null = any that the listener trusts. */
  readonly certificateSha256: string | null
}

/** An identity and its secret, which nobody will ever see again. */
export interface IdentityWithSecret {
  readonly identity: Identity
  readonly clientSecret: Secret
}

export const toIdentity = (row: IdentityRow): Identity => ({
  id: row.id,
  name: row.name,
  scopes: row.scopes,
  createdAt: row.created_at,
  createdBy: row.created_by,
  lastUsedAt: row.last_used_at,
  previousSecretUntil: row.previous_secret_until,
  revokedAt: row.revoked_at,
  expiresAt: row.expires_at,
  expired: row.expired,
  certificateBound: row.certificate_bound,
  certificateSha256: row.certificate_sha256,
})
