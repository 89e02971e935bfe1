/**
 * Rotation: the new value is active at once, the one before is accepted until the end of an overlap, and one step
 * takes it back. Each rotation ends the overlaps of those before it: at most two values are accepted, and after one
 * without an overlap only the new one is. Under the lock of the workspace's row, with the audit entry in the same
 * transaction; no value is in an entry, in an error or in an answer.
 */
import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { type Envelope, EnvelopeFailure } from '../../platform/envelope.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { type Change, type DiffEntry, nameOf, recordAudit } from '../audit/audit.ts'
import { lockWorkspace, requireRoom } from '../workspaces/workspaces.ts'
import { absent, nameFault, refused, type SecretRef, type Target, toRef, valueFault } from './secret-ref.ts'
import * as sql from './secrets.sql.ts'
import * as stored from './stored-values.sql.ts'
import { sealForStore } from './stored-values.ts'
import { refFault, storedRef } from './stores/registry.ts'

export interface Put {
  readonly secretRef: SecretRef
  readonly created: boolean
}

interface Overlap {
  /** How long the value before is still accepted, seconds; 0 and absent: not at all, and no older one either. */
  readonly overlapSeconds?: number | undefined
}

/** Creates a ref or points it elsewhere. Errors: `validation_error` for a ref that no store takes or that is a value. */
export async function putSecretRef(
  db: Db,
  { tenantId, name, ref, overlapSeconds = 0 }: Target & Overlap & { readonly ref: string },
  change: Change,
): Promise<Put> {
  const fault = nameFault(name, change.actor)
  if (fault) throw fault
  const refIs =
    refFault(ref) ?? (ref.startsWith('store:') && ref !== storedRef(name) ? mustBeOwn(name) : undefined)
  if (refIs !== undefined) throw refused('/body/ref', refIs)
  return db.transaction(async (tx) => {
    await lockWorkspace(tx, { id: tenantId })
    const before = await sql.findRef(tx, { tenantId, name })
    if (before?.ref === ref) return { secretRef: toRef(before), created: false }
    if (before) {
      await endOverlaps(tx, { tenantId, name })
      await sql.pointElsewhere(tx, { tenantId, name, ref, overlapSeconds })
    } else {
      await requireRoom(tx, { tenantId, quota: 'secret_refs' })
      await sql.insertRef(tx, { tenantId, name, ref })
    }
    const row = await readBack(tx, { tenantId, name })
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: before ? 'secret_ref.changed' : 'secret_ref.created',
      object: `secret_ref:${name}`,
      diff: [{ path: '/ref', ...(before && { before: before.ref }), after: ref }, ...overlapOf(row, before)],
    })
    return { secretRef: toRef(row), created: !before }
  })
}

const mustBeOwn = (name: string): string =>
  `must be ${storedRef(name)}: each secret ref has its own place in the store`

/**
 * Keeps a new version of the value, sealed, and leads the ref there; makes the ref when there is none. Errors:
 * `validation_error` for what no value can be, `secrets_unavailable` without a usable key-encryption key.
 */
export async function putSecretValue(
  { db, envelope }: { readonly db: Db; readonly envelope: Envelope },
  { tenantId, name, value, overlapSeconds = 0 }: Target & Overlap & { readonly value: Secret },
  change: Change,
): Promise<Put> {
  const fault = nameFault(name, change.actor) ?? valueFault(value)
  if (fault) throw fault
  const target = { tenantId, name }
  return db.transaction(async (tx) => {
    await lockWorkspace(tx, { id: tenantId })
    const before = await sql.findRef(tx, target)
    const ref = storedRef(name)
    if (!before) {
      await requireRoom(tx, { tenantId, quota: 'secret_refs' })
      await sql.insertRef(tx, { ...target, ref })
    }
    const { last_version: version } = await stored.nextVersion(tx, target)
    const sealed = await sealForStore(envelope, { ...target, version, value }).catch(unavailable)
    const wasThere = before?.ref === ref
    // The first value at a place replaces none: what was accepted until then stays so, if an overlap is asked for.
    if (overlapSeconds === 0 || !wasThere || before.version !== null) await endOverlaps(tx, target)
    // A version that the ref did not lead to any more must not be accepted again.
    const replaced = await stored.replaceActive(tx, {
      ...target,
      overlapSeconds: wasThere ? overlapSeconds : 0,
    })
    await stored.insertVersion(tx, { ...target, ...sealed, version, createdBy: nameOf(change) })
    if (before && !wasThere) await sql.pointElsewhere(tx, { ...target, ref, overlapSeconds })
    else if (replaced) await sql.valueRotated(tx, target)
    const row = await readBack(tx, target)
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: before ? 'secret.rotated' : 'secret.created',
      object: `secret_ref:${name}`,
      diff: [
        ...(wasThere ? [] : [{ path: '/ref', ...(before && { before: before.ref }), after: ref }]),
        { path: '/version', ...(replaced && { before: replaced.version }), after: version },
        ...(wasThere ? acceptedUntil(replaced?.accepted_until) : overlapOf(row, before)),
      ],
    })
    return { secretRef: toRef(row), created: !before }
  })
}

/**
 * Takes the last rotation back: what was replaced is active again, and what replaced it is accepted for the
 * overlap. Errors: `not_found`, `conflict` when there is nothing to go back to.
 */
export async function revertSecret(
  db: Db,
  { tenantId, name, overlapSeconds = 0 }: Target & Overlap,
  change: Change,
): Promise<SecretRef> {
  const target = { tenantId, name }
  return db.transaction(async (tx) => {
    await lockWorkspace(tx, { id: tenantId })
    const before = await sql.findRef(tx, target)
    if (!before) throw absent()
    await endOverlaps(tx, target)
    const diff =
      before.rotated === 'value' && before.ref === storedRef(name)
        ? await revertValue(tx, target, overlapSeconds)
        : await revertRef(tx, target, before, overlapSeconds)
    const row = await readBack(tx, target)
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'secret.reverted',
      object: `secret_ref:${name}`,
      diff,
    })
    return toRef(row)
  })
}

/** Of values and of places. */
async function endOverlaps(tx: Tx, target: Target): Promise<void> {
  await stored.endOverlaps(tx, target)
  await sql.endPlaceOverlap(tx, target)
}

async function revertValue(tx: Tx, target: Target, overlapSeconds: number): Promise<DiffEntry[]> {
  const back = await stored.lastReplaced(tx, target)
  if (!back) throw nothingBefore()
  const replaced = await stored.replaceActive(tx, { ...target, overlapSeconds })
  await stored.activate(tx, { ...target, version: back.version })
  await sql.valueRotated(tx, target)
  return [
    { path: '/version', ...(replaced && { before: replaced.version }), after: back.version },
    ...acceptedUntil(replaced?.accepted_until),
  ]
}

async function revertRef(
  tx: Tx,
  target: Target,
  before: sql.SecretRefRow,
  overlapSeconds: number,
): Promise<DiffEntry[]> {
  if (before.previous_ref === null) throw nothingBefore()
  await sql.pointElsewhere(tx, { ...target, ref: before.previous_ref, overlapSeconds })
  return [
    { path: '/ref', before: before.ref, after: before.previous_ref },
    ...overlapOf(await readBack(tx, target), before),
  ]
}

const nothingBefore = (): Problem =>
  new Problem('conflict', 'The secret ref was not rotated, or the version before is deleted.')

/** Deletes a version that is not the active one. Errors: `not_found`, `conflict` for the active one. */
export async function deleteSecretVersion(
  db: Db,
  { tenantId, name, version }: Target & { readonly version: number },
  change: Change,
): Promise<void> {
  await db.transaction(async (tx) => {
    await lockWorkspace(tx, { id: tenantId })
    const found = await stored.findVersion(tx, { tenantId, name, version })
    if (!found) throw new Problem('not_found', 'There is no such version of the secret.')
    if (found.state === 'active')
      throw new Problem(
        'conflict',
        'The active version cannot be deleted: rotate it, or delete the secret ref.',
      )
    await stored.deleteVersion(tx, { tenantId, name, version })
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'secret_version.deleted',
      object: `secret_ref:${name}`,
      diff: [{ path: '/version', before: version }],
    })
  })
}

async function readBack(tx: Tx, target: Target): Promise<sql.SecretRefRow> {
  const row = await sql.findRef(tx, target)
  if (!row) throw new Error('a secret ref that was just written is gone')
  return row
}

const acceptedUntil = (until: Date | null | undefined): DiffEntry[] =>
  until ? [{ path: '/accepted_until', after: until.toISOString() }] : []

const overlapOf = (row: sql.SecretRefRow, before: sql.SecretRefRow | undefined): DiffEntry[] =>
  before ? acceptedUntil(row.previous_until) : []

function unavailable(error: unknown): never {
  if (!(error instanceof EnvelopeFailure)) throw error
  throw new Problem('secrets_unavailable', 'The hub cannot seal values at the moment; nothing was stored.', {
    retryAfterSeconds: 30,
    cause: error,
  })
}
