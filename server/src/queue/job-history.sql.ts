import { one, run } from '../platform/db/statement.ts'

/** Ids from `low` on and before `high`: one day. */
interface IdRange {
  readonly low: string
  readonly high: string
}

/** What is not over, as far as small tables tell it. A row of `job_ready` does not: a cancelled job leaves it behind. */
export const findOpenJobs = one<IdRange, { readonly unfinished: boolean; readonly letters: boolean }>(
  'queue.open_jobs_of_day',
  `select exists (select from job_run where job_id >= $1 and job_id < $2)
            or exists (select from job_deferred where job_id >= $1 and job_id < $2) as unfinished,
          exists (select from job_dead where job_id >= $1 and job_id < $2) as letters`,
  ({ low, high }) => [low, high],
)

/** Reads every job of the day: no index knows the state. `kept_ms`: until the last one has ended `days` ago. */
export const findEnds = one<
  IdRange & { readonly days: number },
  { readonly unfinished: number; readonly kept_ms: number | null }
>(
  'queue.ends_of_day',
  `select count(*) filter (where state = 'queued') as unfinished,
          ceil(extract(epoch from max(finished_at) + $3 * interval '1 day' - clock_timestamp()) * 1000)::float8
            as kept_ms
   from job where id >= $1 and id < $2`,
  ({ low, high, days }) => [low, high, days],
)

/** Rows that wait for moments which jobs of the day did not live to see. */
export const forgetExpiries = run<IdRange & { readonly limit: number }>(
  'queue.forget_expiries_of_day',
  `delete from job_expiry where ctid = any (array(
     select ctid from job_expiry where job_id >= $1 and job_id < $2 limit $3))`,
  ({ low, high, limit }) => [low, high, limit],
)

/** Rows that cancelled jobs of the day left behind, in lanes that nobody has claimed from since. */
export const forgetReady = run<IdRange & { readonly limit: number }>(
  'queue.forget_ready_of_day',
  `delete from job_ready where ctid = any (array(
     select ctid from job_ready where job_id >= $1 and job_id < $2 limit $3))`,
  ({ low, high, limit }) => [low, high, limit],
)
