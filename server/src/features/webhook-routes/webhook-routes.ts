/**
 * Webhook routes: which workspace, connector and signing secrets belong to an account of a provider.
 *
 * Invariants. An account (per provider and livemode) has at most one route over all workspaces. A route is of
 * the environment of its workspace: live events go to prod only. A route always has a secret. The binding
 * never changes: a route is made and deleted, so that what is bound to its id stays true. Who knows a route's id
 * without its secret can do nothing with it.
 */
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { violatesUnique } from '../../platform/db/failures.ts'
import type { Notifications } from '../../platform/db/notifications.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import type { Log } from '../../platform/log.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { reservedNameFault } from '../reserved-names/reserved-names.ts'
import { lockWorkspace, requireRoom, type WorkspaceDirectory } from '../workspaces/workspaces.ts'
import type { RouteSettings, WebhookRoute } from './route.ts'
import { type RouteDirectory, startRouteDirectory } from './route-directory.ts'
import * as sql from './webhook-routes.sql.ts'

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

/** What the rules for a new route ask of other features. */
export interface RouteChecks {
  readonly isProvider: (name: string) => boolean
  /** The kind of a connector in the active config of the workspace; undefined = no such connector. */
  readonly connectorKind: (on: Queryable, tenantId: string, connector: string) => Promise<string | undefined>
  /** Names of the workspace's secret refs. */
  readonly secretNames: (on: Queryable, tenantId: string) => Promise<ReadonlySet<string>>
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
}

const toRoute = (row: sql.RouteRow): WebhookRoute => ({
  id: row.id,
  tenantId: row.tenant_id,
  provider: row.provider,
  account: row.account,
  livemode: row.livemode,
  connector: row.connector,
  secretRefs: row.secret_refs,
  queue: row.queue,
  eventTypes: row.event_types,
  emitOnDelivery: row.emit_on_delivery.map(({ event_types, event }) => ({ eventTypes: event_types, event })),
  secretWindows: row.secret_windows.map(({ secret_ref, valid_from, valid_until }) => ({
    secretRef: secret_ref,
    validFrom: valid_from === null ? null : new Date(valid_from),
    validUntil: valid_until === null ? null : new Date(valid_until),
  })),
  settings: row.settings,
  ordering: row.ordering && { key: row.ordering.key, limitMs: row.ordering.limit_ms },
  gapCheck: row.gap_check && {
    connector: row.gap_check.connector,
    pull: row.gap_check.pull,
    everySeconds: row.gap_check.every_seconds,
    settings: row.gap_check.settings,
  },
  // The three go together, by a check of the table.
  paused: row.paused_at && { at: row.paused_at, by: row.paused_by ?? '', why: row.paused_why ?? '' },
  version: row.version,
  createdAt: row.created_at,
  createdBy: row.created_by,
})

async function faultsOf(
  on: Queryable,
  checks: RouteChecks,
  { tenantId, environment }: { readonly tenantId: string; readonly environment: string | undefined },
  route: RouteSettings,
): Promise<ProblemDetail[]> {
  const kind = await checks.connectorKind(on, tenantId, route.connector)
  const secrets = await checks.secretNames(on, tenantId)
  const faults: (ProblemDetail | false)[] = [
    !checks.isProvider(route.provider) && {
      path: '/body/provider',
      message: 'is not a webhook provider of this hub',
    },
    route.livemode !== (environment === 'prod') && {
      path: '/body/livemode',
      message: `must be ${environment === 'prod'} in a workspace of ${environment}`,
    },
    kind !== 'callback' && {
      path: '/body/connector',
      message:
        kind === undefined
          ? 'is not a connector of the active config'
          : `must be of kind callback, not ${kind}`,
    },
    ...route.secretRefs.map(
      (name, at) =>
        !secrets.has(name) && {
          path: `/body/secret_refs/${at}`,
          message: 'is not a secret ref of this workspace',
        },
    ),
  ]
  return faults.filter((fault) => fault !== false)
}

/**
 * Makes a route. Errors: `validation_error` naming every field at fault; `conflict` when the account is
 * claimed (it does not say by whom) or when another own-account route uses one of the secrets.
 */
export async function createRoute(
  deps: { readonly db: Db; readonly checks: RouteChecks },
  tenantId: string,
  settings: RouteSettings,
  change: Change,
): Promise<WebhookRoute> {
  const environment = (await deps.checks.workspaces.find(tenantId))?.environment
  const row = {
    tenant_id: tenantId,
    id: newId(),
    provider: settings.provider,
    account: settings.account,
    livemode: settings.livemode,
    connector: settings.connector,
    secret_refs: settings.secretRefs,
    queue: settings.queue,
    event_types: settings.eventTypes,
    emit_on_delivery: settings.emitOnDelivery.map(({ eventTypes, event }) => ({
      event_types: eventTypes,
      event,
    })),
    created_by: nameOf(change),
    secret_windows: settings.secretWindows.map(({ secretRef, validFrom, validUntil }) => ({
      secret_ref: secretRef,
      valid_from: validFrom?.toISOString() ?? null,
      valid_until: validUntil?.toISOString() ?? null,
    })),
    settings: settings.settings,
    ordering: settings.ordering && { key: settings.ordering.key, limit_ms: settings.ordering.limitMs },
    gap_check: settings.gapCheck && {
      connector: settings.gapCheck.connector,
      pull: settings.gapCheck.pull,
      every_seconds: settings.gapCheck.everySeconds,
      settings: settings.gapCheck.settings,
    },
  }
  try {
    return await deps.db.transaction(async (tx) => {
      // Connectors and secret refs change under the same lock: what is checked here stays true until the commit.
      await lockWorkspace(tx, { id: tenantId })
      const reserved = reservedNameFault(settings.connector, change.actor)
      const details = [
        ...(reserved === undefined ? [] : [{ path: '/body/connector', message: reserved }]),
        ...(await faultsOf(tx, deps.checks, { tenantId, environment }, settings)),
      ]
      if (details.length > 0)
        throw new Problem('validation_error', 'The webhook route is not valid.', { details })
      await requireRoom(tx, { tenantId, quota: 'webhook_routes' })
      const route = toRoute(await sql.insertRoute(tx, row))
      if (route.account === null && (await sql.findRouteWithSameSecret(tx, row)))
        throw new Problem(
          'conflict',
          'Another route for the own account of this provider uses one of the secrets.',
        )
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

const notFound = (): Problem => new Problem('not_found', 'There is no such webhook route.')

/** Errors: `not_found`, also for a route of another workspace. */
export async function getRoute(on: Queryable, tenantId: string, id: string): Promise<WebhookRoute> {
  const row = await sql.findRoute(on, { tenantId, id })
  if (!row) throw notFound()
  return toRoute(row)
}

/** Newest first. */
export const listRoutes = async (on: Queryable, filter: sql.RouteFilter): Promise<WebhookRoute[]> =>
  (await sql.listRoutes(on, filter)).map(toRoute)

/** Removes a route: its events are refused from now on; what was accepted is still delivered. Errors: `not_found`. */
export async function deleteRoute(db: Db, tenantId: string, id: string, change: Change): Promise<void> {
  await db.transaction(async (tx) => {
    const row = await sql.deleteRoute(tx, { tenantId, id })
    if (!row) throw notFound()
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
