import { many, one } from '../../../platform/db/statement.ts'

export interface NewlyHeld {
  readonly tenant_id: string
  readonly id: string
  readonly job_id: string
  readonly why: string
}

export interface HeldRow {
  readonly tenant_id: string
  readonly id: string
  readonly job_id: string
  readonly held_why: string
  readonly route_id: string
  readonly connector: string
  readonly provider: string
  readonly event_id: string
  readonly event_type: string
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
}

/** Events whose delivery ends without one: they wait from now on. A row that has got a newer delivery stays as it is. */
export const holdEvents = many<{ readonly held: readonly NewlyHeld[] }, HeldRow>(
  'webhooks.hold_events',
  `update webhook_inbox i set state = 'held', held_why = h.why
   from json_to_recordset($1::json) as h (tenant_id uuid, id uuid, job_id uuid, why text)
   where i.tenant_id = h.tenant_id and i.id = h.id and i.job_id = h.job_id and i.state = 'accepted'
   returning i.tenant_id, i.id, i.job_id, i.held_why, i.route_id, i.connector, i.provider, i.event_id,
             i.event_type, i.request_id, i.correlation_id, i.trace_id`,
  ({ held }) => [JSON.stringify(held)],
)

/** How many of these events still wait for the end of the job that was to be theirs. */
export const countUnheld = one<{ readonly held: readonly NewlyHeld[] }, { readonly left: number }>(
  'webhooks.count_unheld',
  `select count(*)::int as left
   from json_to_recordset($1::json) as h (tenant_id uuid, id uuid, job_id uuid)
   join webhook_inbox i on i.tenant_id = h.tenant_id and i.id = h.id
   where i.job_id = h.job_id and i.state = 'accepted'`,
  ({ held }) => [JSON.stringify(held)],
)

/** The events of one route that are held. */
export interface HeldGroup {
  readonly tenant_id: string
  readonly route_id: string
}

/** One of them, with what its route says now. */
export interface HeldGroupRow extends HeldGroup {
  /** Null: there is no such route any more. */
  readonly paused: boolean | null
  /** Where the events go: of the route, or, when it is gone, those that the events came for. */
  readonly connectors: readonly string[]
}

/** Before every group. */
export const FIRST_GROUP: HeldGroup = {
  tenant_id: '00000000-0000-0000-0000-000000000000',
  route_id: '00000000-0000-0000-0000-000000000000',
}

/**
 * The next routes, of whatever workspace, that have held events, with what their routes say: one statement for a page.
 * Found by jumps over the index: it costs as many steps as there are routes (and, of a route that is gone, connectors),
 * not events. Maintenance over all workspaces.
 */
export const listHeldGroups = many<{ readonly after: HeldGroup; readonly limit: number }, HeldGroupRow>(
  'webhooks.list_held_groups',
  `with recursive held as (
     (select tenant_id, route_id from webhook_inbox
      where state = 'held' and (tenant_id, route_id) > ($1, $2) order by tenant_id, route_id limit 1)
     union all
     select n.tenant_id, n.route_id
     from held h
     cross join lateral (
       select i.tenant_id, i.route_id from webhook_inbox i
       where i.state = 'held' and (i.tenant_id, i.route_id) > (h.tenant_id, h.route_id)
       order by i.tenant_id, i.route_id limit 1
     ) as n
   ),
   page as materialized (select tenant_id, route_id from held limit $3)
   select p.tenant_id, p.route_id, case when r.connector is not null then r.paused end as paused,
          case when r.connector is not null then array[r.connector]
          else (
            with recursive named as (
              (select connector from webhook_inbox
               where state = 'held' and tenant_id = p.tenant_id and route_id = p.route_id order by connector limit 1)
              union all
              select n.connector
              from named d
              cross join lateral (
                select i.connector from webhook_inbox i
                where i.state = 'held' and i.tenant_id = p.tenant_id and i.route_id = p.route_id
                  and i.connector > d.connector
                order by i.connector limit 1
              ) as n
            )
            select coalesce(array_agg(connector), '{}') from named
          ) end as connectors
   from page p
   left join lateral (
     select connector, paused_at is not null as paused from webhook_route
     where tenant_id = p.tenant_id and id = p.route_id limit 1
   ) as r on true
   order by p.tenant_id, p.route_id`,
  ({ after, limit }) => [after.tenant_id, after.route_id, limit],
)

export interface HeldSelection {
  readonly tenantId: string
  readonly routeId: string
  /** Only events that name this connector; null = all. */
  readonly connector: string | null
  readonly limit: number
}

export interface KeptRow {
  readonly id: string
  readonly provider: string
  readonly event_id: string
  readonly event_type: string
  readonly account: string | null
  readonly livemode: boolean
  readonly occurred_at: Date
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
}

/**
 * The oldest held events of a route after one of them, in the order in which they came. With the place it does not walk
 * again over the index entries of those that were just released.
 */
const oldestHeldWhere = (name: string, condition: string) =>
  many<HeldSelection & { readonly afterId: string }, KeptRow>(
    name,
    `select id, provider, event_id, event_type, account, livemode, occurred_at, request_id, correlation_id, trace_id
     from webhook_inbox
     where tenant_id = $1 and route_id = $2 and state = 'held' and ${condition} and id > $5
     order by id limit $4`,
    ({ tenantId, routeId, connector, limit, afterId }) => [tenantId, routeId, connector, limit, afterId],
  )
const oldestOfRoute = oldestHeldWhere('webhooks.oldest_held', '$3::text is null')
const oldestOfConnector = oldestHeldWhere('webhooks.oldest_held_of_connector', 'connector = $3')
export const oldestHeld: typeof oldestOfRoute = (on, of) =>
  (of.connector === null ? oldestOfRoute : oldestOfConnector)(on, of)

/** Until the end of the transaction; false when another one releases events of the route: two would mix their order. */
export const lockRelease = one<HeldGroup, { readonly locked: boolean }>(
  'webhooks.lock_release',
  `select pg_try_advisory_xact_lock(7126, hashtext($1::uuid || '/' || $2::uuid)) as locked`,
  ({ tenant_id, route_id }) => [tenant_id, route_id],
)

/** What is counted of a selection at most: a measurement must not read all that waits. */
export const COUNTED = 10_000

/** How many events of each selection are held, counted up to 10,000, and for how long the oldest one has been here. */
export const countHeld = many<
  { readonly of: readonly (HeldGroup & { readonly connector: string | null })[] },
  { readonly ord: number; readonly events: number; readonly oldest_seconds: number }
>(
  'webhooks.count_held',
  `select g.ord::int as ord, c.events, coalesce(o.seconds, 0)::float8 as oldest_seconds
   from rows from (json_to_recordset($1::json) as (tenant_id uuid, route_id uuid, connector text))
     with ordinality as g (tenant_id, route_id, connector, ord)
   cross join lateral (
     select count(*)::int as events from (
       (select 1 from webhook_inbox
        where g.connector is null and tenant_id = g.tenant_id and route_id = g.route_id and state = 'held'
        order by tenant_id, route_id, id limit ${COUNTED})
       union all
       (select 1 from webhook_inbox
        where tenant_id = g.tenant_id and route_id = g.route_id and connector = g.connector and state = 'held'
        order by tenant_id, route_id, connector, id limit ${COUNTED})
     ) as counted
   ) as c
   left join lateral (
     select greatest(0, extract(epoch from clock_timestamp() - received_at)) as seconds from webhook_inbox
     where tenant_id = g.tenant_id and route_id = g.route_id and state = 'held'
     order by id limit 1
   ) as o on true
   order by g.ord`,
  ({ of }) => [JSON.stringify(of)],
)

/** How many events wait for their turn in a line, counted up to 100,000, and for how long the oldest one of them. */
export const countWaiting = one<undefined, { readonly events: number; readonly oldest_seconds: number }>(
  'webhooks.count_waiting',
  `select count(*)::int as events,
          coalesce(greatest(0, extract(epoch from clock_timestamp() - min(received_at))), 0)::float8 as oldest_seconds
   from (select received_at from webhook_inbox where state = 'waiting' order by id limit 100000) as waiting`,
  () => [],
)
