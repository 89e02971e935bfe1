import { type ClaimedJob, type Completion, type InputRef, queueName, upstreamKeyOf } from './job.ts'

/** What `job` and `job_payload` say of a job for good, as several statements return it. */
export interface JobRow {
  readonly tenant_id: string
  readonly id: string
  readonly queue: number
  readonly lane: number
  readonly connector: string
  readonly operation: string
  readonly metadata: Readonly<Record<string, unknown>>
  readonly completion: unknown
  readonly input_ref: unknown
  readonly idempotency_key: string | null
  readonly inbox_id: string | null
  readonly created_by: string
  /** Text when the row came inside a JSON answer. */
  readonly created_at: Date | string
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
  readonly traceparent: string
}

/** The columns of a `JobRow`, from `job j` and `job_payload p`. */
export const JOB_COLUMNS = `j.tenant_id, j.id, j.queue, j.lane, j.connector, j.operation, p.metadata, p.completion, p.input_ref,
  j.idempotency_key, j.inbox_id, j.created_by, j.created_at, j.request_id, j.correlation_id, j.trace_id,
  j.traceparent`

/**
 * Where a row of `job_run` goes back to in its lane. Claims of other nodes may be past it: their next look around
 * finds it at the head. Null in leases that an older version started.
 */
export const PLACE_SEQ = `coalesce(seq, nextval('job_ready_seq'))`
export const PLACE_AT = 'coalesce(ready_at, clock_timestamp())'

export const factsOf = (row: JobRow): Omit<ClaimedJob, 'input' | 'leaseId' | 'attempt'> => ({
  id: row.id,
  tenantId: row.tenant_id,
  queue: queueName(row.queue),
  lane: row.lane,
  connector: row.connector,
  operation: row.operation,
  metadata: row.metadata,
  // Written by our own enqueue, from a `Completion`.
  completion: row.completion as Completion | null,
  // Written by our own enqueue, too.
  inputRef: row.input_ref as InputRef | null,
  idempotencyKey: row.idempotency_key ?? upstreamKeyOf(row.id),
  inboxId: row.inbox_id,
  createdBy: row.created_by,
  createdAt: new Date(row.created_at),
  call: {
    requestId: row.request_id,
    correlationId: row.correlation_id,
    traceId: row.trace_id,
    traceparent: row.traceparent,
  },
})
