import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, listAudit } from '../audit/audit.ts'
import { VERIFIER } from '../reserved-names/reserved-names.ts'
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

interface PointerStep {
  readonly seq: number
  readonly before: number
  readonly after: number
  /** By a verification of the hub, which adds to the config for a while: nobody means it by "the last change". */
  readonly ofTheHub: boolean
}

/** Steps of the pointer but for rollbacks, newest first: the audit log has every one and is never cut. */
async function stepsOf(on: Queryable, tenantId: string): Promise<PointerStep[]> {
  const steps: PointerStep[] = []
  for (const action of ['config.activated', 'config.changed'])
    for (const { seq, diff, actor } of await listAudit(on, { tenantId, action, limit: DEPTH })) {
      const step = diff.find(({ path }) => path === VERSION_PATH)
      if (typeof step?.after === 'number' && typeof step.before === 'number')
        steps.push({ seq, before: step.before, after: step.after, ofTheHub: actor === VERIFIER })
    }
  return steps.sort((left, right) => right.seq - left.seq)
}

/** What the last step of a person or a machine of the workspace to the active version replaced. */
async function versionBefore(on: Queryable, tenantId: string, active: number): Promise<number> {
  const steps = await stepsOf(on, tenantId)
  const stepTo = (version: number) => steps.find(({ after }) => after === version)
  const behindTheHub = (version: number): number => {
    let at = version
    for (let step = stepTo(at); step?.ofTheHub; step = stepTo(at)) at = step.before
    return at
  }
  const before = behindTheHub(stepTo(behindTheHub(active))?.before ?? 0)
  if (before === 0)
    throw new Problem('conflict', 'No version was active before this one: name the version in `to`.')
  return before
}
