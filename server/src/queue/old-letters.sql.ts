import { one } from '../platform/db/statement.ts'

/** Moves letters into the bin that have waited for too long; the timelines of the jobs tell it. */
export const binOldLetters = one<
  { readonly days: number; readonly limit: number },
  { readonly moved: number }
>(
  'dead_letters.bin_old',
  `with old as materialized (
     select tenant_id, job_id from job_dead
     where not binned
       -- The shortest of all first, because the index knows only the time.
       and coalesce(restored_at, dead_at) < now() - interval '1 day' * shortest_keep('dead_letters', $1)
       and coalesce(restored_at, dead_at) < now() - interval '1 day' * keep_days(tenant_id, 'dead_letters', $1)
     order by coalesce(restored_at, dead_at) limit $2
     for update skip locked
   ),
   moved as (
     update job_dead d set purged_at = clock_timestamp()
     from old where d.tenant_id = old.tenant_id and d.job_id = old.job_id
     returning d.tenant_id, d.job_id, d.queue, d.connector, d.operation
   ),
   told as materialized (
     select append_events(json_agg(json_build_object(
       'tenant_id', m.tenant_id, 'type', 'job.purged',
       'message', 'Moved to the bin by retention: it had been a dead letter for '
         || keep_days(m.tenant_id, 'dead_letters', $1) || ' days.',
       'connector', m.connector, 'job_id', m.job_id, 'inbox_id', j.inbox_id,
       'correlation_id', j.correlation_id, 'trace_id', j.trace_id,
       'data', json_build_object('queue', queue_name(m.queue), 'operation', m.operation, 'actor', 'retention')
     ))) as events
     from moved m
     left join lateral (
       select * from job where tenant_id = m.tenant_id and id = m.job_id offset 0
     ) as j on true
   )
   select count(*) as moved from moved, told`,
  ({ days, limit }) => [days, limit],
)
