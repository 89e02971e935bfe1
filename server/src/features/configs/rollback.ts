import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, listAudit } from '../audit/audit.ts'
import { activateConfig, VERSION_PATH } from './change-config.ts'
import type { ConfigDeps } from './check-config.ts'
import type { Target } from './if-match.ts'
import { activeVersion, type StoredVersion } from './versions.ts'

/** How many moves of the pointer are looked through, of each kind. */
const DEPTH = 200

/**
 * Makes an earlier version active again, after the same checks as any activation. Without `to` it is the one that was
 * active before: a rollback undoes one step, and the next rollback the step before that. Errors: `conflict` when
 * there is no step to undo, and those of `activateConfig`.
 */
export async function rollBackConfig(
  deps: ConfigDeps,
  target: Target,
  to: number | undefined,
  change: Change,
): Promise<StoredVersion> {
  const { tenantId } = target
  const active = await activeVersion(deps.db, tenantId)
  if (!active)
    throw new Problem('conflict', 'This workspace has no active config yet: there is nothing to undo.')
  const version = to ?? (await versionBefore(deps.db, tenantId, active.version))
  if (version === active.version) throw new Problem('conflict', `Version ${version} is active already.`)
  // What is undone is the step that was seen here; another one that comes between is not undone unseen.
  const seen = { tenantId, ifMatch: typeof target.ifMatch === 'number' ? target.ifMatch : active.version }
  return activateConfig(deps, seen, version, change, 'config.rolled_back')
}

/** What the step to the active version replaced: the audit log has every step and is never cut. */
async function versionBefore(on: Queryable, tenantId: string, active: number): Promise<number> {
  const found: { readonly seq: number; readonly before: number }[] = []
  for (const action of ['config.activated', 'config.changed'])
    for (const { seq, diff } of await listAudit(on, { tenantId, action, limit: DEPTH })) {
      const step = diff.find(({ path }) => path === VERSION_PATH)
      if (step?.after === active && typeof step.before === 'number') found.push({ seq, before: step.before })
    }
  const before = found.sort((left, right) => right.seq - left.seq)[0]?.before ?? 0
  if (before === 0)
    throw new Problem('conflict', 'No version was active before this one: name the version in `to`.')
  return before
}
