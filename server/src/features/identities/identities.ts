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
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import { inEmergency } from '../permissions/permissions.ts'
import { requireRoom } from '../workspaces/workspaces.ts'
import * as sql from './identities.sql.ts'
import { type Identity, type IdentityWithSecret, toIdentity } from './identity.ts'
import { type Machine, mayGive, mayRotate } from './machine-callers.ts'
import type { Scope } from './scopes.ts'

export { endAllTokens } from './end-all-tokens.ts'
export type { Identity, IdentityWithSecret } from './identity.ts'
export { machineOf, mayTrust } from './machine-callers.ts'
export { AUDIENCES, PLANE_SCOPES, type Plane, SCOPES, type Scope } from './scopes.ts'

interface Target {
  readonly tenantId: string
  readonly id: string
}

/** A machine that asks; undefined for everybody else. Errors: `forbidden` for what only others may. */
interface Asked {
  readonly machine?: Machine | undefined
}

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
  Partial<IdentitySettings> &
  Asked & { readonly tenantId: string; readonly name: string }

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
    machine,
  }: NewIdentity,
  change: Change,
): Promise<IdentityWithSecret> {
  mayGive(machine, scopes)
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
        createdBy: nameOf(change),
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
 * Gives an identity a new secret, never in an emergency: whoever has it would have it for good. The present one is accepted for `overlapSeconds` more; 0 ends it at once, which
 * is right for one that leaked, and then `endsTokens` also ends the tokens that were got by it. Errors: `not_found`,
 * `conflict` for a revoked identity, `validation_error` for ended tokens of a secret that goes on.
 */
export async function rotateClientSecret(
  db: Db,
  {
    overlapSeconds,
    endsTokens = false,
    machine,
    ...target
  }: Target & Asked & { readonly overlapSeconds: number; readonly endsTokens?: boolean },
  change: Change,
): Promise<IdentityWithSecret> {
  if (endsTokens && overlapSeconds > 0) throw overlapKeepsTokens()
  if (inEmergency(change))
    throw new Problem(
      'forbidden',
      'No client secret is rotated in an emergency, which it would outlive: revoke the identity and create another, which ends with the session.',
    )
  const clientSecret = newSecret()
  return db.transaction(async (tx) => {
    const replaced = await sql.replaceSecret(tx, {
      ...target,
      overlapSeconds,
      secretSha256: sha256(clientSecret),
    })
    const row = replaced ?? (await whyNot(tx, target))
    mayRotate(machine, row)
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
  { machine, ...target }: Target & Asked,
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
    mayGive(machine, before.scopes, after.scopes)
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

/** Those that an identity has made and that are not revoked, at most 100: they outlive it. */
export const madeBy = (
  on: Queryable,
  { tenantId, id, name, createdAt }: Identity & { readonly tenantId: string },
): Promise<{ id: string; name: string }[]> =>
  sql.listMadeBy(on, { tenantId, id, name, since: createdAt, limit: 100 })

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
