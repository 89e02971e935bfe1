import { many, maybeOne, one, run } from '../platform/db/statement.ts'
import type { Obstacle } from './obstacles.ts'

/** Takes or keeps the lead for `ttlMs`; the term when we lead, nothing when somebody else does. */
export const lead = maybeOne<
  { readonly name: string; readonly owner: string; readonly ttlMs: number },
  { readonly term: number }
>(
  'queue.lead',
  `insert into leader (name, owner, term, expires_at)
   values ($1, $2, 1, clock_timestamp() + $3 * interval '1 millisecond')
   on conflict (name) do update
     set owner = excluded.owner, expires_at = excluded.expires_at,
         term = leader.term + (leader.owner <> excluded.owner)::int
     where leader.owner = excluded.owner or leader.expires_at < clock_timestamp()
   returning term`,
  ({ name, owner, ttlMs }) => [name, owner, ttlMs],
)

export const abdicate = run<{ readonly name: string; readonly owner: string }>(
  'queue.abdicate',
  'update leader set expires_at = clock_timestamp() where name = $1 and owner = $2',
  ({ name, owner }) => [name, owner],
)

/** Makes the daily partitions of every registered table; gives how many are new. */
export const createPartitionsAhead = one<{ readonly days: number }, { readonly created: number }>(
  'queue.create_partitions',
  'select create_partitions_ahead($1) as created',
  ({ days }) => [days],
)

/** See the SQL function of this name. */
export const analyzeFreshPartitions = one<undefined, { readonly mended: number }>(
  'queue.analyze_fresh_partitions',
  'select analyze_fresh_partitions() as mended',
  () => [],
)

/** Frees idempotency keys whose time is over, but never that of a job that has not ended, or ended in the last 30 days. */
export const removeExpiredKeys = run<{ readonly limit: number }>(
  'queue.remove_expired_keys',
  `delete from idem i using (
     select tenant_id, scope, key from idem e
     where e.expires_at < now() and not exists (
       select from job j where j.tenant_id = e.tenant_id and j.id = e.job_id
         and (j.state = 'queued' or j.finished_at > now() - interval '30 days')
     )
     order by e.expires_at limit $1
   ) as old
   where i.tenant_id = old.tenant_id and i.scope = old.scope and i.key = old.key`,
  ({ limit }) => [limit],
)

/**
 * Drops rows that cancels have left at the heads of paused lanes: no claim comes by to do it, and a connector whose
 * product takes its jobs by polling is paused for good. Looks at the first 1,000 rows per queue and priority order of
 * each such lane; how many were dropped.
 */
export const dropCancelled = run<{ readonly limit: number }>(
  'queue.drop_cancelled',
  `delete from job_ready where ctid = any (array(
     select r.place
     from lane_policy p
     cross join unnest('{0,1,2,3}'::smallint[]) as q (queue)
     cross join lateral (
       select h.ctid as place, h.tenant_id, h.job_id from job_ready h
       where h.queue = q.queue and h.tenant_id = p.tenant_id and h.lane = p.lane
       order by h.priority, h.seq limit 1000
     ) as r
     cross join lateral (
       select j.state from job j where j.tenant_id = r.tenant_id and j.id = r.job_id offset 0
     ) as found
     where p.paused_at is not null and found.state = 'cancelled'
     limit $1
   ))`,
  ({ limit }) => [limit],
)

export interface DepthRow {
  readonly queue: number
  readonly ready: number
  readonly oldest_seconds: number
}

/** What waits per queue. Reads every ready row: sampled by the leader only, never on a request. */
export const measureDepth = many<undefined, DepthRow>(
  'queue.depth',
  `select queue, count(*) as ready,
          greatest(0, extract(epoch from clock_timestamp() - min(ready_at)))::float8 as oldest_seconds
   from job_ready group by queue`,
  () => [],
)

export const measureDeferred = one<undefined, { readonly deferred: number }>(
  'queue.depth_deferred',
  'select count(*) as deferred from job_deferred',
  () => [],
)

export const measureDead = many<undefined, { readonly queue: number; readonly dead: number }>(
  'queue.depth_dead',
  'select queue, count(*) as dead from job_dead where not binned group by queue',
  () => [],
)

/** How many obstacles of each kind there are now; a lane that is shut for several reasons counts for the first of them. */
export const measureBlocked = many<
  undefined,
  { readonly reason: Obstacle['reason']; readonly blocked: number }
>(
  'queue.blocked',
  `with bound as materialized (select coalesce(min(oldest_lease), 0) as lease from node),
   shut as (
     select case when p.paused_at is not null then 'connector_paused'
                 when p.blocked_until > clock_timestamp() then p.blocked_reason
                 when p.max_running <= (
                   select count(*) from job_run r, bound
                   where r.tenant_id = p.tenant_id and r.lane = p.lane and r.lease_id >= bound.lease
                 ) then 'connector_cap' end as reason
     from lane_policy p
     union all
     select case when p.paused_at is not null then 'workspace_paused'
                 when p.max_running <= (
                   select count(*) from job_run r, bound
                   where r.tenant_id = p.tenant_id and r.lease_id >= bound.lease
                 ) then 'workspace_cap' end
     from tenant_policy p
     union all
     select 'queue_paused' from queue_pause
   )
   select reason, count(*) as blocked from shut where reason is not null group by reason`,
  () => [],
)
