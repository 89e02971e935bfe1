import { many } from '../platform/db/statement.ts'
import { PLACE_AT, PLACE_SEQ } from './job-row.ts'

/** One lease to end, in the shape that the statement reads. Texts must be storable: see `storable`. */
export interface SettleRecord {
  readonly tenant_id: string
  readonly job_id: string
  readonly lease_id: number
  readonly outcome: 'done' | 'retry' | 'snoozed' | 'dead' | 'cancelled' | 'returned'
  readonly delay_ms?: number
  readonly why: string
  readonly reason?: string
  readonly error_class?: string
  readonly error_message?: string
  readonly http_status?: number | undefined
  readonly config_version?: number | undefined
  /** JSON text. */
  readonly result?: string
  readonly result_ref?: object | undefined
  readonly connector: string
  readonly operation: string
  readonly inbox_id: string | null
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
}

export interface SettledRow {
  readonly job_id: string
  readonly lease_id: number
  /** What became of it: a requested cancel turns a retry, a snooze and a hand-back into 'cancelled'. */
  readonly outcome: SettleRecord['outcome']
  readonly why: string
}

/**
 * Ends leases in one round trip: the rows of `job_run` that the lease ids still name go, everything else follows
 * from the deleted rows. A lease that is not answered was stale: its job belongs to somebody else by now.
 *
 * `finished` must not name a range of ids to open fewer partitions: when the delete had to wait for a row (a cancel
 * that is just committing), Postgres 18 checks the row in a second copy of the plan, which renumbers the partitions
 * that are left a second time. Then the update finds none, and the job would be unfinished and nowhere.
 */
export const settleLeases = many<{ readonly settlements: readonly SettleRecord[] }, SettledRow>(
  'queue.settle',
  `with item as materialized (
     select * from json_to_recordset($1::json) as i (
       tenant_id uuid, job_id uuid, lease_id bigint, outcome text, delay_ms double precision, why text,
       reason text, error_class text, error_message text, http_status int, config_version int, result text, result_ref json, connector text,
       operation text, inbox_id uuid, request_id text, correlation_id text, trace_id text
     )
   ),
   gone as (
     delete from job_run r using item i
     where r.tenant_id = i.tenant_id and r.job_id = i.job_id and r.lease_id = i.lease_id
     returning i.*, r.queue, r.lane, r.priority, r.seq, r.ready_at, r.attempt, r.node_id, r.started_at,
               r.cancel_why
   ),
   ended as materialized (
     select g.tenant_id, g.job_id, g.lease_id, g.queue, g.lane, g.priority, g.seq, g.ready_at, g.attempt,
            g.node_id, g.started_at,
            case when cancelled then 'cancelled' else g.outcome end as outcome,
            case when cancelled or g.outcome = 'cancelled' then coalesce(g.cancel_why, g.why) else g.why end as why,
            case when not cancelled and g.outcome in ('retry', 'snoozed')
              then at + g.delay_ms * interval '1 millisecond' end as next_run_at,
            at, round(extract(epoch from at - g.started_at) * 1000) as duration_ms, g.reason, g.error_class, g.error_message, g.http_status, g.config_version, g.result, g.result_ref, g.connector, g.operation,
            g.inbox_id, g.request_id, g.correlation_id, g.trace_id
     from gone g
     cross join lateral (select clock_timestamp() as at,
       g.cancel_why is not null and g.outcome in ('retry', 'snoozed', 'returned') as cancelled) as c
   ),
   attempts as (
     insert into job_attempt (tenant_id, job_id, lease_id, attempt, node_id, started_at, ended_at, outcome, why,
                              error_class, error_message, http_status, config_version, next_run_at, result,
                              result_ref)
     select tenant_id, job_id, lease_id, attempt, node_id, started_at, at, outcome, why,
            error_class, error_message, http_status, config_version, next_run_at, result::json, result_ref
     from ended
   ),
   ready as (
     insert into job_ready (queue, tenant_id, lane, priority, seq, job_id, attempt, ready_at)
     select queue, tenant_id, lane, priority, ${PLACE_SEQ}, job_id, attempt, ${PLACE_AT}
     from ended where outcome = 'returned'
   ),
   later as (
     insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
     select tenant_id, job_id, next_run_at, queue, lane, priority,
            case outcome when 'retry' then attempt + 1 else attempt end,
            case outcome when 'retry' then 'retry' else 'snooze' end
     from ended where outcome in ('retry', 'snoozed')
   ),
   buried as (
     insert into job_dead (tenant_id, job_id, queue, lane, connector, operation, dead_at, reason, attempts,
                           error_class, error_message, http_status)
     select tenant_id, job_id, queue, lane, connector, operation, at, reason, attempt,
            error_class, error_message, http_status
     from ended where outcome = 'dead'
   ),
   finished as (
     update job j set state = e.outcome, finished_at = e.at, attempts = e.attempt
     from ended e
     where e.outcome in ('done', 'dead', 'cancelled')
       and j.tenant_id = e.tenant_id and j.id = e.job_id and j.state = 'queued'
   ),
   told as (
     insert into event (tenant_id, type, severity, message, connector, job_id, inbox_id, request_id,
                        correlation_id, trace_id, data)
     select tenant_id,
            case outcome when 'done' then 'job.succeeded' when 'retry' then 'job.retry_scheduled'
              when 'snoozed' then 'job.snoozed' when 'dead' then 'job.dead_lettered'
              when 'cancelled' then 'job.cancelled' else 'job.returned' end,
            case outcome when 'dead' then 'error' when 'retry' then 'warning' else 'info' end,
            why, connector, job_id, inbox_id, request_id, correlation_id, trace_id,
            case outcome when 'done' then json_build_object(
              'queue', queue_name(queue), 'operation', operation, 'attempt', attempt,
              'duration_ms', duration_ms, 'http_status', http_status)
            else json_strip_nulls(json_build_object(
              'queue', queue_name(queue), 'operation', operation, 'attempt', attempt, 'next_run_at', next_run_at,
              'duration_ms', duration_ms, 'reason', reason, 'error_class', error_class,
              'http_status', http_status)) end
     from ended
   )
   select job_id, lease_id, outcome, why from ended`,
  ({ settlements }) => [JSON.stringify(settlements)],
)
