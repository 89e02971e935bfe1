import { Problem } from '../../problems.ts'
import type { Change } from '../audit/audit.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { IncomingRequest } from '../webhooks/webhooks.ts'
import { NO_WORKSPACE, type WorkspaceDirectory } from '../workspaces/workspaces.ts'
import * as sql from './quarantine.sql.ts'
import { bring, notFound, notKept, type OverruledClaim, type ReleaseDeps, release } from './release.ts'
import { isRefused, requestOf, type VerifyAgainDeps, verifyAgain } from './verify-again.ts'

export interface AssignDeps extends ReleaseDeps, VerifyAgainDeps {
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
}

const cannot = (why: string): Problem => new Problem('conflict', `The webhook cannot be assigned: ${why}.`)

/**
 * A person says whose it is, although no secret says so. Only what is nobody's, and only where mode and environment fit
 * and no other workspace claims the account; `despiteClaim` overrules a claim whose secret does not verify it either, told
 * in the log of who has the claim, too. Errors: `not_found` (the webhook, the workspace, its route), `conflict`.
 */
export async function assign(
  deps: AssignDeps,
  {
    id,
    workspaceId,
    routeId,
    despiteClaim = false,
  }: {
    readonly id: string
    readonly workspaceId: string
    readonly routeId: string
    readonly despiteClaim?: boolean
  },
  change: Change,
): Promise<readonly sql.Target[]> {
  const row = await sql.findContents(deps.db, { tenantId: NO_WORKSPACE, id })
  if (!row) throw notFound()
  const workspace = await deps.workspaces.find(workspaceId)
  const routes = await deps.routes.refresh()
  const route = routes.byId(row.provider, routeId)
  if (!workspace || workspace.status === 'deleting' || route?.tenantId !== workspaceId)
    throw new Problem('not_found', 'There is no such workspace, or it has no such route of the provider.')
  if (row.state === 'releasing' && row.targets?.every(({ route_id }) => route_id === routeId))
    return bring(deps, row, row.targets, change)
  if (row.state !== 'kept' || row.expired) throw notKept(row)

  const copy = row.copies?.at(-1)
  const request = copy && requestOf(row, copy)
  const events = request && eventsFor(request, route)?.filter(isRefused(row))
  if (!copy || !events?.length) throw cannot('its provider cannot read it with the settings of the route')
  const against: OverruledClaim[] = []
  for (const { accounts, livemode: said } of events) {
    const livemode = said ?? route.livemode
    if (livemode !== route.livemode || livemode !== (workspace.environment === 'prod'))
      throw cannot('live events go to prod and test events to dev, and so must the route')
    for (const account of accounts) {
      const claim = routes.claimedBy(row.provider, account, livemode)
      if (claim && claim.tenantId !== workspaceId)
        against.push({ tenantId: claim.tenantId, routeId: claim.id, account })
    }
  }
  if (against.length > 0 && !despiteClaim) throw cannot('another workspace has the account that it names')
  if (against.length > 0 && (await isProven(deps, row, against)))
    throw cannot('the secret of the workspace that has the account verifies it')
  const toRoute = events.map((event) => ({ event, route, evidence: null }))
  return release(deps, row, { copy, events: toRoute, action: 'quarantine.assigned', against }, change)
}

/** Nobody overrules a claim that is proven, or whose proof nobody can look at now. */
async function isProven(
  deps: VerifyAgainDeps,
  row: sql.QuarantineContents,
  against: readonly OverruledClaim[],
): Promise<boolean> {
  for (const { routeId } of against) {
    const verified = await verifyAgain(deps, { ...row, path_route: routeId })
    if (verified.found) return true
    if (verified.cause === 'secret_away')
      throw new Problem(
        'webhook_unavailable',
        'The store of a signing secret cannot be read at the moment.',
        {
          retryAfterSeconds: 5,
        },
      )
  }
  return false
}

function eventsFor(request: IncomingRequest, route: WebhookRoute) {
  try {
    return request.provider.events(request.parsed, request.signed, route.settings)
  } catch (error) {
    if (error instanceof Problem && error.status === 400) return undefined
    throw error
  }
}
