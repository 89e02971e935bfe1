/**
 * Webhook routes: which workspace, connector and signing secrets belong to an account of a provider.
 *
 * Invariants. An account (per provider and livemode) has at most one route over all workspaces. A route is of
 * the environment of its workspace: live events go to prod only. A route always has a secret. Whose events it takes
 * (provider, account, livemode) never changes: a route is made and deleted, so that what is bound to its id stays
 * true. What it does with them may change; its version rises with every change. The events of a paused route are held.
 * Who knows a route's id without its secret can do nothing with it.
 */
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import type { Notifications } from '../../platform/db/notifications.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { lockWorkspace, requireRoom } from '../workspaces/workspaces.ts'
import {
  notFound,
  type RouteDeps,
  requireOtherValues,
  requireOwnSecrets,
  requireValid,
} from './change-route.ts'
import type { RouteSettings, WebhookRoute } from './route.ts'
import { type RouteDirectory, startRouteDirectory } from './route-directory.ts'
import { rowOf, toRoute } from './route-rows.ts'
import * as sql from './webhook-routes.sql.ts'

export { changeRoute, type RouteChanges, setRoutePaused } from './change-route.ts'
export { type RouteChecks, routeFaults } from './check-route.ts'
export { pauseRouteByHub } from './pause-by-hub.ts'
export {
  eventOnDelivery,
  type GapCheck,
  type Ordering,
  ROUTE_DEFAULTS,
  type RouteSettings,
  routeDelivers,
  type SecretWindow,
  type WebhookRoute,
} from './route.ts'
export type { RouteDirectory, RouteIndex } from './route-directory.ts'
export { fieldsOf, settingsOf } from './route-fields.ts'
export { takenAccounts } from './taken-accounts.ts'
export { RouteFields } from './webhook-routes.schema.ts'

/**
 * Makes a route. Errors: `validation_error` naming every field at fault; `conflict` when the account is
 * claimed (it does not say by whom) or when another own-account route uses one of the secrets, or one of that value.
 */
export async function createRoute(
  deps: RouteDeps,
  tenantId: string,
  settings: RouteSettings,
  change: Change,
): Promise<WebhookRoute> {
  await requireOtherValues(deps, tenantId, settings, change)
  const row = { ...rowOf(settings), tenant_id: tenantId, id: newId(), created_by: nameOf(change) }
  try {
    return await deps.db.transaction(async (tx) => {
      // Connectors and secret refs change under the same lock: what is checked here stays true until the commit.
      await lockWorkspace(tx, { id: tenantId })
      await requireValid(tx, deps, tenantId, settings, change)
      await requireRoom(tx, { tenantId, quota: 'webhook_routes' })
      const route = toRoute(await sql.insertRoute(tx, row))
      await requireOwnSecrets(tx, route)
      await recordAudit(tx, {
        ...change,
        tenantId,
        action: 'webhook_route.created',
        object: `webhook_route:${route.id}`,
        diff: [{ path: '', after: row }],
      })
      return route
    })
  } catch (error) {
    if (violatesUnique(error, 'webhook_route_claim_key'))
      throw new Problem('conflict', 'A webhook route claims this account already.')
    throw error
  }
}

/** As it is in the database now; undefined = it has gone, or is of another workspace. */
export async function findRoute(
  on: Queryable,
  tenantId: string,
  id: string,
): Promise<WebhookRoute | undefined> {
  const row = await sql.findRoute(on, { tenantId, id })
  return row && toRoute(row)
}

/** Errors: `not_found`, also for a route of another workspace. */
export async function getRoute(on: Queryable, tenantId: string, id: string): Promise<WebhookRoute> {
  const route = await findRoute(on, tenantId, id)
  if (!route) throw notFound()
  return route
}

/** Newest first. */
export const listRoutes = async (on: Queryable, filter: sql.RouteFilter): Promise<WebhookRoute[]> =>
  (await sql.listRoutes(on, filter)).map(toRoute)

/** How many events of a route are held, counted up to `most`. */
export type HeldOf = (
  tx: Tx,
  tenantId: string,
  routeId: string,
) => Promise<{ readonly events: number; readonly most: number }>

/**
 * Removes a route: its events are refused from now on; what was accepted is still delivered, what was held as well. With
 * `heldOf` it is refused while events are held, because nothing keeps them back any more. Errors: `not_found`, `conflict`.
 */
export async function deleteRoute(
  db: Db,
  tenantId: string,
  id: string,
  change: Change,
  heldOf?: HeldOf,
): Promise<void> {
  await db.transaction(async (tx) => {
    const row = await sql.deleteRoute(tx, { tenantId, id })
    if (!row) throw notFound()
    const held = await heldOf?.(tx, tenantId, id)
    if (held && held.events > 0)
      throw new Problem(
        'conflict',
        `The route holds ${held.events >= held.most ? 'at least ' : ''}${held.events} events, which are delivered to ${row.connector} once it is gone: with \`held=deliver\` it is deleted all the same.`,
        { members: { held_events: held.events } },
      )
    const { created_at, ...before } = row
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'webhook_route.deleted',
      object: `webhook_route:${id}`,
      diff: [{ path: '', before: { ...before, created_at: created_at.toISOString() } }],
    })
  })
}

/** How long a lost hint can go unnoticed for senders that the memory still knows. */
const POLL_MS = 2_000

/** The directory of one process over the routes of all workspaces. Close it before the database. */
export const createRouteDirectory = (deps: {
  readonly db: Queryable
  readonly notifications: Pick<Notifications, 'listen'>
  readonly clock: Clock
  readonly log: Log
}): RouteDirectory =>
  startRouteDirectory({
    db: deps.db,
    clock: deps.clock,
    pollMs: POLL_MS,
    onHint: (handle) => deps.notifications.listen('orchestrator_webhook_routes', handle),
    onFailure: (error) => deps.log.warn({ err: error }, 'the webhook routes could not be read'),
    readGeneration: async (on) => (await sql.generation(on, {})).number,
    readRoutes: async (on) => (await sql.allRoutes(on, {})).map(toRoute),
  })

/** What a secret ref is needed for, as `webhook_route:<id>`: such a ref cannot be deleted. */
export const routesOfSecret = async (on: Queryable, tenantId: string, name: string): Promise<string[]> =>
  (await sql.idsBySecret(on, { tenantId, name })).map(({ id }) => `webhook_route:${id}`)

/** The callback connectors that the workspace's routes deliver to: such a connector must stay. */
export const routeDeliveries = async (
  on: Queryable,
  tenantId: string,
): Promise<{ readonly connector: string; readonly by: string }[]> =>
  (await sql.targets(on, { tenantId })).map(({ id, connector }) => ({ connector, by: `webhook_route:${id}` }))
