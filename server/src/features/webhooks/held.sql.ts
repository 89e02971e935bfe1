import { many, one, run } from '../../platform/db/statement.ts'

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

/** The events of one route that wait without a job. */
export interface HeldGroup {
  readonly tenant_id: string
  readonly route_id: string
}

/**
 * Every route of every workspace that has held events, found by jumps over the index: it costs as many steps as there are
 * routes, not events. Maintenance over all workspaces.
 */
export const listHeldGroups = many<{ readonly limit: number }, HeldGroup>(
  'webhooks.list_held_groups',
  `with recursive held as (
     (select tenant_id, route_id from webhook_inbox
      where state in ('held', 'waiting') order by tenant_id, route_id limit 1)
     union all
     select n.tenant_id, n.route_id
     from held h
     cross join lateral (
       select i.tenant_id, i.route_id from webhook_inbox i
       where i.state in ('held', 'waiting') and (i.tenant_id, i.route_id) > (h.tenant_id, h.route_id)
       order by i.tenant_id, i.route_id limit 1
     ) as n
   )
   select tenant_id, route_id from held limit $1`,
  ({ limit }) => [limit],
)

/** The connectors that held events of a route name: needed only for a route that is gone. */
export const connectorsOfHeld = many<
  { readonly tenantId: string; readonly routeId: string },
  { readonly connector: string }
>(
  'webhooks.connectors_of_held',
  `select distinct connector from webhook_inbox
   where tenant_id = $1 and route_id = $2 and state in ('held', 'waiting') and state = 'held' order by connector`,
  ({ tenantId, routeId }) => [tenantId, routeId],
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
export const oldestHeld = many<HeldSelection & { readonly afterId: string }, KeptRow>(
  'webhooks.oldest_held',
  `select id, provider, event_id, event_type, account, livemode, occurred_at, request_id, correlation_id, trace_id
   from webhook_inbox
   where tenant_id = $1 and route_id = $2 and state in ('held', 'waiting') and state = 'held'
     and ($3::text is null or connector = $3) and id > $5
   order by id limit $4`,
  ({ tenantId, routeId, connector, limit, afterId }) => [tenantId, routeId, connector, limit, afterId],
)

/** Says of held events why they wait now, where that is another cause than it was. */
export const tellOtherCause = run<HeldSelection & { readonly why: string }>(
  'webhooks.tell_other_cause',
  `update webhook_inbox set held_why = $5
   where tenant_id = $1 and state = 'held' and id in (
     select id from webhook_inbox
     where tenant_id = $1 and route_id = $2 and state in ('held', 'waiting') and state = 'held'
       and ($3::text is null or connector = $3) and held_why <> $5
     order by id limit $4
   )`,
  ({ tenantId, routeId, connector, limit, why }) => [tenantId, routeId, connector, limit, why],
)

/** Until the end of the transaction; false when another one releases events of the route: two would mix their order. */
export const lockRelease = one<HeldGroup, { readonly locked: boolean }>(
  'webhooks.lock_release',
  `select pg_try_advisory_xact_lock(7126, hashtext($1::uuid || '/' || $2::uuid)) as locked`,
  ({ tenant_id, route_id }) => [tenant_id, route_id],
)

/** What waits over all workspaces, by its cause; `ordering`: behind an earlier event of its line. Reads every such row. */
export const measureHeld = many<
  undefined,
  { readonly why: string; readonly events: number; readonly oldest_seconds: number }
>(
  'webhooks.measure_held',
  `select coalesce(held_why, 'ordering') as why, count(*)::int as events,
          greatest(0, extract(epoch from clock_timestamp() - min(received_at)))::float8 as oldest_seconds
   from webhook_inbox where state in ('held', 'waiting') group by 1`,
  () => [],
)
