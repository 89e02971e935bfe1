import { one } from '../platform/db/statement.ts'
import { DEFAULT_PRIORITY, type NewJob, QUEUES } from './job.ts'

/** A job of the batch that was not stored, by its place `ord`: its key belongs to the job `id`. */
interface OtherJob {
  readonly ord: number
  readonly id: string
  readonly queued_at: string
  /** The key was used for another request. */
  readonly refused: boolean
}

/** See the SQL function `enqueue_jobs`. */
export const enqueueBatch = one<
  { readonly jobs: readonly NewJob[]; readonly allOrNothing: boolean },
  { readonly queued_at: Date; readonly others: readonly OtherJob[] | null }
>('queue.enqueue', 'select * from enqueue_jobs($1::json, $2, $3)', ({ jobs, allOrNothing }) => [
  JSON.stringify(jobs.map(jobRecord)),
  jobs.some(({ dedupe }) => dedupe !== undefined),
  allOrNothing,
])

/** A job as the SQL function `enqueue_jobs` reads it; `ord`: its place in the batch. */
export const jobRecord = (job: NewJob, ord: number) => ({
  ord,
  id: job.id,
  tenant_id: job.tenantId,
  queue: QUEUES[job.queue],
  lane: job.lane,
  priority: job.priority ?? DEFAULT_PRIORITY,
  connector: job.connector,
  operation: job.operation,
  config_version: job.configVersion,
  idempotency_key: job.idempotencyKey,
  inbox_id: job.inboxId,
  created_by: job.createdBy,
  run_at: job.runAt,
  expires_at: job.expiresAt,
  request_id: job.call.requestId,
  correlation_id: job.call.correlationId,
  trace_id: job.call.traceId,
  traceparent: job.call.traceparent,
  // Text inside the JSON: the function casts it to `json` unread, so that \u0000 and key order survive.
  input: JSON.stringify(job.input ?? null),
  input_ref: job.inputRef,
  metadata: JSON.stringify(job.metadata ?? {}),
  completion: job.completion && JSON.stringify(job.completion),
  dedupe_key: job.dedupe?.key,
  request_hash: job.dedupe?.requestHash.toString('hex'),
})

export type JobRecord = ReturnType<typeof jobRecord>
