import { many, run } from '../platform/db/statement.ts'
import type { AttemptRecord } from './job.ts'

export interface InboxJobsArgs {
  readonly tenantId: string
  /** Only jobs older than this id. */
  readonly before: string
  readonly window: number
}

/** `inbox_id` is null for a job that no webhook has caused, or whose history is no longer kept. */
export interface InboxJobRow {
  readonly job_id: string
  readonly inbox_id: string | null
  readonly attempt: number | null
}

const list = (table: 'job_run' | 'job_deferred' | 'job_dead', attempt: string) =>
  many<InboxJobsArgs, InboxJobRow>(
    `queue.inbox_jobs_of_${table}`,
    `select s.job_id, j.inbox_id, s.attempt
     from (select job_id, ${attempt} as attempt from ${table}
           where tenant_id = $1 and job_id < $2 order by job_id desc limit $3) as s
     left join lateral (select inbox_id from job where tenant_id = $1 and id = s.job_id offset 0) as j on true
     order by s.job_id desc`,
    ({ tenantId, before, window }) => [tenantId, before, window],
  )

export const listInboxJobs = {
  running: list('job_run', 'attempt'),
  deferred: list('job_deferred', 'attempt'),
  dead: list('job_dead', 'null::int'),
}

export const selectAttempts = many<
  {
    readonly tenantId: string
    readonly ids: readonly string[]
    readonly afterUs: number
    readonly limit: number
  },
  AttemptRecord & { readonly job_id: string; readonly started_us: number }
>(
  'queue.attempts_of_jobs',
  `select job_id, attempt, lease_id, node_id, to_json(started_at)#>>'{}' as started_at,
          to_json(ended_at)#>>'{}' as ended_at, outcome, why, error_class, error_message, http_status,
          config_version, to_json(next_run_at)#>>'{}' as next_run_at, started_us
   from (
     select *, (extract(epoch from started_at) * 1000000)::bigint as started_us
     from job_attempt where tenant_id = $1 and job_id = any($2::uuid[])
   ) as a
   where started_us >= $3 order by started_us, lease_id limit $4`,
  ({ tenantId, ids, afterUs, limit }) => [tenantId, ids, afterUs, limit],
)

/**
 * Inputs that are with their jobs move to a place that says that they are gone; what is elsewhere is erased there. What
 * was to follow the end of the job names values of the input, too.
 */
export const eraseInputs = run<{
  readonly tenantId: string
  readonly ids: readonly string[]
  readonly inputRef: object
}>(
  'queue.erase_inputs',
  `update job_payload
   set input = case when input_ref is null then '{"erased": true}' else input end,
       input_ref = coalesce(input_ref, $3::json), completion = null
   where tenant_id = $1 and job_id = any($2::uuid[])`,
  ({ tenantId, ids, inputRef }) => [tenantId, ids, JSON.stringify(inputRef)],
)

export const eraseResults = run<{ readonly tenantId: string; readonly ids: readonly string[] }>(
  'queue.erase_results',
  `update job_attempt set result = null, result_ref = null
   where tenant_id = $1 and job_id = any($2::uuid[]) and (result is not null or result_ref is not null)`,
  ({ tenantId, ids }) => [tenantId, ids],
)
