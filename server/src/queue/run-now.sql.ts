import { many } from '../platform/db/statement.ts'

/**
 * Moves jobs that wait for a moment into their lanes, each with its event. Those that wait for somebody else (rescued
 * ones, which may still run at a node that is lost) stay. In the order of their ids, so that nobody deadlocks. By ctid,
 * see `promoteDue`.
 */
export const runDeferredNow = many<
  {
    readonly tenantId: string
    readonly ids: readonly string[]
    readonly actor: string
    readonly why: string
    readonly planId: string | null
  },
  { readonly job_id: string; readonly queue: number; readonly lane: number }
>(
  'queue.run_now',
  `with waiting as materialized (
     select ctid as place from job_deferred
     where tenant_id = $1 and job_id = any ($2::uuid[]) and cause in ('retry', 'snooze', 'scheduled')
     order by job_id for update
   ),
   gone as (
     delete from job_deferred where ctid = any (array(select place from waiting)) returning *
   ),
   ready as (
     insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
     select queue, tenant_id, lane, priority, job_id, attempt from gone order by run_at
   ),
   told as materialized (
     select append_events(json_agg(json_build_object(
       'tenant_id', $1::uuid, 'type', 'job.run_now',
       'message', $3::text || ' has it run now, not at ' || (to_json(g.run_at)#>>'{}') || ': ' || $4::text,
       'connector', j.connector, 'job_id', g.job_id, 'inbox_id', j.inbox_id,
       'request_id', j.request_id, 'correlation_id', j.correlation_id, 'trace_id', j.trace_id,
       'data', json_build_object('actor', $3::text, 'reason', $4::text, 'plan_id', $5::uuid, 'cause', g.cause,
                                 'attempt', g.attempt, 'was_due_at', g.run_at)
     ) order by g.run_at)) as events
     from gone g
     cross join lateral (select * from job where tenant_id = $1 and id = g.job_id offset 0) as j
   )
   select g.job_id, g.queue, g.lane from gone g, told order by g.run_at`,
  ({ tenantId, ids, actor, why, planId }) => [tenantId, ids, actor, why, planId],
)
