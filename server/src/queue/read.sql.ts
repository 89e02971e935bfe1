import { many, maybeOne } from '../platform/db/statement.ts'
import type { AttemptRecord, JobState } from './job.ts'

/** One job as the reading statements give it. */
export interface ReadRow {
  readonly id: string
  readonly state: JobState
  readonly queue: number
  readonly priority: number
  readonly connector: string
  readonly operation: string
  readonly config_version: number
  readonly attempts: number
  readonly replays: number
  readonly metadata: Readonly<Record<string, unknown>>
  readonly idempotency_key: string | null
  readonly inbox_id: string | null
  readonly created_by: string
  readonly created_at: Date
  readonly run_at: Date | null
  readonly expires_at: Date | null
  readonly started_at: Date | null
  readonly finished_at: Date | null
  readonly cancel_requested_at: Date | null
  readonly dead_reason: string | null
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
}

const STATE = `case when j.state <> 'queued' then j.state
       when r.job_id is not null then 'running'
       when d.attempt > 1 then 'retrying'
       when d.job_id is not null then 'scheduled'
       else 'queued' end`

/**
 * The live state is where the job lives; `run_at` is the next time, or the one that was asked for. What only the
 * rows of the answer need is a subselect: a join would look it up for every job that a filter looks at.
 */
const COLUMNS = `j.id, j.queue, j.priority, j.connector, j.operation, j.config_version,
  (select p.metadata from job_payload p where p.tenant_id = j.tenant_id and p.job_id = j.id) as metadata,
  (select x.reason from job_dead x where x.tenant_id = j.tenant_id and x.job_id = j.id) as dead_reason,
  coalesce(j.replays, 0) as replays, j.idempotency_key, j.inbox_id, j.created_by, j.created_at, coalesce(d.run_at, j.run_at) as run_at,
  j.expires_at, r.started_at, j.finished_at, r.cancel_requested_at, j.request_id, j.correlation_id,
  j.trace_id,
  ${STATE} as state,
  case when j.state <> 'queued' then j.attempts
       when r.job_id is not null then r.attempt
       when d.job_id is not null then d.attempt - 1
       else (select count(*)::int from job_attempt a where a.tenant_id = j.tenant_id and a.job_id = j.id
             and a.lease_id > coalesce(j.earlier_leases, 0) and a.outcome in ('retry', 'lost')) end as attempts`

const JOINS = `left join job_run r on r.tenant_id = j.tenant_id and r.job_id = j.id
  left join job_deferred d on d.tenant_id = j.tenant_id and d.job_id = j.id`

export const selectJob = maybeOne<
  { readonly tenantId: string; readonly id: string },
  ReadRow & {
    readonly result: unknown
    readonly result_ref: unknown
    readonly ended: readonly AttemptRecord[]
  }
>(
  'queue.find_job',
  `select ${COLUMNS},
     (select a.result from job_attempt a
      where a.tenant_id = $1 and a.job_id = $2 and a.outcome = 'done') as result,
     (select a.result_ref from job_attempt a
      where a.tenant_id = $1 and a.job_id = $2 and a.outcome = 'done') as result_ref,
     (select coalesce(json_agg(json_build_object(
        'attempt', a.attempt, 'lease_id', a.lease_id, 'node_id', a.node_id, 'started_at', a.started_at,
        'ended_at', a.ended_at, 'outcome', a.outcome, 'why', a.why, 'error_class', a.error_class,
        'error_message', a.error_message, 'http_status', a.http_status,
        'config_version', a.config_version, 'next_run_at', a.next_run_at
      ) order by a.lease_id), '[]') from job_attempt a where a.tenant_id = $1 and a.job_id = $2) as ended
   from job j ${JOINS}
   where j.tenant_id = $1 and j.id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

export const selectStates = many<
  { readonly tenantId: string; readonly ids: readonly string[] },
  { readonly id: string; readonly state: JobState }
>(
  'queue.job_states',
  `select j.id, ${STATE} as state
   from job j
     left join job_run r on r.tenant_id = j.tenant_id and r.job_id = j.id
     left join job_deferred d on d.tenant_id = j.tenant_id and d.job_id = j.id
   where j.tenant_id = $1 and j.id = any($2::uuid[])`,
  ({ tenantId, ids }) => [tenantId, ids],
)

/** By the clock of the database; null for a job that has not heard it in its present life. */
export const selectSinceBusy = maybeOne<
  { readonly tenantId: string; readonly id: string },
  { readonly ms: number | null }
>(
  'queue.since_busy',
  `select extract(epoch from clock_timestamp() - min(a.ended_at))::float8 * 1000 as ms
   from job j
   join job_attempt a on a.tenant_id = $1 and a.job_id = $2 and a.lease_id > coalesce(j.earlier_leases, 0)
   where j.tenant_id = $1 and j.id = $2 and a.outcome = 'snoozed' and a.http_status = 429`,
  ({ tenantId, id }) => [tenantId, id],
)

export const selectInput = maybeOne<
  { readonly tenantId: string; readonly id: string },
  { readonly input: unknown; readonly input_ref: unknown }
>(
  'queue.job_input',
  'select input, input_ref from job_payload where tenant_id = $1 and job_id = $2',
  ({ tenantId, id }) => [tenantId, id],
)

export interface ListArgs {
  readonly tenantId: string
  /** Only jobs older than this id. */
  readonly before: string
  readonly window: number
  readonly limit: number
  readonly state: string | null
  readonly connector: string | null
  readonly queue: number | null
}

/** `examined` and `oldest` describe the window and come on every row; a row without an id stands for no match. */
export type ListRow = { readonly examined: number; readonly oldest: string | null } & (
  | ReadRow
  | { readonly id: null }
)

/** Looks at the newest `window` jobs of `source` and keeps those that fit: bounded however rare a match is. */
const list = (name: string, source: string) =>
  many<ListArgs, ListRow>(
    name,
    `with seen as materialized (${source}),
     fitting as (
       select * from (select ${COLUMNS} from seen s join job j on j.tenant_id = $1 and j.id = s.id ${JOINS}) as f
       where ($4::text is null or f.state = $4)
         and ($5::text is null or f.connector = $5)
         and ($6::smallint is null or f.queue = $6)
       order by f.id desc limit $7
     )
     select e.examined, e.oldest, f.*
     from (select count(*)::int as examined, (select id from seen order by id limit 1) as oldest from seen) as e
     left join fitting f on true
     order by f.id desc`,
    ({ tenantId, before, window, state, connector, queue, limit }) => [
      tenantId,
      before,
      window,
      state,
      connector,
      queue,
      limit,
    ],
  )

/** Over the history: any state. */
export const listHistory = list(
  'queue.list_jobs',
  'select id from job where tenant_id = $1 and id < $2 order by id desc limit $3',
)

export const listRunning = list(
  'queue.list_running',
  'select job_id as id from job_run where tenant_id = $1 and job_id < $2 order by job_id desc limit $3',
)

/** Scheduled and retrying jobs. */
export const listDeferred = list(
  'queue.list_deferred',
  'select job_id as id from job_deferred where tenant_id = $1 and job_id < $2 order by job_id desc limit $3',
)

/** Whether a worker was lost with an attempt of the job, in its present life. */
export const selectLost = maybeOne<
  { readonly tenantId: string; readonly id: string },
  { readonly lost: true }
>(
  'queue.select_lost',
  `select true as lost
   from job j
   join job_attempt a on a.tenant_id = $1 and a.job_id = $2 and a.lease_id > coalesce(j.earlier_leases, 0)
   where j.tenant_id = $1 and j.id = $2 and a.outcome = 'lost'
   limit 1`,
  ({ tenantId, id }) => [tenantId, id],
)
