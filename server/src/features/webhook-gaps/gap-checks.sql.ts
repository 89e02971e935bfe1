import { many, maybeOne, run } from '../../platform/db/statement.ts'
import type { CheckPosition } from './check-position.ts'

export interface DueCheck {
  readonly tenant_id: string
  readonly route_id: string
  readonly looked_until: Date | null
  readonly position: CheckPosition | null
  /** The clock of the database. */
  readonly at: Date
}

/** Maintenance over all workspaces: the next route whose check is due, and nobody's at the moment. */
export const takeDueCheck = maybeOne<{ readonly lease: string; readonly leaseMs: number }, DueCheck>(
  'webhook_gaps.take_check',
  `with due as (
     select r.tenant_id, r.id
     from webhook_route r
     left join webhook_gap_check c on c.tenant_id = r.tenant_id and c.route_id = r.id
     where json_typeof(r.gap_check) = 'object'
       and coalesce(c.due_at, now()) <= now() and coalesce(c.lease_until, now()) <= now()
     order by c.due_at nulls first limit 1
   )
   insert into webhook_gap_check as c (tenant_id, route_id, lease, lease_until)
   select tenant_id, id, $1::uuid, now() + make_interval(secs => $2::float8 / 1000) from due
   on conflict (tenant_id, route_id) do update set lease = excluded.lease, lease_until = excluded.lease_until
     where c.due_at <= now() and coalesce(c.lease_until, now()) <= now()
   returning tenant_id, route_id, looked_until, position, now() as at`,
  ({ lease, leaseMs }) => [lease, leaseMs],
)

export interface CheckKey {
  readonly tenantId: string
  readonly routeId: string
}
export interface HeldCheck extends CheckKey {
  readonly lease: string
}

export const renewLease = run<HeldCheck & { readonly leaseMs: number }>(
  'webhook_gaps.renew_lease',
  `update webhook_gap_check set lease_until = now() + make_interval(secs => $4::float8 / 1000)
   where tenant_id = $1 and route_id = $2 and lease = $3`,
  ({ tenantId, routeId, lease, leaseMs }) => [tenantId, routeId, lease, leaseMs],
)

/** Goes on to the next page of the check, which has not failed yet; 0 = it is somebody else's by now. */
export const moveOn = run<HeldCheck & { readonly position: CheckPosition; readonly leaseMs: number }>(
  'webhook_gaps.move_on',
  `update webhook_gap_check
   set position = $4::json, lease_until = now() + make_interval(secs => $5::float8 / 1000), failures = 0,
       last_error = case when restarts > 0 then last_error end
   where tenant_id = $1 and route_id = $2 and lease = $3`,
  ({ tenantId, routeId, lease, position, leaseMs }) => [
    tenantId,
    routeId,
    lease,
    JSON.stringify(position),
    leaseMs,
  ],
)

export const finishCheck = run<HeldCheck & { readonly lookedUntil: Date; readonly everySeconds: number }>(
  'webhook_gaps.finish_check',
  `update webhook_gap_check
   set looked_until = $4, position = null, lease = null, lease_until = null, last_checked_at = now(), last_error = null,
       failures = 0, restarts = 0, due_at = now() + make_interval(secs => $5)
   where tenant_id = $1 and route_id = $2 and lease = $3`,
  ({ tenantId, routeId, lease, lookedUntil, everySeconds }) => [
    tenantId,
    routeId,
    lease,
    lookedUntil,
    everySeconds,
  ],
)

/** What has gone wrong before, of a check that this worker still has. */
export const lockFailures = maybeOne<HeldCheck, { readonly failures: number; readonly restarts: number }>(
  'webhook_gaps.lock_failures',
  `select failures, restarts from webhook_gap_check where tenant_id = $1 and route_id = $2 and lease = $3 for update`,
  ({ tenantId, routeId, lease }) => [tenantId, routeId, lease],
)

/** Keeps its place, or begins anew. */
export const failCheck = run<
  HeldCheck & { readonly error: string; readonly againMs: number; readonly fromFirstPage: boolean }
>(
  'webhook_gaps.fail_check',
  `update webhook_gap_check
   set lease = null, lease_until = null, last_failed_at = now(), last_error = $4, failures = failures + 1,
       due_at = now() + make_interval(secs => $5::float8 / 1000), position = case when $6 then null else position end,
       restarts = restarts + case when $6 then 1 else 0 end
   where tenant_id = $1 and route_id = $2 and lease = $3`,
  ({ tenantId, routeId, lease, error, againMs, fromFirstPage }) => [
    tenantId,
    routeId,
    lease,
    error,
    againMs,
    fromFirstPage,
  ],
)

/** Lets a check go that was not begun or was interrupted: any worker may go on with it after `againMs`. */
export const letGo = run<HeldCheck & { readonly againMs: number }>(
  'webhook_gaps.let_go',
  `update webhook_gap_check
   set lease = null, lease_until = null, due_at = now() + make_interval(secs => $4::float8 / 1000)
   where tenant_id = $1 and route_id = $2 and lease = $3`,
  ({ tenantId, routeId, lease, againMs }) => [tenantId, routeId, lease, againMs],
)

/** Makes the check of a route due; 0 = there is no such route, or it has no check. */
export const callForCheck = run<CheckKey>(
  'webhook_gaps.call_for_check',
  `insert into webhook_gap_check as c (tenant_id, route_id)
   select tenant_id, id from webhook_route where tenant_id = $1 and id = $2 and json_typeof(gap_check) = 'object'
   on conflict (tenant_id, route_id) do update set due_at = now()`,
  ({ tenantId, routeId }) => [tenantId, routeId],
)

export interface CheckRow {
  readonly route_id: string
  readonly provider: string
  readonly connector: string
  readonly pull: 'automatic' | 'manual'
  readonly every_seconds: number
  readonly due_at: Date | null
  readonly running: boolean
  readonly looked_until: Date | null
  readonly last_checked_at: Date | null
  readonly last_failed_at: Date | null
  readonly last_error: string | null
  readonly failures: number
  readonly restarts: number
  readonly missing: number
}

export interface CheckFilter {
  readonly tenantId: string
  readonly beforeId?: string | undefined
  readonly limit: number
}

/** Counts go up to a thousand for each route. */
export const listChecks = many<CheckFilter, CheckRow>(
  'webhook_gaps.list_checks',
  `select r.id as route_id, r.provider, r.gap_check->>'connector' as connector, r.gap_check->>'pull' as pull,
          (r.gap_check->>'every_seconds')::int as every_seconds, c.due_at, coalesce(c.lease_until > now(), false) as running,
          c.looked_until, c.last_checked_at, c.last_failed_at, c.last_error, coalesce(c.failures, 0) as failures,
          coalesce(c.restarts, 0) as restarts,
          (select count(*)::int from (
             select from webhook_gap g where g.tenant_id = r.tenant_id and g.route_id = r.id and g.state = 'missing' limit 1000
           ) as counted) as missing
   from webhook_route r
   left join webhook_gap_check c on c.tenant_id = r.tenant_id and c.route_id = r.id
   where r.tenant_id = $1 and json_typeof(r.gap_check) = 'object' and ($2::uuid is null or r.id < $2)
   order by r.id desc limit $3`,
  ({ tenantId, beforeId, limit }) => [tenantId, beforeId ?? null, limit],
)
