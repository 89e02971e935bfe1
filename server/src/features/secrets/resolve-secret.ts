import type { Clock } from '../../platform/clock.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import type { LastUsed } from './last-used.ts'
import { findPlace } from './secrets.sql.ts'
import type { ReadRef } from './stores/registry.ts'
import type { Found } from './stores/store.ts'

/** The value behind a secret ref. Errors: `secret_unresolved` naming the ref, `database_unavailable`. */
export type ResolveSecret = (tenantId: string, name: string) => Promise<Secret>

/**
 * The value and, during a rotation, those that are still accepted, newest first: for signatures, which are checked
 * against all of them and made with all of them. Errors: as `ResolveSecret`.
 */
export type ResolveSecrets = (tenantId: string, name: string) => Promise<Found>

export interface SecretResolver {
  readonly resolve: ResolveSecret
  readonly resolveAll: ResolveSecrets
}

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
export function createSecretResolver(deps: ResolverDeps): SecretResolver {
  const { clock, lastUsed, ttlMs = TTL_MS } = deps
  const remembered = new Map<string, { readonly values: Promise<Found>; readonly until: number }>()

  const resolveAll: ResolveSecrets = async (tenantId, name) => {
    const values = await remember(tenantId, name)
    lastUsed.touch(tenantId, name)
    return values
  }
  const remember: ResolveSecrets = (tenantId, name) => {
    const key = `${tenantId}/${name}`
    const held = remembered.get(key)
    if (held && clock.monotonic() < held.until) return held.values
    const values = find(deps, tenantId, name)
    // Deleted first, so that the order of the map stays the order of age.
    remembered.delete(key)
    const oldest = remembered.size >= MAX_REMEMBERED ? remembered.keys().next().value : undefined
    if (oldest !== undefined) remembered.delete(oldest)
    remembered.set(key, { values, until: clock.monotonic() + ttlMs })
    // A failure is not remembered: the value may be put in place a moment later.
    values.catch(() => {
      if (remembered.get(key)?.values === values) remembered.delete(key)
    })
    return values
  }
  return { resolveAll, resolve: async (tenantId, name) => (await resolveAll(tenantId, name))[0] }
}

async function find(
  { db, directory, readRef }: ResolverDeps,
  tenantId: string,
  name: string,
): Promise<Found> {
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
    )
  if (row.previous_ref === null) return found
  // The older place may be gone before its time: that must not take the newer value with it.
  const previous = await readRef(owner, row.previous_ref)
  return 'why' in previous ? found : [...found, ...previous]
}
