import type { Clock } from '../../platform/clock.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import type { LastUsed } from './last-used.ts'
import { findPlace } from './secrets.sql.ts'
import type { ReadRef } from './stores/registry.ts'

/**
 * The value behind a secret ref. During a rotation the values that are still accepted are `inForce` beside it:
 * signatures are checked against all of them and made with all of them. Errors: `secret_unresolved` naming the ref,
 * `database_unavailable`.
 */
export type ResolveSecret = (tenantId: string, name: string) => Promise<Secret>

class StoreAway extends Error {
  override readonly name = 'StoreAway'
}

/** True for a `secret_unresolved` that says nothing about the value: its store cannot be read at the moment. */
export const isStoreAway = (error: unknown): boolean =>
  error instanceof Problem && error.cause instanceof StoreAway

export interface ResolverDeps {
  readonly db: Queryable
  readonly directory: WorkspaceDirectory
  readonly readRef: ReadRef
  readonly clock: Clock
  /** Hears of every use, also of a remembered value. */
  readonly lastUsed: Pick<LastUsed, 'touch'>
  /** How long a value is remembered: a replaced secret is in use everywhere after this time. */
  readonly ttlMs?: number
}

const TTL_MS = 3_000
const MAX_REMEMBERED = 10_000

/** Resolves secret refs with a short memory, so that a busy connector does not read its key for every call. */
export function createSecretResolver(deps: ResolverDeps): ResolveSecret {
  const { clock, lastUsed, ttlMs = TTL_MS } = deps
  const remembered = new Map<string, { readonly value: Promise<Secret>; readonly until: number }>()

  const remember: ResolveSecret = (tenantId, name) => {
    const key = `${tenantId}/${name}`
    const held = remembered.get(key)
    if (held && clock.monotonic() < held.until) return held.value
    const value = find(deps, tenantId, name)
    // Deleted first, so that the order of the map stays the order of age.
    remembered.delete(key)
    const oldest = remembered.size >= MAX_REMEMBERED ? remembered.keys().next().value : undefined
    if (oldest !== undefined) remembered.delete(oldest)
    remembered.set(key, { value, until: clock.monotonic() + ttlMs })
    // A failure is not remembered: the value may be put in place a moment later.
    value.catch(() => {
      if (remembered.get(key)?.value === value) remembered.delete(key)
    })
    return value
  }
  return async (tenantId, name) => {
    const value = await remember(tenantId, name)
    lastUsed.touch(tenantId, name)
    return value
  }
}

async function find(
  { db, directory, readRef }: ResolverDeps,
  tenantId: string,
  name: string,
): Promise<Secret> {
  const row = await findPlace(db, { tenantId, name })
  const workspace = await directory.find(tenantId)
  if (!row || !workspace)
    throw new Problem('secret_unresolved', `There is no secret ref named ${name} in this workspace.`)
  const owner = { id: tenantId, slug: workspace.slug }
  const found = await readRef(owner, row.ref)
  if ('why' in found)
    throw new Problem(
      'secret_unresolved',
      `The secret ref ${name} (${row.ref}) does not resolve: ${found.why}.`,
      found.away && { cause: new StoreAway(found.why) },
    )
  // The older place may be gone before its time: that must not take the newer value with it.
  const previous = row.previous_ref === null ? undefined : await readRef(owner, row.previous_ref)
  const [newest, ...accepted] = found
  const older = previous && !('why' in previous) ? previous : []
  return new Secret(newest.reveal(), [...accepted, ...older])
}
