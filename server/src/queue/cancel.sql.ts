import { maybeOne } from '../platform/db/statement.ts'
import type { Completion } from './job.ts'
import { JOB_COLUMNS, type JobRow } from './job-row.ts'

interface JobRef {
  readonly tenantId: string
  readonly id: string
}

/** Asks the worker that holds the job to stop; a second request leaves the first one as it is. */
export const requestCancel = maybeOne<
  JobRef & { readonly why: string },
  { readonly lease_id: number; readonly first: boolean }
>(
  'queue.request_cancel',
  `update job_run r set cancel_requested_at = coalesce(r.cancel_requested_at, clock_timestamp()),
                        cancel_why = coalesce(r.cancel_why, $3)
   from (select lease_id, cancel_requested_at is null as first from job_run
         where tenant_id = $1 and job_id = $2 for update) as held
   where r.tenant_id = $1 and r.job_id = $2 and r.lease_id = held.lease_id
   returning r.lease_id, held.first`,
  ({ tenantId, id, why }) => [tenantId, id, why],
)

export const removeDeferred = maybeOne<JobRef, { readonly attempt: number }>(
  'queue.remove_deferred',
  'delete from job_deferred where tenant_id = $1 and job_id = $2 returning attempt',
  ({ tenantId, id }) => [tenantId, id],
)

/**
 * Finishes a job that nobody holds. A row it leaves in `job_ready` is dropped by the next claim of its lane:
 * finding it here would mean walking the lane.
 */
export const finishCancelled = maybeOne<JobRef, JobRow & { readonly attempts: number }>(
  'queue.finish_cancelled',
  `update job j
   set state = 'cancelled', finished_at = clock_timestamp(),
       attempts = (select count(*) from job_attempt a
                   where a.tenant_id = $1 and a.job_id = $2 and a.lease_id > coalesce(j.earlier_leases, 0)
                     and a.outcome in ('retry', 'lost'))
   from job_payload p
   where j.tenant_id = $1 and j.id = $2 and j.state = 'queued' and p.tenant_id = $1 and p.job_id = $2
   returning j.attempts, ${JOB_COLUMNS}`,
  ({ tenantId, id }) => [tenantId, id],
)

export const stateOf = maybeOne<
  JobRef,
  {
    readonly state: string
    readonly connector: string
    readonly correlation_id: string
    readonly trace_id: string
  }
>(
  'queue.state_of',
  'select state, connector, correlation_id, trace_id from job where tenant_id = $1 and id = $2',
  ({ tenantId, id }) => [tenantId, id],
)

export const selectCompletion = maybeOne<JobRef, { readonly completion: Completion | null }>(
  'queue.completion_of',
  'select completion from job_payload where tenant_id = $1 and job_id = $2',
  ({ tenantId, id }) => [tenantId, id],
)
