import type { Clock } from '../../platform/clock.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { findRef } from './secrets.sql.ts'
import type { ReadRef } from './stores/registry.ts'

/** The value behind a secret ref. Errors: `secret_unresolved` naming the ref, `database_unavailable`. */
export type ResolveSecret = (tenantId: string, name: string) => Promise<Secret>

export interface ResolverDeps {
  readonly db: Queryable
  readonly directory: WorkspaceDirectory
  readonly readRef: ReadRef
  readonly clock: Clock
  /** How long a value is remembered: a replaced secret is in use everywhere after this time. */
  readonly ttlMs?: number
}

const TTL_MS = 3_000
const MAX_REMEMBERED = 10_000

/** Resolves secret refs with a short memory, so that a busy connector does not read its key for every call. */
export function createSecretResolver(deps: ResolverDeps): ResolveSecret {
  const { clock, ttlMs = TTL_MS } = deps
  const remembered = new Map<string, { readonly value: Promise<Secret>; readonly until: number }>()

  return (tenantId, name) => {
    const key = `${tenantId}/${name}`
    const held = remembered.get(key)
    if (held && clock.monotonic() < held.until) return held.value
    const value = resolve(deps, tenantId, name)
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
}

async function resolve(
  { db, directory, readRef }: ResolverDeps,
  tenantId: string,
  name: string,
): Promise<Secret> {
  const row = await findRef(db, { tenantId, name })
  const workspace = await directory.find(tenantId)
  if (!row || !workspace)
    throw new Problem('secret_unresolved', `There is no secret ref named ${name} in this workspace.`)
  const found = await readRef(workspace.slug, row.ref)
  if (found instanceof Secret) return found
  throw new Problem(
    'secret_unresolved',
    `The secret ref ${name} (${row.ref}) does not resolve: ${found.why}.`,
  )
}
