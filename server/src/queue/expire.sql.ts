import { many } from '../platform/db/statement.ts'
import { JOB_COLUMNS, type JobRow } from './job-row.ts'

interface ExpiryKey {
  readonly tenant_id: string
  readonly job_id: string
}

/**
 * Jobs whose time is over, of workspaces whose claims this locks out until the end of the transaction (the lock of
 * `claim_jobs`). Those of a workspace that a worker is just claiming for are left for the next round. The time is
 * the statement's, so that it bounds the scan of the index (see `promoteDue`).
 */
export const lockExpired = many<{ readonly limit: number }, ExpiryKey>(
  'queue.lock_expired',
  `with due as materialized (
     select tenant_id, job_id from job_expiry where check_at <= statement_timestamp()
     order by check_at limit $1
     for update skip locked
   ),
   tenant as materialized (select distinct tenant_id from due),
   locked as materialized (
     select tenant_id, pg_try_advisory_xact_lock(7101, uuid_hash(tenant_id)) as won from tenant
   )
   select d.tenant_id, d.job_id from due d join locked l on l.tenant_id = d.tenant_id and l.won`,
  ({ limit }) => [limit],
)

export interface ExpiredRow extends JobRow {
  readonly attempts: number
  readonly why: string
}

/** Rows of a lane that are looked through for a job: a backlog of millions must not be walked. */
const WALK = 5_000

/**
 * Ends those of the jobs that wait. What is not ended is looked at again later: one that runs has started in time
 * but may be retried, and one deep in its lane comes to the head, where it is found here or put aside by a claim.
 * Must be a statement of its own after `lockExpired`: only then does it see what the last claim did. What ends is
 * taken out of the place where it waits, because a replay puts it back there.
 */
export const endExpired = many<{ readonly keys: readonly ExpiryKey[] }, ExpiredRow>(
  'queue.end_expired',
  `with asked as materialized (
     select * from json_to_recordset($1::json) as a (tenant_id uuid, job_id uuid)
   ),
   seen as materialized (
     select a.*, j.*
     from asked a
     left join lateral (
       select queue, lane, priority, state = 'queued' and coalesce(expires_at <= clock_timestamp(), false) as over
       from job where tenant_id = a.tenant_id and id = a.job_id offset 0
     ) as j on true
   ),
   undeferred as (
     delete from job_deferred d using seen s
     where s.over and d.tenant_id = s.tenant_id and d.job_id = s.job_id
     returning d.tenant_id, d.job_id
   ),
   walked as materialized (
     select r.place
     from (select distinct queue, tenant_id, lane, priority from seen where over) as l
     cross join lateral (
       select ctid as place, job_id from job_ready
       where queue = l.queue and tenant_id = l.tenant_id and lane = l.lane and priority = l.priority
       order by seq limit ${WALK}
     ) as r
     where r.job_id = any (array(select job_id from seen where over))
   ),
   unready as (
     delete from job_ready where ctid = any (array(select place from walked)) returning tenant_id, job_id
   ),
   gone as materialized (select * from undeferred union all select * from unready),
   again as (
     update job_expiry e set check_at = clock_timestamp() + interval '5 seconds'
     from seen s
     where s.over and e.tenant_id = s.tenant_id and e.job_id = s.job_id
       and not exists (select from gone g where g.tenant_id = s.tenant_id and g.job_id = s.job_id)
   ),
   looked_at as (
     delete from job_expiry e using seen s
     where e.tenant_id = s.tenant_id and e.job_id = s.job_id
       and (s.over is not true
         or exists (select from gone g where g.tenant_id = s.tenant_id and g.job_id = s.job_id))
   ),
   finished as (
     update job j
     set state = 'dead', finished_at = clock_timestamp(),
         attempts = (select count(*) from job_attempt a
                     where a.tenant_id = j.tenant_id and a.job_id = j.id
                       and a.lease_id > coalesce(j.earlier_leases, 0) and a.outcome in ('retry', 'lost'))
     from gone g
     where j.tenant_id = g.tenant_id and j.id = g.job_id
     returning j.*
   ),
   known as materialized (
     select j.attempts, j.finished_at as at, j.expires_at,
            case j.attempts when 0 then 'The job did not start before it expired.'
              else 'The job was not tried again before it expired.' end as why,
            ${JOB_COLUMNS}
     from finished j
     cross join lateral (
       select * from job_payload where tenant_id = j.tenant_id and job_id = j.id offset 0
     ) as p
   ),
   buried as (
     insert into job_dead (tenant_id, job_id, queue, lane, connector, operation, dead_at, reason, attempts,
                           error_class, error_message)
     select tenant_id, id, queue, lane, connector, operation, at, 'expired', attempts, 'expired', why from known
   ),
   told as materialized (
     select append_events(json_agg(json_build_object(
       'tenant_id', tenant_id, 'type', 'job.dead_lettered', 'severity', 'error', 'message', why,
       'connector', connector, 'job_id', id, 'inbox_id', inbox_id, 'request_id', request_id,
       'correlation_id', correlation_id, 'trace_id', trace_id,
       'data', json_build_object('queue', queue_name(queue), 'operation', operation, 'attempt', attempts,
                                 'reason', 'expired', 'expires_at', expires_at)
     ))) as events
     from known
   )
   select known.* from known, told`,
  ({ keys }) => [JSON.stringify(keys)],
)
