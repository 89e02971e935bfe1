/**
 * The door of the identities feature. A service identity is a machine of one workspace that gets tokens by
 * OAuth 2 client credentials: its id is the client id.
 *
 * States: active → revoked, for ever; one with an end expires by itself, and lives again when the end is moved.
 * Invariants. A revoked identity's tokens end with it, and a change that takes something away ends the living ones,
 * which are bound to the identity (not to its name) and to its token epoch. A client secret is shown once, when it is made; only its
 * SHA-256 is stored. At most two secrets are accepted at a time: the present one, and the one before it until
 * the overlap ends. Every change commits with its audit entry.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import { requireRoom } from '../workspaces/workspaces.ts'
import * as sql from './identities.sql.ts'
import type { Scope } from './scopes.ts'

export { AUDIENCES, PLANE_SCOPES, type Plane, SCOPES, type Scope } from './scopes.ts'

export interface Identity {
  /** Also the client id. */
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly createdAt: Date
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

interface Target {
  readonly tenantId: string
  readonly id: string
}

const toIdentity = (row: sql.IdentityRow): Identity => ({
  id: row.id,
  name: row.name,
  scopes: row.scopes,
  createdAt: row.created_at,
  lastUsedAt: row.last_used_at,
  previousSecretUntil: row.previous_secret_until,
  revokedAt: row.revoked_at,
  expiresAt: row.expires_at,
  expired: row.expired,
  certificateBound: row.certificate_bound,
  certificateSha256: row.certificate_sha256,
})

/** 256 random bits: nothing to guess, so a plain hash of it is enough. */
const newSecret = (): Secret => new Secret(randomBytes(32).toString('base64url'))

const sha256 = (secret: Secret): Buffer => createHash('sha256').update(secret.reveal()).digest()

const absent = (): Problem => new Problem('not_found', 'There is no such service identity.')

export interface IdentitySettings {
  readonly scopes: readonly Scope[]
  readonly expiresAt: Date | null
  readonly certificateBound: boolean
  readonly certificateSha256: string | null
}

export type NewIdentity = Pick<IdentitySettings, 'scopes'> &
  Partial<IdentitySettings> & { readonly tenantId: string; readonly name: string }

/** Whoever names a certificate demands one. */
const certificateOf = (bound: boolean, sha256: string | null) => ({
  certificateBound: bound || sha256 !== null,
  certificateSha256: sha256,
})

/** Settings as the audit log shows them; only what is not as for most identities. */
const shown = ({ scopes, expiresAt, certificateBound, certificateSha256 }: sql.Settings) => ({
  scopes,
  ...(expiresAt && { expires_at: expiresAt.toISOString() }),
  ...(certificateBound && { certificate_bound: true }),
  ...(certificateSha256 !== null && { certificate_sha256: certificateSha256 }),
})

/** What the tokens of an identity end with. */
export const sessionOf = (identity: { readonly id: string; readonly token_epoch: number }): string =>
  `${identity.id}.${identity.token_epoch}`

/** Ends the living tokens; those that are issued from now on are others. */
async function endLivingTokens(tx: Tx, target: Target): Promise<void> {
  const { ended } = await sql.nextEpoch(tx, target)
  await endTokens(tx, {
    tenantId: target.tenantId,
    sessionId: sessionOf({ id: target.id, token_epoch: ended }),
  })
}

/** Creates an identity and its first secret. Errors: `conflict` when an active identity of the workspace has the name. */
export async function createIdentity(
  db: Db,
  {
    tenantId,
    name,
    scopes,
    expiresAt = null,
    certificateBound = false,
    certificateSha256 = null,
  }: NewIdentity,
  change: Change,
): Promise<IdentityWithSecret> {
  const clientSecret = newSecret()
  const unique = [...new Set(scopes)]
  const settings = { scopes: unique, expiresAt, ...certificateOf(certificateBound, certificateSha256) }
  try {
    return await db.transaction(async (tx) => {
      await requireRoom(tx, { tenantId, quota: 'service_identities' })
      const row = await sql.insertIdentity(tx, {
        tenantId,
        id: newId(),
        name,
        ...settings,
        secretSha256: sha256(clientSecret),
      })
      await recordAudit(tx, {
        ...change,
        tenantId,
        action: 'identity.created',
        object: `identity:${name}`,
        diff: [{ path: '', after: { id: row.id, name, ...shown(settings) } }],
      })
      return { identity: toIdentity(row), clientSecret }
    })
  } catch (error) {
    if (violatesUnique(error, 'service_identity_name_key'))
      throw new Problem('conflict', 'An active service identity has this name already.')
    throw error
  }
}

/** Ends an identity: no more tokens, and those it holds end on every process within 5 s. Errors: `not_found`, `conflict`. */
export async function revokeIdentity(db: Db, target: Target, change: Change): Promise<Identity> {
  return db.transaction(async (tx) => {
    const row = (await sql.revokeRow(tx, target)) ?? (await whyNot(tx, target))
    await endLivingTokens(tx, target)
    await recordAudit(tx, {
      ...change,
      tenantId: target.tenantId,
      action: 'identity.revoked',
      object: `identity:${row.name}`,
      diff: [{ path: '/revoked_at', before: null, after: row.revoked_at }],
    })
    return toIdentity(row)
  })
}

/**
 * Gives an identity a new secret. The present one is accepted for `overlapSeconds` more; 0 ends it at once, which
 * is right for one that leaked, and then `endsTokens` also ends the tokens that were got by it. Errors: `not_found`,
 * `conflict` for a revoked identity, `validation_error` for ended tokens of a secret that goes on.
 */
export async function rotateClientSecret(
  db: Db,
  {
    overlapSeconds,
    endsTokens = false,
    ...target
  }: Target & { readonly overlapSeconds: number; readonly endsTokens?: boolean },
  change: Change,
): Promise<IdentityWithSecret> {
  if (endsTokens && overlapSeconds > 0) throw overlapKeepsTokens()
  const clientSecret = newSecret()
  return db.transaction(async (tx) => {
    const replaced = await sql.replaceSecret(tx, {
      ...target,
      overlapSeconds,
      secretSha256: sha256(clientSecret),
    })
    const row = replaced ?? (await whyNot(tx, target))
    if (endsTokens) await endLivingTokens(tx, target)
    await recordAudit(tx, {
      ...change,
      tenantId: target.tenantId,
      action: 'identity.secret_rotated',
      object: `identity:${row.name}`,
      diff: [
        { path: '/previous_secret_until', after: row.previous_secret_until },
        ...(endsTokens ? [{ path: '/living_tokens', after: 'ended' }] : []),
      ],
    })
    return { identity: toIdentity(row), clientSecret }
  })
}

const overlapKeepsTokens = (): Problem =>
  new Problem(
    'validation_error',
    'end_tokens needs overlap_seconds 0: the present secret would get new ones.',
    {
      details: [{ path: '/body/end_tokens', message: 'needs overlap_seconds 0' }],
    },
  )

/** True when a token of before may do what one of afterwards may not. */
const takesAway = (before: sql.Settings, after: sql.Settings): boolean =>
  before.scopes.some((scope) => !after.scopes.includes(scope)) ||
  (after.certificateBound && !before.certificateBound) ||
  (after.certificateSha256 !== null && after.certificateSha256 !== before.certificateSha256) ||
  (after.expiresAt !== null && (before.expiresAt === null || after.expiresAt < before.expiresAt))

/**
 * Changes scopes, end or certificate of an identity. Living tokens stay as they are when it only gets more, and end
 * within 5 s when anything is taken away. Errors: `not_found`, `conflict` for a revoked identity.
 */
export async function changeIdentity(
  db: Db,
  target: Target,
  changes: Partial<IdentitySettings>,
  change: Change,
): Promise<Identity> {
  return db.transaction(async (tx) => {
    const row = await sql.lockIdentity(tx, target)
    if (!row) throw absent()
    const { scopes, expiresAt, certificateBound, certificateSha256 } = toIdentity(row)
    const before = { scopes, expiresAt, certificateBound, certificateSha256 }
    // Whoever says that no certificate is needed takes the pinned one away with it.
    const pinned = changes.certificateBound === false ? null : before.certificateSha256
    const after = {
      scopes: [...new Set(changes.scopes ?? before.scopes)],
      expiresAt: changes.expiresAt === undefined ? before.expiresAt : changes.expiresAt,
      ...certificateOf(
        changes.certificateBound ?? before.certificateBound,
        changes.certificateSha256 === undefined ? pinned : changes.certificateSha256,
      ),
    }
    const changed = (await sql.updateSettings(tx, { ...target, ...after })) ?? (await whyNot(tx, target))
    if (takesAway(before, after)) await endLivingTokens(tx, target)
    await recordAudit(tx, {
      ...change,
      tenantId: target.tenantId,
      action: 'identity.changed',
      object: `identity:${row.name}`,
      diff: [{ path: '', before: shown(before), after: shown(after) }],
    })
    return toIdentity(changed)
  })
}

/** A change touched no row: says which of the two reasons it was. */
async function whyNot(on: Queryable, target: Target): Promise<never> {
  if (await sql.findIdentity(on, target))
    throw new Problem('conflict', 'The service identity is revoked already.')
  throw absent()
}

/** One identity of the workspace. Errors: `not_found`. */
export async function getIdentity(on: Queryable, target: Target): Promise<Identity> {
  const row = await sql.findIdentity(on, target)
  if (!row) throw absent()
  return toIdentity(row)
}

/** Identities of the workspace, also revoked ones, newest first. */
export async function listIdentities(
  on: Queryable,
  filter: { readonly tenantId: string; readonly beforeId?: string | undefined; readonly limit: number },
): Promise<Identity[]> {
  return (await sql.listRows(on, filter)).map(toIdentity)
}
