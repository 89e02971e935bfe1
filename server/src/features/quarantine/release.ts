import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import type { RouteDirectory } from '../webhook-routes/webhook-routes.ts'
import { type AcceptEvents, type EventToTake, eventToTake, gotInByRelease } from '../webhooks/webhooks.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import * as sql from './quarantine.sql.ts'
import { requestOf } from './verify-again.ts'

export interface ReleaseDeps {
  readonly db: Db
  readonly routes: Pick<RouteDirectory, 'refresh'>
  readonly acceptEvents: AcceptEvents
}

/** Where each event of a request goes, and by what right. */
export interface Decision {
  readonly copy: sql.KeptCopy
  readonly events: readonly Pick<EventToTake, 'event' | 'route' | 'evidence'>[]
  readonly action: 'quarantine.released' | 'quarantine.assigned'
  /** Claims of other workspaces that a person has decided against. */
  readonly against?: readonly OverruledClaim[]
}

export interface OverruledClaim {
  readonly tenantId: string
  readonly routeId: string
  readonly account: string
}

export const notFound = (): Problem => new Problem('not_found', 'There is no such webhook in the quarantine.')

/** What a caller may know of where it went: a workspace knows where it is itself. */
export const whereTo = (tenantId: string, targets: readonly sql.Target[]) =>
  targets.map(({ tenant_id, route_id, event_id, inbox_id, duplicate }) => ({
    ...(tenantId === NO_WORKSPACE && { workspace_id: tenant_id }),
    ...{ route_id, event_id, inbox_id, duplicate },
  }))

/** Why nothing more can be done with it, and where it went. */
export function notKept({ tenant_id, state, expired, targets }: sql.QuarantineRow): Problem {
  const now = expired ? 'expired' : state
  return new Problem('conflict', `The webhook is not kept in quarantine any more: it is ${now}.`, {
    members: { state: now, ...(targets && { released_to: whereTo(tenant_id, targets) }) },
  })
}

const isSamePlace = (a: readonly sql.Target[], b: readonly sql.Target[]): boolean =>
  a.length === b.length &&
  a.every(({ route_id, event_id }, at) => route_id === b[at]?.route_id && event_id === b[at].event_id)

/**
 * Writes down where it goes, before anything goes there: from then on it goes nowhere else, whoever asks and whatever
 * breaks. Gives what is bound. Errors: `not_found`, `conflict`.
 */
async function bind(
  tx: Tx,
  key: sql.RowKey,
  targets: readonly sql.Target[],
  { action, change, against = [] }: Pick<Decision, 'action' | 'against'> & { readonly change: Change },
): Promise<readonly sql.Target[]> {
  const row = await sql.lockRow(tx, key)
  if (!row) throw notFound()
  if (row.state === 'releasing' && row.targets && isSamePlace(row.targets, targets)) return row.targets
  const bound = await sql.bind(tx, { ...key, targets, by: nameOf(change), why: change.reason })
  if (bound === 0) throw notKept(row)
  await tell(tx, key, targets, { action, change, against, before: 'kept', after: 'released' })
  return targets
}

/** In the log of whoever had it, and in those of the workspaces that get it. */
async function tell(
  tx: Tx,
  { tenantId, id }: sql.RowKey,
  targets: readonly sql.Target[],
  entry: {
    readonly action: string
    readonly change: Change
    readonly before: string
    readonly after: string
    readonly against?: readonly OverruledClaim[]
  },
): Promise<void> {
  const { action, change, before, after, against = [] } = entry
  const getters = targets.map((target) => target.tenant_id)
  const losers = against.map((claim) => claim.tenantId)
  for (const chain of [...new Set([tenantId, ...getters, ...losers])].sort()) {
    if (chain !== tenantId && !getters.includes(chain)) {
      await recordAudit(tx, { ...change, ...overruled(chain, id, against) })
      continue
    }
    const ofChain = targets.filter((target) => chain === tenantId || chain === target.tenant_id)
    await recordAudit(tx, {
      ...change,
      tenantId: chain,
      action,
      object: `quarantine:${id}`,
      diff: [
        { path: '/state', before, after },
        { path: '/targets', after: ofChain.map(({ route_id, event_id }) => ({ route_id, event_id })) },
        // Who has the claim is for the platform only.
        ...(against.length > 0
          ? [{ path: '/despite_claim', after: chain === tenantId ? [...against] : true }]
          : []),
      ],
    })
  }
}

/** For the log of who has the claim: which account of which of its routes, and not who got it. */
const overruled = (tenantId: string, id: string, against: readonly OverruledClaim[]) => ({
  tenantId,
  action: 'quarantine.claim_overruled',
  object: `quarantine:${id}`,
  diff: against
    .filter((claim) => claim.tenantId === tenantId)
    .map(({ routeId, account }) => ({ path: '/claim', before: { route_id: routeId, account } })),
})

/**
 * Releases it into the inboxes of its routes. Only whole: when one of its routes has gone meanwhile it is kept as before.
 * What breaks in the middle leaves it `releasing`, and the next call goes on. An event that has arrived by itself
 * meanwhile is a duplicate there. Errors: `not_found`, `conflict`, those of `AcceptEvents`.
 */
export async function release(
  deps: ReleaseDeps,
  row: sql.QuarantineContents,
  { copy, events, action, against }: Decision,
  change: Change,
): Promise<readonly sql.Target[]> {
  const targets = events.map(({ event, route, evidence }) => ({
    ...{ tenant_id: route.tenantId, route_id: route.id, event_id: event.eventId },
    secret_ref: evidence?.secretRef ?? null,
    secret_fingerprint: evidence?.secretFingerprint ?? null,
    ...{ copy_at: copy.at, inbox_id: null, duplicate: null },
  }))
  const key = { tenantId: row.tenant_id, id: row.id }
  const bound = await deps.db.transaction((tx) =>
    bind(tx, key, targets, { action, change, ...(against && { against }) }),
  )
  return bring(deps, row, bound, change)
}

/** Brings what is bound to where it is bound. Errors: `conflict` when a route has gone, those of `AcceptEvents`. */
export async function bring(
  { db, routes, acceptEvents }: ReleaseDeps,
  row: sql.QuarantineContents,
  targets: readonly sql.Target[],
  change: Change,
): Promise<readonly sql.Target[]> {
  const key = { tenantId: row.tenant_id, id: row.id }
  const events = eventsOf(row, targets, await routes.refresh())
  const taken = events && (await acceptEvents(events))
  if (!taken?.every((each) => each !== undefined)) {
    await db.transaction(async (tx) => {
      if ((await sql.unbind(tx, key)) === 0) return
      const back = { action: 'quarantine.release_undone', before: 'released', after: 'kept' }
      await tell(tx, key, targets, { ...back, change })
    })
    throw new Problem('conflict', 'A webhook route that takes it has gone meanwhile. The webhook is kept.')
  }
  const there: sql.Target[] = []
  for (const [at, target] of targets.entries()) {
    const one = taken[at]
    if (!one) throw new Error('not every event was taken')
    const inboxRow = { tenantId: target.tenant_id, inboxId: one.inboxId, requestId: row.request_id }
    // Somebody else may have brought it there in the same moment, or this is the second try: that makes no duplicate.
    const duplicate = one.duplicate && !(await gotInByRelease(db, inboxRow))
    there.push({ ...target, inbox_id: one.inboxId, duplicate })
  }
  await sql.finish(db, { ...key, targets: there, by: nameOf(change), why: change.reason })
  return there
}

/** Undefined when a route has gone, or reads the bytes differently now. */
function eventsOf(
  row: sql.QuarantineContents,
  targets: readonly sql.Target[],
  routes: Awaited<ReturnType<RouteDirectory['refresh']>>,
): EventToTake[] | undefined {
  const copy = row.copies?.find(({ at }) => at === targets[0]?.copy_at)
  const request = copy && requestOf(row, copy)
  if (!request) return undefined
  // The trace of the request that brought it leads on to what comes of it.
  const call = {
    ...{ requestId: row.request_id, correlationId: row.correlation_id, traceId: row.trace_id },
    traceparent: '',
  }
  const events = targets.map(({ route_id, event_id, secret_ref, secret_fingerprint }) => {
    const route = routes.byId(row.provider, route_id)
    const event =
      route &&
      request.provider
        .events(request.parsed, request.signed, route.settings)
        .find(({ eventId }) => eventId === event_id)
    if (!route || !event) return undefined
    const evidence =
      secret_ref === null || secret_fingerprint === null
        ? null
        : { secretRef: secret_ref, secretFingerprint: secret_fingerprint }
    return eventToTake(request, { event, route, evidence }, { call, source: 'released' })
  })
  return events.every((event) => event !== undefined) ? events : undefined
}
