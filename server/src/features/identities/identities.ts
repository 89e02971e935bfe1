/**
 * The door of the identities feature. A service identity is a machine of one workspace that gets tokens by
 * OAuth 2 client credentials: its id is the client id.
 *
 * States: active → revoked, for ever. Invariants. A client secret is shown once, when it is made; only its
 * SHA-256 is stored. At most two secrets are accepted at a time: the present one, and the one before it until
 * the overlap ends. Every change commits with its audit entry.
 */
import { createHash, randomBytes } from 'node:crypto'
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
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
})

/** 256 random bits: nothing to guess, so a plain hash of it is enough. */
const newSecret = (): Secret => new Secret(randomBytes(32).toString('base64url'))

const sha256 = (secret: Secret): Buffer => createHash('sha256').update(secret.reveal()).digest()

const absent = (): Problem => new Problem('not_found', 'There is no such service identity.')

/** Creates an identity and its first secret. Errors: `conflict` when an active identity of the workspace has the name. */
export async function createIdentity(
  db: Db,
  {
    tenantId,
    name,
    scopes,
  }: { readonly tenantId: string; readonly name: string; readonly scopes: readonly Scope[] },
  change: Change,
): Promise<IdentityWithSecret> {
  const clientSecret = newSecret()
  const unique = [...new Set(scopes)]
  try {
    return await db.transaction(async (tx) => {
      const row = await sql.insertIdentity(tx, {
        tenantId,
        id: newId(),
        name,
        scopes: unique,
        secretSha256: sha256(clientSecret),
      })
      await recordAudit(tx, {
        ...change,
        tenantId,
        action: 'identity.created',
        object: `identity:${name}`,
        diff: [{ path: '', after: { id: row.id, name, scopes: unique } }],
      })
      return { identity: toIdentity(row), clientSecret }
    })
  } catch (error) {
    if (violatesUnique(error, 'service_identity_name_key'))
      throw new Problem('conflict', 'An active service identity has this name already.')
    throw error
  }
}

/** Ends an identity: no more tokens; those it holds end by themselves within minutes. Errors: `not_found`, `conflict`. */
export async function revokeIdentity(db: Db, target: Target, change: Change): Promise<Identity> {
  return db.transaction(async (tx) => {
    const row = (await sql.revokeRow(tx, target)) ?? (await whyNot(tx, target))
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
 * is right for one that leaked. Errors: `not_found`, `conflict` for a revoked identity.
 */
export async function rotateClientSecret(
  db: Db,
  { overlapSeconds, ...target }: Target & { readonly overlapSeconds: number },
  change: Change,
): Promise<IdentityWithSecret> {
  const clientSecret = newSecret()
  return db.transaction(async (tx) => {
    const replaced = await sql.replaceSecret(tx, {
      ...target,
      overlapSeconds,
      secretSha256: sha256(clientSecret),
    })
    const row = replaced ?? (await whyNot(tx, target))
    await recordAudit(tx, {
      ...change,
      tenantId: target.tenantId,
      action: 'identity.secret_rotated',
      object: `identity:${row.name}`,
      diff: [{ path: '/previous_secret_until', after: row.previous_secret_until }],
    })
    return { identity: toIdentity(row), clientSecret }
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
