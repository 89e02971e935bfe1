import { many, maybeOne, one } from '../platform/db/statement.ts'

/** The days that `job` has partitions of, oldest first. */
export const listJobDays = many<undefined, { readonly day: string }>(
  'queue.job_days',
  `select to_char(to_date(right(c.relname, 8), 'YYYYMMDD'), 'YYYY-MM-DD') as day
   from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = 'job'::regclass
   order by 1`,
  () => [],
)

/** Days before this one get no new jobs: ids carry the time of their process, whose clock may be a day behind. */
export const closedBefore = one<undefined, { readonly day: string }>(
  'queue.closed_before',
  `select to_char((now() at time zone 'UTC') - interval '1 day', 'YYYY-MM-DD') as day`,
  () => [],
)

/** For the rest of the transaction. */
export const limitLook = one<{ readonly ms: number }, { readonly set: string }>(
  'queue.limit_look',
  `select set_config('statement_timeout', $1::text, true) as set`,
  ({ ms }) => [String(ms)],
)

export interface DayRow {
  readonly unfinished: number
  readonly misplaced: readonly { readonly tenant_id: string; readonly id: string }[]
}

/**
 * Unfinished jobs of one day, and those of them that are in none or in several of ready, run and deferred. Every
 * step of a job is one transaction, so one snapshot shows each in exactly one place: whoever is in the answer is
 * really misplaced, however busy the queue is.
 */
export const findMisplaced = one<{ readonly day: string; readonly limit: number }, DayRow>(
  'queue.find_misplaced',
  `with bound as materialized (
     select first_id_at($1::timestamp at time zone 'UTC') as low,
            first_id_at(($1::timestamp + interval '1 day') at time zone 'UTC') as high
   ),
   unfinished as materialized (
     select tenant_id, id from job
     where id >= (select low from bound) and id < (select high from bound) and state = 'queued'
   ),
   placed as materialized (
     select tenant_id, job_id, count(*) as places
     from (
       select tenant_id, job_id from job_ready
       union all select tenant_id, job_id from job_run
       union all select tenant_id, job_id from job_deferred
     ) as p
     where job_id >= (select low from bound) and job_id < (select high from bound)
     group by tenant_id, job_id
   )
   select (select count(*) from unfinished) as unfinished,
          (select coalesce(json_agg(m), '[]') from (
             select u.tenant_id, u.id
             from unfinished u
             left join placed p on p.tenant_id = u.tenant_id and p.job_id = u.id
             where coalesce(p.places, 0) <> 1
             limit $2
           ) as m) as misplaced`,
  ({ day, limit }) => [day, limit],
)

export interface RepairRow {
  readonly fault: string
  readonly queue: number
  readonly lane: number
  /** It became ready. */
  readonly revived: boolean
}

/**
 * Looks again and repairs: a job in no place becomes ready with the attempt that it was due for; of several places
 * the one with a worker stays, else the newest attempt, else the later time. Needs the claim lock of the workspace,
 * taken in a statement before: nobody but a settlement can move the job then, and that only out of `job_run`.
 */
export const repairJob = maybeOne<{ readonly tenantId: string; readonly id: string }, RepairRow>(
  'queue.repair',
  `with open as materialized (
     select * from job where tenant_id = $1 and id = $2 and state = 'queued'
   ),
   place as materialized (
     select 'run' as kind, r.attempt, null::tid as at, 0 as preferred
     from job_run r where r.tenant_id = $1 and r.job_id = $2
     union all
     select 'deferred', d.attempt, null, 1
     from job_deferred d where d.tenant_id = $1 and d.job_id = $2
     union all
     select 'ready', r.attempt, r.ctid, 2
     from open o
     join job_ready r on r.queue = o.queue and r.tenant_id = $1 and r.lane = o.lane and r.job_id = $2
   ),
   ranked as materialized (
     select *, row_number() over (order by (kind = 'run') desc, attempt desc, preferred, at) as rank,
            count(*) over () as places
     from place
   ),
   known as materialized (
     select o.*, coalesce((select max(places) from ranked), 0) as places,
            (select string_agg(kind, ' and ' order by rank) from ranked) as kinds,
            1 + (select count(*) from job_attempt a
                 where a.tenant_id = $1 and a.job_id = $2 and a.lease_id > coalesce(o.earlier_leases, 0)
                   and a.outcome in ('retry', 'lost')) as due_attempt
     from open o
   ),
   unready as (
     delete from job_ready
     where ctid = any (array(select at from ranked where kind = 'ready' and rank > 1))
   ),
   undeferred as (
     delete from job_deferred d using ranked r
     where d.tenant_id = $1 and d.job_id = $2 and r.kind = 'deferred' and r.rank > 1
   ),
   revived as (
     insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
     select queue, tenant_id, lane, priority, id, due_attempt from known where places = 0
   ),
   told as materialized (
     select append_events(json_agg(json_build_object(
       'tenant_id', tenant_id, 'type', 'job.repaired', 'severity', 'error',
       'message', case places when 0 then 'The job waited nowhere and was made ready again.'
                  else 'The job was ' || kinds || ' at once; only the first was kept.' end,
       'connector', connector, 'job_id', id, 'inbox_id', inbox_id, 'request_id', request_id,
       'correlation_id', correlation_id, 'trace_id', trace_id,
       'data', json_build_object('queue', queue_name(queue), 'operation', operation, 'places', places)
     ))) as events
     from known where places <> 1
   )
   select case places when 0 then 'nowhere' else kinds end as fault, queue, lane, places = 0 as revived
   from known, told where places <> 1`,
  ({ tenantId, id }) => [tenantId, id],
)
