/**
 * The door of the webhook gaps feature: events that a provider lists and that never arrived.
 *
 * A route with a `gapCheck` is checked by a worker every so often: the provider's own list of what it could not deliver
 * is read through a connector of the workspace and held against what the inbox ever had. What is missing becomes a
 * gap: `missing`, until it is `pulled` (fetched and taken as if it had arrived), has `arrived` by itself, or somebody
 * has `dismissed` it.
 *
 * Invariants. A check looks at every moment since the route was made, once: its place commits with what was found, and
 * a failure, a restart or a second worker neither skips nor repeats. An event has at most one gap for each route, and
 * what is pulled goes through the same dedupe key as what arrives, so that nothing is taken twice.
 */
import type { Db } from '../../platform/db/db.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { getRoute } from '../webhook-routes/webhook-routes.ts'
import * as checksSql from './gap-checks.sql.ts'
import * as sql from './webhook-gaps.sql.ts'

export { gapCheckFaults } from './check-settings.ts'
export type { CheckRow } from './gap-checks.sql.ts'
export type { GapRow } from './webhook-gaps.sql.ts'

/** Newest first. */
export const listGaps = sql.listGaps
export const listChecks = checksSql.listChecks

const notFound = (): Problem => new Problem('not_found', 'There is no such webhook gap.')

/** As many as one call can ask for; the next call takes the others. */
const MAX_WANTED = 1_000

/** Makes the check of a route due at once. Errors: `not_found`; `conflict` for a route without one. */
export async function callForCheck(
  db: Db,
  { tenantId, routeId }: checksSql.CheckKey,
  change: Change,
): Promise<void> {
  const route = await getRoute(db, tenantId, routeId)
  await db.transaction(async (tx) => {
    if ((await checksSql.callForCheck(tx, { tenantId, routeId: route.id })) === 0)
      throw new Problem('conflict', 'The webhook route has no gap check.')
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'webhook_gap.check_requested',
      object: `webhook_route:${routeId}`,
    })
  })
}

/**
 * Has missing events pulled in: those with these ids, or of this route the oldest; how many will be, at most a thousand. What is not
 * missing (any more) is left as it is. Errors: `not_found` for a route or a gap that is not there.
 */
export async function wantPulled(
  db: Db,
  of: {
    readonly tenantId: string
    readonly ids?: readonly string[] | undefined
    readonly routeId?: string | undefined
  },
  change: Change,
): Promise<number> {
  const { tenantId, ids, routeId } = of
  if (routeId !== undefined) await getRoute(db, tenantId, routeId)
  return db.transaction(async (tx) => {
    if (ids && (await sql.countGaps(tx, { tenantId, ids })).known < ids.length) throw notFound()
    const wanted = await sql.wantPulled(tx, {
      ...{ tenantId, ids, routeId },
      limit: MAX_WANTED,
      by: nameOf(change),
      why: change.reason,
    })
    if (wanted.length === 0) return 0
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'webhook_gap.pull_requested',
      object: routeId === undefined ? 'webhook_gaps' : `webhook_route:${routeId}`,
      diff: [
        { path: '', after: { requested: wanted.length, ids: wanted.slice(0, 100).map(({ id }) => id) } },
      ],
    })
    return wanted.length
  })
}

/** Says that a missing event is not wanted. Errors: `not_found`; `conflict` when it is not missing any more. */
export async function dismissGap(db: Db, { tenantId, id }: sql.GapKey, change: Change): Promise<sql.GapRow> {
  return db.transaction(async (tx) => {
    const before = await sql.findGap(tx, { tenantId, id })
    if (!before) throw notFound()
    const end = { state: 'dismissed', inboxId: null, by: nameOf(change), why: change.reason } as const
    if ((await sql.endGap(tx, { tenantId, id, ...end })) === 0)
      throw new Problem('conflict', 'The event is not missing any more.')
    const after = await sql.findGap(tx, { tenantId, id })
    if (!after) throw new Error('a gap is gone in its own transaction')
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'webhook_gap.dismissed',
      object: `webhook_gap:${id}`,
      diff: [{ path: '/state', before: before.state, after: after.state }],
    })
    return after
  })
}
