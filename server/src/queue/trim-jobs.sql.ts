import { run } from '../platform/db/statement.ts'

/** Ended jobs of one workspace between two ids, with their payloads, attempts and what cancelled ones left behind. */
export const trimJobs = run<{
  readonly tenantId: string
  readonly low: string
  readonly high: string
  readonly days: number
  readonly most: number
}>(
  'queue.trim_jobs',
  `with old as materialized (
     select j.id from job j
     where j.tenant_id = $1 and j.id >= $2 and j.id < $3 and j.state <> 'queued'
       and j.finished_at < now() - $4 * interval '1 day'
       and not exists (select from job_dead d where d.tenant_id = $1 and d.job_id = j.id)
     limit $5
   ),
   payloads as (
     delete from job_payload p using old
     where p.tenant_id = $1 and p.job_id = old.id and p.job_id >= $2 and p.job_id < $3
   ),
   attempts as (
     delete from job_attempt a using old
     where a.tenant_id = $1 and a.job_id = old.id and a.job_id >= $2 and a.job_id < $3
   ),
   expiries as (
     delete from job_expiry e using old where e.tenant_id = $1 and e.job_id = old.id
   ),
   leftovers as (
     delete from job_ready r using old where r.tenant_id = $1 and r.job_id = old.id and r.queue in (0, 1, 2, 3)
   )
   delete from job j using old where j.tenant_id = $1 and j.id = old.id and j.id >= $2 and j.id < $3`,
  ({ tenantId, low, high, days, most }) => [tenantId, low, high, days, most],
)
