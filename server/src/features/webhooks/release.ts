import type { Db } from '../../platform/db/db.ts'
import { isTransient } from '../../platform/db/failures.ts'
import { failPoint } from '../../platform/fail-points.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import type { LaneKey } from '../../queue/job.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import { getRoute, type WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { type DeliveryTarget, deliveryOf } from './delivery.ts'
import {
  connectorsOfHeld,
  type HeldGroup,
  type HeldSelection,
  type KeptRow,
  listHeldGroups,
  lockRelease,
  oldestHeld,
  tellOtherCause,
} from './held.sql.ts'
import { deliverKeptEvents } from './lines.ts'
import { type HeldWhy, whyHeld } from './reception.ts'

export interface ReleaseDeps {
  readonly platform: Pick<Platform, 'log' | 'metrics'> & { readonly db: Db }
  readonly workspaces: Pick<WorkspaceDirectory, 'find'>
  /** Of kind callback, in the active config; undefined = there is none that this hub can use. */
  readonly activeConnector: (tenantId: string, connector: string) => Promise<DeliveryTarget | undefined>
  readonly wakeUp: Pick<WakeUp, 'hint'>
}

/** Routes that one round looks at; more are found by the next one. */
const GROUPS = 1_000
/** Events per transaction. */
const BATCH = 200

/** Where the held events of a route go, if nothing is in the way. */
interface Way {
  readonly group: HeldGroup
  readonly route: WebhookRoute | undefined
  readonly connector: string
  readonly target: DeliveryTarget | undefined
  readonly why: HeldWhy | undefined
}

/** A way that is free. */
interface Going {
  readonly way: Way
  readonly target: DeliveryTarget
  readonly afterId: string
}

const FIRST_ID = '00000000-0000-0000-0000-000000000000'

/**
 * Makes one round of the release: the held events of every route whose cause is gone get their delivery, oldest first,
 * each batch in one transaction with its jobs and events. Any number of workers may do it at once, and one that dies in
 * the middle leaves its batch held. Of an event whose route is gone, what was accepted is still delivered, to the
 * connector that it came for.
 */
export function createRelease(deps: ReleaseDeps): (stopping: AbortSignal) => Promise<void> {
  const { db, log, metrics } = deps.platform
  const released = metrics.counter('webhooks_released_total', 'Events that were held and got their delivery')

  const waysOf = async (group: HeldGroup): Promise<Way[]> => {
    const { tenant_id: tenantId, route_id: routeId } = group
    const route = await routeOf(db, group)
    const names = route
      ? [route.connector]
      : (await connectorsOfHeld(db, { tenantId, routeId })).map(({ connector }) => connector)
    const workspace = await deps.workspaces.find(tenantId)
    return Promise.all(
      names.map(async (connector) => {
        const target = await deps.activeConnector(tenantId, connector)
        const why = whyHeld({ route: { paused: route?.paused ?? null }, connector: target, workspace })
        return { group, route, connector, target, why }
      }),
    )
  }

  /** Gives the last event that was looked at, when there may be more behind it. */
  const releaseBatch = async ({ way, target, afterId }: Going): Promise<string | undefined> => {
    const batch = await db.transaction(async (tx) => {
      if (!(await lockRelease(tx, way.group)).locked) return undefined
      const rows = await oldestHeld(tx, { ...selectionOf(way, BATCH), afterId })
      const { moved, lanes } = await deliverKeptEvents(
        tx,
        rows.map((row) => keptDelivery(way, target, row)),
      )
      failPoint('webhooks.release')
      return { moved: moved.length, lanes, lastId: rows.length === BATCH ? rows.at(-1)?.id : undefined }
    })
    if (!batch) return undefined
    hint(batch.lanes)
    released.inc(batch.moved)
    return batch.lastId
  }
  /** What is wrong with one route keeps no other from its release; a database in trouble ends the round. */
  const alone = async <T>(group: HeldGroup, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work()
    } catch (err) {
      if (isTransient(err)) throw err
      log.error({ err, ...group }, 'the held webhooks of a route could not be released')
      return undefined
    }
  }
  const hint = (lanes: readonly LaneKey[]): void => deps.wakeUp.hint(lanes)

  /** One batch of each route in turn: a route with many does not keep the others waiting. */
  return async (stopping) => {
    const groups = await listHeldGroups(db, { limit: GROUPS })
    const ways: Way[] = []
    // One after the other: there may be a thousand, and each asks the database.
    for (const group of groups) ways.push(...((await alone(group, () => waysOf(group))) ?? []))
    for (const way of ways)
      if (way.why) await tellOtherCause(db, { ...selectionOf(way, 5 * BATCH), why: way.why })
    let open: Going[] = ways.flatMap((way) =>
      way.why === undefined && way.target ? [{ way, target: way.target, afterId: FIRST_ID }] : [],
    )
    if (open.length > 0)
      log.info({ routes: open.length }, 'held webhooks are released: what they waited for is over')
    while (open.length > 0 && !stopping.aborted) {
      const left: Going[] = []
      for (const each of open) {
        const afterId = await alone(each.way.group, () => releaseBatch(each))
        if (afterId !== undefined) left.push({ ...each, afterId })
      }
      open = left
    }
  }
}

const selectionOf = ({ group, route, connector }: Way, limit: number): HeldSelection => ({
  tenantId: group.tenant_id,
  routeId: group.route_id,
  connector: route ? null : connector,
  limit,
})

/** As it is in the database now, whatever the memory says. */
async function routeOf(db: Db, { tenant_id, route_id }: HeldGroup): Promise<WebhookRoute | undefined> {
  try {
    return await getRoute(db, tenant_id, route_id)
  } catch (error) {
    if (error instanceof Problem && error.code === 'not_found') return undefined
    throw error
  }
}

const keptDelivery = ({ group, route, connector }: Way, target: DeliveryTarget, row: KeptRow) => ({
  job: deliveryOf({
    event: {
      inboxId: row.id,
      provider: row.provider,
      eventId: row.event_id,
      eventType: row.event_type,
      account: row.account,
      livemode: row.livemode,
      occurredAt: row.occurred_at,
    },
    route,
    tenantId: group.tenant_id,
    routeId: group.route_id,
    connector,
    target,
    call: {
      requestId: row.request_id,
      correlationId: row.correlation_id,
      traceId: row.trace_id,
      // Goes on with the trace of the request that brought the event; the span of the wait is nobody's.
      traceparent: `00-${row.trace_id}-${newId().replaceAll('-', '').slice(-16)}-01`,
    },
  }),
  routeId: group.route_id,
  // An event that has a place in a line keeps it; the others came when the route had no order.
  line: undefined,
  why: 'What the event waited for is over: it is to be delivered.',
})
