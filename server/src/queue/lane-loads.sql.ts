import { many } from '../platform/db/statement.ts'

interface LoadArgs {
  readonly tenantId: string
  readonly lanes: readonly number[]
  readonly limit: number
}

/**
 * Jobs of each lane that wait or run. Ready ones are counted along the claim index, lane by lane; of deferred and
 * running ones, which no index knows by lane, the first `limit` of the workspace are looked at.
 */
export const selectLaneLoads = many<
  LoadArgs,
  { readonly lane: number; readonly ready: number; readonly deferred: number; readonly running: number }
>(
  'queue.lane_loads',
  `with later as materialized (
     select lane, count(*)::int as jobs
     from (select lane from job_deferred where tenant_id = $1 limit $3) as d group by lane
   ), held as materialized (
     select lane, count(*)::int as jobs
     from (select lane from job_run where tenant_id = $1 limit $3) as r group by lane
   )
   select l.lane,
     (select count(*)::int
      from unnest('{0,1,2,3}'::smallint[]) as q (queue)
      cross join lateral (
        select from job_ready r where r.queue = q.queue and r.tenant_id = $1 and r.lane = l.lane limit $3
      ) as waiting) as ready,
     coalesce((select jobs from later where later.lane = l.lane), 0) as deferred,
     coalesce((select jobs from held where held.lane = l.lane), 0) as running
   from unnest($2::int[]) as l (lane)`,
  ({ tenantId, lanes, limit }) => [tenantId, lanes, limit],
)

/** Attempts per connector among the newest `limit` jobs of the workspace since an id; both reads are along keys. */
export const countAttempts = many<
  { readonly tenantId: string; readonly sinceId: string; readonly limit: number },
  { readonly connector: string; readonly attempts: number }
>(
  'queue.count_attempts',
  `select j.connector, count(*)::int as attempts
   from (select id, connector from job where tenant_id = $1 and id >= $2 order by id desc limit $3) as j
   join job_attempt a on a.tenant_id = $1 and a.job_id = j.id and a.job_id >= $2
   group by j.connector`,
  ({ tenantId, sinceId, limit }) => [tenantId, sinceId, limit],
)
