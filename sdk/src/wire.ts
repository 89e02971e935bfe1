/** What goes over the wire to and from the execution plane; field by field in docs/api/exec.json. */

export type Metadata = Readonly<Record<string, string>>

export interface ExecuteRequest {
  readonly connector: string
  readonly operation: string
  readonly input: unknown
  readonly options?: {
    readonly timeout_ms?: number
    readonly dry_run?: boolean
    readonly metadata?: Metadata
  }
}

export interface ExecuteResult<Output = unknown> {
  readonly status: 'ok'
  readonly execution_id: string
  readonly output: Output
  readonly upstream: { readonly http_status: number | null }
  readonly attempts: number
  readonly latency_ms: number
  readonly idempotency: {
    readonly key: string
    /** What goes upstream, where the provider takes a key: look for it there. */
    readonly upstream_key: string
    /** True: the stored answer of an earlier call. */
    readonly replayed: boolean
    /** Until then the key gives this answer; null when nothing is remembered. */
    readonly expires_at: string | null
  }
  /** The operator who found out what came of an unknown outcome. */
  readonly settled_by?: string
  readonly request_id: string
  readonly trace_id: string
}

export type QueueName = 'critical' | 'webhook' | 'default' | 'low'

export interface JobRequest {
  readonly connector: string
  readonly operation: string
  readonly input: unknown
  readonly queue?: QueueName
  /** 1 first, 4 last. */
  readonly priority?: number
  /** ISO 8601. */
  readonly run_at?: string
  /** ISO 8601; a job that has not started by then becomes a dead letter. */
  readonly expires_at?: string
  readonly callback?: { readonly connector: string }
  readonly metadata?: Metadata
}

export interface JobAccepted {
  readonly job_id: string
  readonly status: 'queued'
  readonly queued_at: string
  readonly request_id: string
  readonly trace_id: string
}

export interface Job {
  readonly id: string
  readonly state: string
  readonly queue: QueueName
  readonly connector: string
  readonly operation: string
  readonly attempts: number
  readonly next_run_at: string | null
  readonly expires_at: string | null
  readonly created_at: string
  readonly finished_at: string | null
  /** Of the delivery of a webhook the whole message, with its payload. */
  readonly input: unknown
  /** Why `input` is not whole, e.g. `payload_erased`; null when it is. */
  readonly input_missing: { readonly code: string; readonly message: string } | null
  /** What the operation answered; null until the job is done. */
  readonly result: unknown
  readonly dead_reason: string | null
  readonly metadata: Readonly<Record<string, unknown>>
  readonly correlation_id: string
  readonly trace_id: string
}

export interface JobAttempt {
  readonly attempt: number
  readonly outcome: string
  /** One sentence. */
  readonly why: string
  readonly started_at: string
  readonly ended_at: string
  readonly http_status: number | null
  /** The config version that it ran on; null when it came to no connector. */
  readonly config_version: number | null
  readonly error: { readonly class: string; readonly message: string } | null
  readonly next_run_at: string | null
}

export interface EventFilter {
  readonly type?: string
  readonly connector?: string
  readonly severity?: 'debug' | 'info' | 'warning' | 'error'
  readonly trace_id?: string
  readonly job_id?: string
  readonly order?: 'asc' | 'desc'
  readonly cursor?: string
  readonly limit?: number
}

export interface HubEvent {
  /** The place in the log: send it as `cursor` to go on after it. */
  readonly id: string
  readonly at: string
  readonly type: string
  readonly severity: string
  readonly message: string
  readonly connector: string | null
  readonly job_id: string | null
  readonly inbox_id: string | null
  readonly request_id: string | null
  readonly correlation_id: string | null
  readonly trace_id: string | null
  readonly data: Readonly<Record<string, unknown>>
}

export interface Page<Item> {
  readonly data: readonly Item[]
  /** Null on the last page. */
  readonly next_cursor: string | null
}

/** A problem document of the hub (RFC 9457). */
export interface ProblemDocument {
  readonly type: string
  readonly title: string
  readonly status: number
  readonly detail: string
  readonly code: string
  readonly retryable: boolean
  /** What to do next, one sentence. */
  readonly next?: string
  readonly details?: readonly { readonly path: string; readonly message: string }[]
  readonly request_id: string
  readonly trace_id: string
  /** For executions: `unknown` = it may have had its effect; `not_sent` = it has not. */
  readonly outcome?: string
  readonly execution_id?: string
  /** For executions: the key to repeat the call with. */
  readonly idempotency?: {
    readonly key: string
    readonly upstream_key: string
    readonly replayed: boolean
    readonly expires_at: string | null
  }
  /** On the control plane: where an operator enters what came of an unknown outcome. */
  readonly settle?: string
  readonly upstream?: { readonly http_status: number; readonly body_excerpt: string }
}
