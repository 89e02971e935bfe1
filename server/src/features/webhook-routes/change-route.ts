import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { reservedNameFault } from '../reserved-names/reserved-names.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import { type RouteChecks, routeFaults } from './check-route.ts'
import type { RouteSettings, WebhookRoute } from './route.ts'
import { rowOf, type SettingsRow, toRoute } from './route-rows.ts'
import * as sql from './webhook-routes.sql.ts'

export const notFound = (): Problem => new Problem('not_found', 'There is no such webhook route.')

/** Everything of a route but whose events it takes. */
export type RouteChanges = Partial<Omit<RouteSettings, 'provider' | 'account' | 'livemode'>>

export interface RouteTarget {
  readonly tenantId: string
  readonly id: string
  /** The version of the route that the caller saw; `*` = whatever is there, undefined = it says nothing. */
  readonly seen: number | '*' | undefined
}

export interface RouteDeps {
  readonly db: Db
  /** `done`: the caller has checked the route itself, under the lock of the workspace. */
  readonly checks: RouteChecks | 'done'
}

/** Refuses what is wrong with a route in its workspace. Under the lock of the workspace it stays true until the commit. */
export async function requireValid(
  tx: Tx,
  { checks }: RouteDeps,
  tenantId: string,
  route: RouteSettings,
  change: Change,
): Promise<void> {
  if (checks === 'done') return
  const names = [route.connector, ...(route.gapCheck ? [route.gapCheck.connector] : [])]
  const kinds = new Map<string, string | undefined>()
  for (const name of names) kinds.set(name, await checks.connectorKind(tx, tenantId, name))
  const reserved = reservedNameFault(route.connector, change.actor)
  const faults = [
    ...(reserved === undefined ? [] : [{ path: '/connector', message: reserved }]),
    ...routeFaults(route, {
      environment: (await checks.workspaces.find(tenantId))?.environment,
      providerFaults: checks.providerFaults,
      gapFaults: checks.gapFaults,
      kindOf: (name) => kinds.get(name),
      secrets: await checks.secretNames(tx, tenantId),
      said: { connectors: 'the active config', secrets: 'this workspace' },
    }),
  ]
  if (faults.length === 0) return
  const details = faults.map(({ path, message }) => ({ path: `/body${path}`, message }))
  throw new Problem('validation_error', 'The webhook route is not valid.', { details })
}

/** Two routes for the own account with one secret could never be told apart. Errors: `conflict`. */
export async function requireOwnSecrets(tx: Tx, route: WebhookRoute): Promise<void> {
  if (route.account !== null) return
  const { provider, livemode, id, tenantId: tenant_id, secretRefs: secret_refs } = route
  if (await sql.findRouteWithSameSecret(tx, { tenant_id, id, provider, livemode, secret_refs }))
    throw new Problem(
      'conflict',
      'Another route for the own account of this provider uses one of the secrets.',
    )
}

/**
 * The same under another name: two routes whose secrets have one value. Before the transaction, because stores are
 * asked, so it is a help against mistakes and no guarantee: values change without the route. Errors: `conflict` naming
 * the secret refs.
 */
export async function requireOtherValues(
  deps: RouteDeps,
  tenantId: string,
  settings: RouteSettings,
  change: Change,
  id?: string,
): Promise<void> {
  const { db, checks } = deps
  const { provider, livemode, account, secretRefs } = settings
  if (checks === 'done' || !checks.fingerprintsOf || account !== null) return
  const others = await sql.ownAccountSecrets(db, { tenantId, provider, livemode, id })
  const theirs = new Set(others.flatMap(({ secret_refs }) => secret_refs))
  if (theirs.size === 0) return
  const values = await checks.fingerprintsOf(tenantId, [...new Set([...secretRefs, ...theirs])])
  const used = new Set([...theirs].flatMap((name) => values.get(name) ?? []))
  const details = secretRefs.flatMap((name, at) =>
    !theirs.has(name) && values.get(name)?.some((value) => used.has(value))
      ? [{ path: `/body/secret_refs/${at}`, message: 'has the same value as a secret of that route' }]
      : [],
  )
  if (details.length === 0) return
  // What is wrong with the request is told before what it meets.
  await db.transaction((tx) => requireValid(tx, deps, tenantId, settings, change))
  throw new Problem(
    'conflict',
    'Another route for the own account of this provider verifies with the same value.',
    { details },
  )
}

/**
 * Changes what a route does, not whose events it takes. Says nothing new = changes nothing. Errors: `not_found`,
 * `precondition_required` and `version_mismatch` by the version that was seen, `validation_error` naming every field
 * at fault, `conflict` for a secret of another own-account route.
 */
export async function changeRoute(
  deps: RouteDeps,
  { tenantId, id, seen }: RouteTarget,
  changes: (route: WebhookRoute) => RouteChanges,
  change: Change,
): Promise<WebhookRoute> {
  const known = await sql.findRoute(deps.db, { tenantId, id })
  if (known) {
    const [now, next] = [toRoute(known), { ...toRoute(known), ...changes(toRoute(known)) }]
    if (next.secretRefs.some((name) => !now.secretRefs.includes(name)))
      await requireOtherValues(deps, tenantId, next, change, id)
  }
  return deps.db.transaction(async (tx) => {
    // Connectors and secret refs change under the same lock.
    await lockWorkspace(tx, { id: tenantId })
    const row = await sql.lockRoute(tx, { tenantId, id })
    if (!row) throw notFound()
    const before = toRoute(row)
    const wanted = { ...before, ...changes(before) }
    await requireValid(tx, deps, tenantId, wanted, change)
    const diff = diffOf(rowOf(before), rowOf(wanted))
    requireSeen(before.version, seen, diff.length > 0)
    if (diff.length === 0) return before
    await requireOwnSecrets(tx, wanted)
    const after = toRoute(await sql.updateRoute(tx, { ...rowOf(wanted), tenant_id: tenantId, id }))
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'webhook_route.changed',
      object: `webhook_route:${id}`,
      diff,
    })
    return after
  })
}

const diffOf = (before: SettingsRow, after: SettingsRow) =>
  (Object.keys(after) as (keyof SettingsRow)[])
    .filter((name) => JSON.stringify(before[name]) !== JSON.stringify(after[name]))
    .map((name) => ({ path: `/${name}`, before: before[name], after: after[name] }))

function requireSeen(version: number, seen: number | '*' | undefined, changes: boolean): void {
  if (seen === undefined && changes)
    throw new Problem('precondition_required', `The webhook route exists, in version ${version}.`, {
      members: { version },
    })
  if (typeof seen === 'number' && seen !== version)
    throw new Problem('version_mismatch', `The webhook route has version ${version}, not ${seen}.`, {
      members: { version },
    })
}

/**
 * Holds the events of a route from now on, or lets them go on. Again what it is already changes nothing, and the first
 * reason stays. Errors: `not_found`.
 */
export const setRoutePaused = (
  db: Db,
  { tenantId, id }: Omit<RouteTarget, 'seen'>,
  paused: boolean,
  change: Change,
): Promise<WebhookRoute> =>
  db.transaction(async (tx) => {
    const row = await sql.lockRoute(tx, { tenantId, id })
    if (!row) throw notFound()
    const before = toRoute(row)
    if ((before.paused !== null) === paused) return before
    const { reason, call } = change
    const by = nameOf(change)
    const after = toRoute(
      await sql.setPaused(tx, { tenantId, id, by: paused ? by : null, why: paused ? reason : null }),
    )
    const action = paused ? 'webhook_route.paused' : 'webhook_route.resumed'
    await appendEvents(tx, {
      events: [
        {
          tenant_id: tenantId,
          type: action,
          message: paused
            ? 'The events of a webhook route are held from now on.'
            : 'The events of a webhook route are delivered again.',
          connector: after.connector,
          request_id: call.requestId,
          correlation_id: call.correlationId,
          trace_id: call.traceId,
          data: { route_id: id, provider: after.provider, by, reason },
        },
      ],
    })
    const said = ({ paused: at }: WebhookRoute) => at && { by: at.by, why: at.why }
    await recordAudit(tx, {
      ...change,
      tenantId,
      action,
      object: `webhook_route:${id}`,
      diff: [{ path: '/paused', before: said(before), after: said(after) }],
    })
    return after
  })
