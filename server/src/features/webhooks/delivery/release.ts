import type { Db } from '../../../platform/db/db.ts'
import { failPoint } from '../../../platform/fail-points.ts'
import type { Platform } from '../../../platform/platform.ts'
import type { WakeUp } from '../../../queue/wake-up.ts'
import { findRoute, type WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { deliverKeptEvents } from '../intake/lines.ts'
import { type DeliveryTarget, deliveryOfRow } from './delivery.ts'
import {
  FIRST_GROUP,
  type HeldGroupRow,
  type HeldSelection,
  type KeptRow,
  listHeldGroups,
  lockRelease,
  oldestHeld,
} from './held.sql.ts'
import { aloneOf, type Way, type WayDeps, waysOf } from './held-ways.ts'

export interface ReleaseDeps extends WayDeps {
  readonly platform: Pick<Platform, 'log' | 'metrics'> & { readonly db: Db }
  readonly wakeUp: Pick<WakeUp, 'hint'>
}

/** Routes that one round looks at; the next round goes on behind them. */
const GROUPS = 1_000
/** Events per transaction. */
const BATCH = 200
/** Transactions per route and round: a backlog of hours must not keep routes that are resumed meanwhile from being seen. */
const BATCHES = 25

/** A way that is free. */
interface Going {
  readonly way: Way
  readonly route: WebhookRoute | undefined
  readonly target: DeliveryTarget
  readonly afterId: string
}

const FIRST_ID = '00000000-0000-0000-0000-000000000000'

/**
 * Makes one round of the release: of the next thousand routes that hold events, those whose cause is gone give their
 * events to deliveries, oldest first, each batch in one transaction with its jobs and events. The rounds go around all
 * routes: those that wait for long keep nobody else from being looked at. Gives whether more could be released at once.
 *
 * One worker does it for all, but any number may do it at once, and one that dies in the middle leaves its batch held.
 * Of an event whose route is gone, what was accepted is still delivered, to the connector that it came for.
 */
export function createRelease(
  deps: ReleaseDeps,
  groupsPerRound: number = GROUPS,
): (stopping: AbortSignal) => Promise<{ readonly more: boolean }> {
  const { db, log, metrics } = deps.platform
  const released = metrics.counter('webhooks_released_total', 'Events that were held and got their delivery')
  let after = FIRST_GROUP

  const nextGroups = async (): Promise<readonly HeldGroupRow[]> => {
    const groups = await listHeldGroups(db, { after, limit: groupsPerRound })
    after = groups.length < groupsPerRound ? FIRST_GROUP : (groups.at(-1) ?? FIRST_GROUP)
    return groups
  }

  /** The ways of a route that are free, with the route as it is in the database now. */
  const goingOf = async (group: HeldGroupRow): Promise<Going[]> => {
    const ways = (await waysOf(deps, group)).filter(({ why }) => why === undefined)
    if (ways.length === 0) return []
    const route = await findRoute(db, group.tenant_id, group.route_id)
    // It was paused, deleted or given another connector in this moment: the next look tells.
    if (group.paused === null ? route : !route || route.paused || route.connector !== group.connectors[0])
      return []
    return ways.flatMap((way) => (way.target ? [{ way, route, target: way.target, afterId: FIRST_ID }] : []))
  }

  /** Gives the last event that was looked at, when there may be more behind it. */
  const releaseBatch = async ({ way, route, target, afterId }: Going): Promise<string | undefined> => {
    const batch = await db.transaction(async (tx) => {
      if (!(await lockRelease(tx, way.group)).locked) return undefined
      const rows = await oldestHeld(tx, { ...selectionOf(way, BATCH), afterId })
      const { moved, lanes } = await deliverKeptEvents(
        tx,
        rows.map((row) => keptDelivery(way, route, target, row)),
      )
      failPoint('webhooks.release')
      return { moved: moved.length, lanes, lastId: rows.length === BATCH ? rows.at(-1)?.id : undefined }
    })
    if (!batch) return undefined
    deps.wakeUp.hint(batch.lanes)
    released.inc(batch.moved)
    return batch.lastId
  }

  /** One batch of each route in turn: a route with many does not keep the others waiting. */
  return async (stopping) => {
    let open: Going[] = []
    for (const group of await nextGroups())
      open.push(...((await aloneOf(log, group, () => goingOf(group))) ?? []))
    if (open.length > 0)
      log.info({ routes: open.length }, 'held webhooks are released: what they waited for is over')
    for (let batch = 0; batch < BATCHES && open.length > 0 && !stopping.aborted; batch += 1) {
      const left: Going[] = []
      for (const each of open) {
        const afterId = await aloneOf(log, each.way.group, () => releaseBatch(each))
        if (afterId !== undefined) left.push({ ...each, afterId })
      }
      open = left
    }
    return { more: open.length > 0 }
  }
}

const selectionOf = ({ group, connector }: Way, limit: number): HeldSelection => ({
  tenantId: group.tenant_id,
  routeId: group.route_id,
  connector: group.paused === null ? connector : null,
  limit,
})

const keptDelivery = (
  { group, connector }: Way,
  route: WebhookRoute | undefined,
  target: DeliveryTarget,
  row: KeptRow,
) => ({
  job: deliveryOfRow(row, {
    ...{ route, connector, target, tenantId: group.tenant_id, routeId: group.route_id },
    requestId: row.request_id,
  }),
  routeId: group.route_id,
  // An event that has a place in a line keeps it; the others came when the route had no order.
  line: undefined,
  why: 'What the event waited for is over: it is to be delivered.',
})
