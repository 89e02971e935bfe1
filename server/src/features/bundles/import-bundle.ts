import { joinedDb } from '../../platform/db/joined-db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change as Authored, recordAudit } from '../audit/audit.ts'
import { editConfig, withHubPart } from '../configs/configs.ts'
import { changeRoute, createRoute, deleteRoute, settingsOf } from '../webhook-routes/webhook-routes.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import type { BundleDeps } from './bundle-deps.ts'
import type { Change, Imported, PlanBody } from './bundles.schema.ts'
import { checkedDraft, type Draft, draftImport } from './plan-import.ts'
import { routeName } from './route-names.ts'

/**
 * Does exactly what a plan says, in one transaction: config version, secret refs, routes, their audit entries and one
 * of the import. A workspace that is so already is left alone, whatever the plan. Errors: `bundle_invalid` with
 * every fault, `plan_changed` when bundle or workspace are not those of the plan any more.
 */
export async function importBundle(
  deps: BundleDeps,
  tenantId: string,
  body: PlanBody & { readonly plan: string },
  change: Authored,
): Promise<Imported> {
  refuse(await checkedDraft(deps, tenantId, body))
  return deps.db.transaction(async (tx) => {
    if (!(await lockWorkspace(tx, { id: tenantId })))
      throw new Problem('not_found', 'There is no such workspace.')
    const draft = refuse(await draftImport(deps, tx, tenantId, body))
    const { changes, unchanged, digest, active_version } = draft.plan
    if (changes.length === 0) return { imported: false, changes, unchanged, active_version }
    if (digest !== body.plan)
      throw new Problem('plan_changed', 'The workspace or the bundle is not the one that was planned for.', {
        members: { active_version },
      })
    return {
      imported: true,
      changes,
      unchanged,
      active_version: await apply(deps, tx, tenantId, draft, change),
    }
  })
}

function refuse(draft: Draft): Draft {
  const { faults: details } = draft.plan
  const [first] = details
  if (first) throw new Problem('bundle_invalid', `${first.path} ${first.message}.`, { details })
  return draft
}

/** In the order in which each step finds what it needs; gives the version that is active then. */
async function apply(
  deps: BundleDeps,
  tx: Tx,
  tenantId: string,
  { before, after, plan }: Draft,
  change: Authored,
): Promise<number> {
  const db = joinedDb(tx)
  const of = (object: Change['object'], ...actions: readonly Change['action'][]): Set<string> =>
    new Set(
      plan.changes
        .filter((each) => each.object === object && actions.includes(each.action))
        .map(({ name }) => name),
    )
  const putRefs = of('secret_ref', 'create', 'change')
  for (const { name, ref } of after.secretRefs)
    if (putRefs.has(name)) await deps.secrets.put(db, { tenantId, name, ref }, change)
  const [goneRoutes, changedRoutes] = [of('webhook_route', 'remove'), of('webhook_route', 'change')]
  const wanted = new Map(after.routes.map((route) => [routeName(route), route]))
  for (const [route, id] of before.routeIds) {
    const to = wanted.get(routeName(route))
    if (goneRoutes.has(routeName(route))) await deleteRoute(db, tenantId, id, change)
    // Its connector may be of the config that comes next: the whole bundle was checked, as it will be in the end.
    else if (to && changedRoutes.has(routeName(route)))
      await changeRoute({ db, checks: 'done' }, { tenantId, id, seen: '*' }, () => settingsOf(to), change)
  }
  const config = await editConfig(
    { ...deps.config, db },
    { tenantId },
    'bundle',
    (active) => withHubPart(after.document, active),
    change,
  )
  const madeRoutes = of('webhook_route', 'create')
  for (const route of after.routes)
    if (madeRoutes.has(routeName(route)))
      await createRoute({ db, checks: deps.routeChecks }, tenantId, settingsOf(route), change)
  for (const name of of('secret_ref', 'remove')) await deps.secrets.remove(db, { tenantId, name }, change)
  await recordAudit(tx, {
    ...change,
    tenantId,
    action: 'bundle.imported',
    object: `bundle:${plan.digest.slice(0, 16)}`,
    diff: plan.changes.map(({ object, name, action }) => ({ path: `/${object}/${name}`, after: action })),
  })
  return config.version
}
