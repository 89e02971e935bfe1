import { many, maybeOne, one, run } from '../../platform/db/statement.ts'
import type { CheckKey } from './gap-checks.sql.ts'

export interface NewGap {
  readonly id: string
  readonly event_id: string
  readonly event_type: string
  readonly handle: string
  readonly occurred_at: string
}

/** What of these the inbox never had and nobody has noted; `automatic`: pull it in at once. */
export const insertMissing = many<
  CheckKey & { readonly gaps: readonly NewGap[]; readonly automatic: boolean },
  { readonly id: string; readonly event_id: string; readonly event_type: string }
>(
  'webhook_gaps.insert',
  `insert into webhook_gap (tenant_id, id, route_id, event_id, event_type, handle, occurred_at, pull_at)
   select $1::uuid, g.id, $2::uuid, g.event_id, g.event_type, g.handle, g.occurred_at, case when $4 then now() end
   from json_to_recordset($3::json) as g (id uuid, event_id text, event_type text, handle text, occurred_at timestamptz)
   where not exists (
     select from webhook_dedupe d where d.tenant_id = $1 and d.event_id = g.event_id and d.route_id = $2
   )
   order by g.event_id
   on conflict (tenant_id, route_id, event_id) do nothing
   returning id, event_id, event_type`,
  ({ tenantId, routeId, gaps, automatic }) => [tenantId, routeId, JSON.stringify(gaps), automatic],
)

/** Maintenance over all workspaces: events that were missing and have come in, whichever way, at most `limit`. */
export const settleArrived = run<{ readonly limit: number }>(
  'webhook_gaps.settle',
  `with come as (
     select g.tenant_id, g.id, d.inbox_id
     from webhook_gap g
     join webhook_dedupe d on d.tenant_id = g.tenant_id and d.event_id = g.event_id and d.route_id = g.route_id
     where g.state = 'missing' order by g.tenant_id, g.id limit $1 for update of g skip locked
   )
   update webhook_gap g
   set state = case when i.source = 'pulled' then 'pulled' else 'arrived' end, inbox_id = come.inbox_id, pull_at = null,
       pull_error = null, changed_at = now(), changed_by = coalesce(g.changed_by, 'hub'),
       why = coalesce(g.why, 'It is in the inbox now.')
   from come left join webhook_inbox i on i.tenant_id = come.tenant_id and i.id = come.inbox_id
   where g.tenant_id = come.tenant_id and g.id = come.id`,
  ({ limit }) => [limit],
)

export interface GapRow {
  readonly tenant_id: string
  readonly id: string
  readonly route_id: string
  readonly event_id: string
  readonly event_type: string
  readonly handle: string
  readonly occurred_at: Date
  readonly first_seen_at: Date
  readonly state: 'missing' | 'pulled' | 'arrived' | 'dismissed'
  readonly pull_at: Date | null
  readonly pulls: number
  readonly pull_error: string | null
  readonly inbox_id: string | null
  readonly changed_at: Date | null
  readonly changed_by: string | null
  readonly why: string | null
}

/** Maintenance over all workspaces: takes gaps that somebody wants pulled, for the time of a lease. */
export const takeWanted = many<{ readonly limit: number; readonly leaseMs: number }, GapRow>(
  'webhook_gaps.take_wanted',
  `update webhook_gap
   set pull_at = now() + make_interval(secs => $2::float8 / 1000), pulls = pulls + 1
   where (tenant_id, id) in (
     select tenant_id, id from webhook_gap where pull_at <= now() order by pull_at limit $1 for update skip locked
   )
   returning *`,
  ({ limit, leaseMs }) => [limit, leaseMs],
)

export interface GapKey {
  readonly tenantId: string
  readonly id: string
}

export const endGap = run<
  GapKey & {
    readonly state: 'pulled' | 'arrived' | 'dismissed'
    readonly inboxId: string | null
    readonly by: string
    readonly why: string
  }
>(
  'webhook_gaps.end',
  `update webhook_gap
   set state = $3, inbox_id = $4, pull_at = null, pull_error = null, changed_at = now(),
       changed_by = $5, why = $6
   where tenant_id = $1 and id = $2 and state = 'missing'`,
  ({ tenantId, id, state, inboxId, by, why }) => [tenantId, id, state, inboxId, by, why],
)

/** `againMs` null: it is not tried again until somebody wants it. */
export const failPull = run<GapKey & { readonly error: string; readonly againMs: number | null }>(
  'webhook_gaps.fail_pull',
  `update webhook_gap
   set pull_error = $3, pull_at = now() + make_interval(secs => $4::float8 / 1000)
   where tenant_id = $1 and id = $2 and state = 'missing'`,
  ({ tenantId, id, error, againMs }) => [tenantId, id, error, againMs],
)

/** Ids are different ones. */
export const countGaps = one<
  { readonly tenantId: string; readonly ids: readonly string[] },
  { readonly known: number }
>(
  'webhook_gaps.count',
  'select count(*)::int as known from webhook_gap where tenant_id = $1 and id = any ($2::uuid[])',
  ({ tenantId, ids }) => [tenantId, ids],
)

export interface Wanted {
  readonly tenantId: string
  readonly ids?: readonly string[] | undefined
  readonly routeId?: string | undefined
  readonly limit: number
  readonly by: string
  readonly why: string
}

export const wantPulled = many<Wanted, { readonly id: string }>(
  'webhook_gaps.want',
  `update webhook_gap
   set pull_at = now(), pulls = 0, pull_error = null, changed_at = now(), changed_by = $5, why = $6
   where tenant_id = $1 and id in (
     select id from webhook_gap
     where tenant_id = $1 and state = 'missing' and ($2::uuid[] is null or id = any ($2))
       and ($3::uuid is null or route_id = $3)
     order by id limit $4 for update
   )
   returning id`,
  ({ tenantId, ids, routeId, limit, by, why }) => [tenantId, ids ?? null, routeId ?? null, limit, by, why],
)

export interface GapFilter {
  readonly tenantId: string
  readonly routeId?: string | undefined
  readonly state?: string | undefined
  readonly beforeId?: string | undefined
  readonly limit: number
}

export const listGaps = many<GapFilter, GapRow>(
  'webhook_gaps.list',
  `select * from webhook_gap
   where tenant_id = $1 and ($2::uuid is null or route_id = $2) and ($3::text is null or state = $3)
     and ($4::uuid is null or id < $4)
   order by id desc limit $5`,
  ({ tenantId, routeId, state, beforeId, limit }) => [
    tenantId,
    routeId ?? null,
    state ?? null,
    beforeId ?? null,
    limit,
  ],
)

export const findGap = maybeOne<GapKey, GapRow>(
  'webhook_gaps.find',
  'select * from webhook_gap where tenant_id = $1 and id = $2',
  ({ tenantId, id }) => [tenantId, id],
)

/** Maintenance over all workspaces, for the metric. */
export const countMissing = one<Record<never, never>, { readonly missing: number }>(
  'webhook_gaps.count_missing',
  `select count(*)::int as missing from webhook_gap where state = 'missing'`,
  () => [],
)

/** Maintenance over all workspaces: forgets what no provider lists any more. */
export const removeOld = run<{ readonly days: number; readonly limit: number }>(
  'webhook_gaps.remove_old',
  `delete from webhook_gap where (tenant_id, id) in (
     select tenant_id, id from webhook_gap where first_seen_at < now() - make_interval(days => $1)
     order by first_seen_at limit $2 for update skip locked)`,
  ({ days, limit }) => [days, limit],
)
