import { run } from './db/statement.ts'

export const SEVERITIES = ['debug', 'info', 'warning', 'error'] as const
export type Severity = (typeof SEVERITIES)[number]

/** One row for the EventLog, in the shape that the SQL function `append_events` reads. */
export interface EventRecord {
  readonly tenant_id: string
  /** Lower-case words joined by `_` and `.`: what happened, e.g. `job.retried`. */
  readonly type: string
  readonly severity?: Severity
  /** One sentence for people that says why. No secrets, no payloads. */
  readonly message?: string
  readonly connector?: string | undefined
  readonly job_id?: string | undefined
  readonly inbox_id?: string | undefined
  readonly request_id?: string | undefined
  readonly correlation_id?: string | undefined
  readonly trace_id?: string | undefined
  readonly data?: Readonly<Record<string, unknown>>
}

/**
 * Appends events inside the caller's transaction (give it the `Tx` of what the events tell), in the order of
 * the array. Statements that do more in one round trip may call the SQL function `append_events(json)` themselves.
 */
export const appendEvents = run<{ readonly events: readonly EventRecord[] }>(
  'event_log.append',
  'select append_events($1::json)',
  ({ events }) => [JSON.stringify(events)],
)
