import { one } from '../platform/db/statement.ts'

export interface PromoteRow {
  readonly promoted: number
  readonly lanes: readonly { readonly queue: number; readonly tenant_id: string; readonly lane: number }[]
  /** Milliseconds until the next deferred job is due; null = none. */
  readonly next_ms: number | null
  /** Nothing that is due is left up to here, but for what commits late; null when the limit was reached. */
  readonly clear_until: string | null
}

/**
 * Moves due jobs into their lanes, the longest due first. By ctid, because a join would choose its plan by
 * statistics of a table that is empty one minute and full the next; deferred rows are never updated, so a ctid
 * keeps its meaning. The time is the statement's: `clock_timestamp()` may differ from row to row, so it would not
 * bound the scan of the index, and every round would read all that is scheduled. `after` keeps it from walking the dead
 * entries of what was promoted before, which stay in the index as long as an old snapshot does.
 */
export const promoteDue = one<{ readonly limit: number; readonly after: string }, PromoteRow>(
  'queue.promote',
  `with due as materialized (
     select ctid as place from job_deferred where run_at <= statement_timestamp() and run_at > $2::timestamptz
     order by run_at limit $1
     for update skip locked
   ),
   gone as (
     delete from job_deferred where ctid = any (array(select place from due)) returning *
   ),
   ready as (
     insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
     select queue, tenant_id, lane, priority, job_id, attempt from gone order by run_at
   )
   select (select count(*)::int from gone) as promoted,
          (select coalesce(json_agg(l), '[]') from (select distinct queue, tenant_id, lane from gone) as l) as lanes,
          (select extract(epoch from run_at - clock_timestamp())::float8 * 1000 from job_deferred
           where run_at > now() order by run_at limit 1) as next_ms,
          case when (select count(*) from gone) < $1
            then (statement_timestamp() - interval '2 seconds')::text end as clear_until`,
  ({ limit, after }) => [limit, after],
)
