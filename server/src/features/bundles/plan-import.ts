import { createHash } from 'node:crypto'
import { canonicalJson } from '../../platform/canonical-json.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { reservedFaults } from '../configs/configs.ts'
import { reservedNameFault } from '../reserved-names/reserved-names.ts'
import { takenAccounts } from '../webhook-routes/webhook-routes.ts'
import type { WorkspaceEntry } from '../workspaces/workspaces.ts'
import type { BundleDeps } from './bundle-deps.ts'
import type { Plan, PlanBody } from './bundles.schema.ts'
import { changesBetween } from './changes.ts'
import { checkBundle } from './check-bundle.ts'
import { quotaFaults } from './quota-faults.ts'
import { routeName, tidyRoute } from './route-names.ts'
import { type CurrentState, readState, type WorkspaceState } from './workspace-state.ts'

export interface Draft {
  readonly workspace: WorkspaceEntry
  readonly before: CurrentState
  readonly after: WorkspaceState
  readonly plan: Plan
}

/** The plan as far as the workspace itself decides it: read again under the lock, it must be the same. */
export async function draftImport(
  deps: BundleDeps,
  on: Queryable,
  tenantId: string,
  body: PlanBody,
): Promise<Draft> {
  const workspace = await deps.workspaces.find(tenantId)
  if (!workspace) throw new Problem('not_found', 'There is no such workspace.')
  const before = await readState(deps, on, tenantId)
  const after = wanted(workspace, body)
  const { changes, unchanged } = changesBetween(before, after)
  const faults = [
    ...checkBundle(deps, workspace, body, before, after),
    ...reservedInBundle(after),
    ...(await quotaFaults(on, tenantId, before, after, changes)),
  ]
  const { routeIds: _ids, ...state } = before
  const digest = createHash('sha256').update(canonicalJson({ tenantId, state, after })).digest('hex')
  return {
    workspace,
    before,
    after,
    plan: { valid: faults.length === 0, faults, changes, unchanged, active_version: before.version, digest },
  }
}

/** Names that only the hub itself may use, in whatever a bundle makes. */
const reservedInBundle = ({ document, secretRefs }: WorkspaceState): ProblemDetail[] => [
  ...reservedFaults(undefined, document, '').map(({ path, message }) => ({
    path: `/body/bundle/config${path}`,
    message,
  })),
  ...secretRefs.flatMap(({ name }, at) => {
    const message = reservedNameFault(name, '')
    return message === undefined ? [] : [{ path: `/body/bundle/secret_refs/${at}/name`, message }]
  }),
]

/** The routes keep the order of the bundle: faults name them by it. */
function wanted(workspace: WorkspaceEntry, { bundle, as }: PlanBody): WorkspaceState {
  const mapped = as === workspace.slug && bundle.workspace.environment !== workspace.environment
  return {
    document: bundle.config,
    secretRefs: bundle.secret_refs,
    routes: bundle.webhook_routes.map((route, at) =>
      tidyRoute(
        mapped ? { ...route, livemode: workspace.environment === 'prod' } : route,
        `/body/bundle/webhook_routes/${at}`,
      ),
    ),
  }
}

/** What an import of the bundle would do, and every reason why it could not. Changes nothing. */
export async function planImport(deps: BundleDeps, tenantId: string, body: PlanBody): Promise<Plan> {
  const { plan } = await checkedDraft(deps, tenantId, body)
  return plan
}

/** With what only other places know: stores of secrets, and who else has an account. Never call it in a transaction. */
export async function checkedDraft(deps: BundleDeps, tenantId: string, body: PlanBody): Promise<Draft> {
  const draft = await draftImport(deps, deps.db, tenantId, body)
  const faults = [
    ...draft.plan.faults,
    ...(await unresolvedFaults(deps, tenantId, draft)),
    ...(await accountFaults(deps, tenantId, draft)),
  ]
  return { ...draft, plan: { ...draft.plan, valid: faults.length === 0, faults } }
}

async function unresolvedFaults(
  { secrets }: BundleDeps,
  tenantId: string,
  { after }: Draft,
): Promise<ProblemDetail[]> {
  const used = new Set([
    ...Object.values(after.document.connectors).flatMap((each) => Object.values(each.secrets ?? {})),
    ...after.routes.flatMap(({ secret_refs }) => secret_refs),
  ])
  const asked = after.secretRefs.filter(
    ({ name, ref }) => used.has(name) && secrets.refFault(ref) === undefined,
  )
  const why = await secrets.unresolved(tenantId, asked)
  return after.secretRefs.flatMap(({ name }, at) => {
    const reason = why.get(name)
    return reason === undefined
      ? []
      : [{ path: `/body/bundle/secret_refs/${at}/ref`, message: `does not resolve (${name}): ${reason}` }]
  })
}

async function accountFaults(
  { db }: BundleDeps,
  tenantId: string,
  { before, after }: Draft,
): Promise<ProblemDetail[]> {
  const mine = new Set(before.routes.map(routeName))
  const asked = after.routes.filter((route) => route.account !== null && !mine.has(routeName(route)))
  const taken = await takenAccounts(db, tenantId, asked)
  return after.routes.flatMap((route, at) =>
    taken.has(route)
      ? [
          {
            path: `/body/bundle/webhook_routes/${at}/account`,
            message: 'is claimed by a webhook route already',
          },
        ]
      : [],
  )
}
