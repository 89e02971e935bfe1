import { many } from '../platform/db/statement.ts'
import { JOB_COLUMNS, type JobRow } from './job-row.ts'

export interface RescuedRow extends JobRow {
  readonly attempt: number
  readonly fate: 'retry' | 'dead' | 'cancelled'
  readonly why: string
}

/**
 * Takes jobs from nodes that stopped beating and from attempts that overran their deadline. The attempt is
 * spent. After `poisonAfter` lost workers the job is a dead letter: it may be what kills them. It was not alone
 * there: after the second time the suspects come back spread over 20 s, so that the innocent ones part from it.
 */
export const rescueLost = many<
  {
    readonly deadAfterMs: number
    readonly overrunGraceMs: number
    readonly poisonAfter: number
    readonly limit: number
  },
  RescuedRow
>(
  'queue.rescue',
  `with lost as materialized (
     select r.tenant_id, r.job_id, r.lease_id, n.node_id is null as silent
     from job_run r
     left join node n on n.node_id = r.node_id and n.beat_at > clock_timestamp() - $1 * interval '1 millisecond'
     where n.node_id is null or r.deadline_at < clock_timestamp() - $2 * interval '1 millisecond'
     limit $4
     for update of r skip locked
   ),
   gone as (
     delete from job_run r using lost l
     where r.tenant_id = l.tenant_id and r.job_id = l.job_id and r.lease_id = l.lease_id
     returning r.*, l.silent
   ),
   judged as materialized (
     select g.*, clock_timestamp() as at, k.kills,
            case when g.cancel_why is not null then 'cancelled' when k.kills >= $3 then 'dead' else 'retry' end
              as fate,
            case when g.cancel_why is not null then g.cancel_why
                 when g.silent then 'Its worker stopped answering.'
                 else 'The attempt overran its deadline without an end.' end
              || case when g.cancel_why is null and k.kills >= $3
                   then ' This happened ' || k.kills || ' times: the job may be what breaks its workers.'
                   else '' end as why,
            clock_timestamp() + interval '1 second'
              * case k.kills when 1 then 0.5 + random() else 20 * random() end as next_run_at
     from gone g
     cross join lateral (
       select coalesce(max(earlier_leases), 0) as earlier from job j
       where j.tenant_id = g.tenant_id and j.id = g.job_id
     ) as l
     cross join lateral (
       select 1 + count(*) as kills from job_attempt a
       where a.tenant_id = g.tenant_id and a.job_id = g.job_id and a.outcome = 'lost'
         and a.lease_id > l.earlier
     ) as k
   ),
   attempts as (
     insert into job_attempt (tenant_id, job_id, lease_id, attempt, node_id, started_at, ended_at, outcome, why,
                              error_class, error_message, next_run_at)
     select tenant_id, job_id, lease_id, attempt, node_id, started_at, at, 'lost', why,
            case when silent then 'worker_lost' else 'overrun' end, why,
            case when fate = 'retry' then next_run_at end
     from judged
   ),
   later as (
     insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
     select tenant_id, job_id, next_run_at, queue, lane, priority, attempt + 1, 'rescue'
     from judged where fate = 'retry'
   ),
   known as materialized (
     select v.fate, v.why, v.at, v.attempt, v.kills, v.next_run_at, ${JOB_COLUMNS}
     from judged v
     join job j on j.tenant_id = v.tenant_id and j.id = v.job_id
     join job_payload p on p.tenant_id = v.tenant_id and p.job_id = v.job_id
   ),
   buried as (
     insert into job_dead (tenant_id, job_id, queue, lane, connector, operation, dead_at, reason, attempts,
                           error_class, error_message)
     select tenant_id, id, queue, lane, connector, operation, at, 'poison', attempt, 'worker_lost', why
     from known where fate = 'dead'
   ),
   finished as (
     update job j set state = k.fate, finished_at = k.at, attempts = k.attempt
     from known k
     where k.fate <> 'retry' and j.tenant_id = k.tenant_id and j.id = k.id and j.state = 'queued'
   ),
   told as materialized (
     select append_events(json_agg(json_build_object(
       'tenant_id', tenant_id,
       'type', case fate when 'retry' then 'job.rescued' when 'dead' then 'job.dead_lettered'
         else 'job.cancelled' end,
       'severity', case fate when 'retry' then 'warning' when 'dead' then 'error' else 'info' end,
       'message', why, 'connector', connector, 'job_id', id, 'inbox_id', inbox_id,
       'request_id', request_id, 'correlation_id', correlation_id, 'trace_id', trace_id,
       'data', json_strip_nulls(json_build_object(
         'queue', queue_name(queue), 'operation', operation, 'attempt', attempt, 'lost_workers', kills,
         'next_run_at', case when fate = 'retry' then next_run_at end,
         'reason', case when fate = 'dead' then 'poison' end))
     ))) as events
     from known
   )
   select known.* from known, told`,
  ({ deadAfterMs, overrunGraceMs, poisonAfter, limit }) => [deadAfterMs, overrunGraceMs, poisonAfter, limit],
)
