/**
 * The door of the secrets feature. A secret ref is a name of a workspace for the place where a value is found;
 * the value is never stored, logged or shown by the hub.
 *
 * Invariants. A ref reaches only values of its own workspace: the stores see to it. Refs change under the lock
 * of the workspace's row, as its config does, and commit with their audit entry: a ref that the active config
 * names cannot be deleted while that config becomes active.
 */
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import * as sql from './secrets.sql.ts'
import { refFault } from './stores/registry.ts'

export { createSecretResolver, type ResolveSecret } from './resolve-secret.ts'
export { openSecretStores, type ReadRef } from './stores/registry.ts'

export interface SecretRef {
  readonly name: string
  readonly ref: string
  readonly createdAt: Date
  readonly updatedAt: Date
}

interface Target {
  readonly tenantId: string
  readonly name: string
}

/** What uses a secret ref, e.g. `connector:stripe`; asked in the transaction that would delete it. */
export type UsersOfSecret = (tx: Tx, target: Target) => Promise<readonly string[]>

const toRef = (row: sql.SecretRefRow): SecretRef => ({
  name: row.name,
  ref: row.ref,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
})

const absent = (): Problem => new Problem('not_found', 'There is no such secret ref.')

/** `/secret-refs/health` is an endpoint: a ref of that name could not be read. */
const RESERVED = 'health'

const refused = (path: string, message: string): Problem =>
  new Problem('validation_error', `${path} ${message}.`, { details: [{ path, message }] })

/** Creates a ref or points it elsewhere. Errors: `validation_error` for a ref that no store takes or that is a value. */
export async function putSecretRef(
  db: Db,
  { tenantId, name, ref }: Target & { readonly ref: string },
  change: Change,
): Promise<{ readonly secretRef: SecretRef; readonly created: boolean }> {
  if (name === RESERVED) throw refused('/path/name', 'is reserved')
  const fault = refFault(ref)
  if (fault !== undefined) throw refused('/body/ref', fault)
  return db.transaction(async (tx) => {
    await lockWorkspace(tx, { id: tenantId })
    const before = await sql.findRef(tx, { tenantId, name })
    if (before?.ref === ref) return { secretRef: toRef(before), created: false }
    const row = await sql.upsertRef(tx, { tenantId, name, ref })
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: before ? 'secret_ref.changed' : 'secret_ref.created',
      object: `secret_ref:${name}`,
      diff: [{ path: '/ref', ...(before && { before: before.ref }), after: ref }],
    })
    return { secretRef: toRef(row), created: !before }
  })
}

/** Deletes a ref. Errors: `not_found`, `conflict` while something uses it. */
export async function deleteSecretRef(
  { db, usersOfSecret }: { readonly db: Db; readonly usersOfSecret: UsersOfSecret },
  target: Target,
  change: Change,
): Promise<void> {
  await db.transaction(async (tx) => {
    await lockWorkspace(tx, { id: target.tenantId })
    const row = await sql.findRef(tx, target)
    if (!row) throw absent()
    const users = await usersOfSecret(tx, target)
    if (users.length > 0)
      throw new Problem('conflict', `The secret ref is used by ${users.slice(0, 20).join(', ')}.`)
    await sql.deleteRow(tx, target)
    await recordAudit(tx, {
      ...change,
      tenantId: target.tenantId,
      action: 'secret_ref.deleted',
      object: `secret_ref:${target.name}`,
      diff: [{ path: '/ref', before: row.ref }],
    })
  })
}

/** One ref of the workspace. Errors: `not_found`. */
export async function getSecretRef(on: Queryable, target: Target): Promise<SecretRef> {
  const row = await sql.findRef(on, target)
  if (!row) throw absent()
  return toRef(row)
}

/** Refs of the workspace, by name. */
export async function listSecretRefs(
  on: Queryable,
  filter: { readonly tenantId: string; readonly afterName?: string | undefined; readonly limit: number },
): Promise<SecretRef[]> {
  return (await sql.listRows(on, filter)).map(toRef)
}

/** Names of all refs of the workspace: what a config may name. */
export const secretNames = async (on: Queryable, tenantId: string): Promise<ReadonlySet<string>> =>
  new Set((await sql.listNames(on, { tenantId })).map(({ name }) => name))
