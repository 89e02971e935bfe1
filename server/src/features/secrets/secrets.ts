/**
 * The door of the secrets feature. A secret ref is a name of a workspace for the place where a value is found. The
 * value is elsewhere, or the hub keeps it sealed (`store://`); it is never logged, and no answer holds it.
 *
 * Invariants. A ref reaches only values of its own workspace: the stores see to it. Refs change under the lock
 * of the workspace's row, as its config does, and commit with their audit entry: a ref that the active config
 * names cannot be deleted while that config becomes active.
 */
import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import { absent, type SecretRef, type Target, toRef } from './secret-ref.ts'
import * as sql from './secrets.sql.ts'

export { createLastUsed, type LastUsed } from './last-used.ts'
export { createSecretResolver, isStoreAway, type ResolveSecret } from './resolve-secret.ts'
export { deleteSecretVersion, putSecretRef, putSecretValue, revertSecret } from './rotation.ts'
export type { SecretRef } from './secret-ref.ts'
export { checkStoredSecrets, type Rewrapped, rewrapStoredSecrets } from './stored-values.ts'
export { openSecretStores, type ReadRef, refFault } from './stores/registry.ts'
export type { StoreOptions } from './stores/store.ts'

/** What uses a secret ref, e.g. `connector:stripe`; asked in the transaction that would delete it. */
export type UsersOfSecret = (on: Queryable, target: Target) => Promise<readonly string[]>

/** Deletes a ref and every value that the hub keeps for it. Errors: `not_found`, `conflict` while something uses it. */
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
