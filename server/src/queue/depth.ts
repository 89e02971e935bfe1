import { many } from '../platform/db/statement.ts'

/** Rows that are counted per queue at most: an operator's look must not walk a backlog of millions. */
export const COUNT_LIMIT = 10_000
/** Deferred rows are not sorted by queue: so many of the workspace are looked at. */
const DEFERRED_LIMIT = 100_000

export interface QueueDepth {
  readonly queue: number
  readonly ready: number
  readonly oldest_seconds: number | null
  readonly running: number
  readonly deferred: number
  readonly dead: number
}

/**
 * What a workspace has in its queues. Every part is bounded: counts stop at `COUNT_LIMIT`, and the oldest job is
 * looked for at the head of each lane and priority only (a loose index scan), because `seq` rises with time.
 */
export const queueDepths = many<{ readonly tenantId: string }, QueueDepth>(
  'queue.depths_of_tenant',
  `with recursive head as (
     (select queue, lane, priority, ready_at from job_ready
      where queue = 0 and tenant_id = $1 order by lane, priority, seq limit 1)
     union all
     (select queue, lane, priority, ready_at from job_ready
      where queue = 1 and tenant_id = $1 order by lane, priority, seq limit 1)
     union all
     (select queue, lane, priority, ready_at from job_ready
      where queue = 2 and tenant_id = $1 order by lane, priority, seq limit 1)
     union all
     (select queue, lane, priority, ready_at from job_ready
      where queue = 3 and tenant_id = $1 order by lane, priority, seq limit 1)
   ),
   heads as (
     select * from head
     union all
     select next.* from heads cross join lateral (
       select r.queue, r.lane, r.priority, r.ready_at from job_ready r
       where r.queue = heads.queue and r.tenant_id = $1 and (r.lane, r.priority) > (heads.lane, heads.priority)
       order by r.lane, r.priority, r.seq limit 1
     ) as next
   ),
   oldest as (select queue, min(ready_at) as at from heads group by queue),
   running as (
     select queue, count(*) as jobs from (
       select queue from job_run where tenant_id = $1 limit ${COUNT_LIMIT}
     ) as r group by queue
   ),
   deferred as (
     select queue, count(*) as jobs from (
       select queue from job_deferred where tenant_id = $1 limit ${DEFERRED_LIMIT}
     ) as d group by queue
   )
   select q.queue,
          (select count(*) from (
             select from job_ready where queue = q.queue and tenant_id = $1 limit ${COUNT_LIMIT}
           ) as r) as ready,
          case when oldest.at is not null
            then greatest(0, extract(epoch from clock_timestamp() - oldest.at))::float8 end as oldest_seconds,
          coalesce(running.jobs, 0) as running,
          coalesce(deferred.jobs, 0) as deferred,
          (select count(*) from (
             select from job_dead where tenant_id = $1 and queue = q.queue and not binned limit ${COUNT_LIMIT}
           ) as d) as dead
   from unnest('{0,1,2,3}'::smallint[]) as q (queue)
   left join oldest on oldest.queue = q.queue
   left join running on running.queue = q.queue
   left join deferred on deferred.queue = q.queue
   order by q.queue`,
  ({ tenantId }) => [tenantId],
)
