import { many, run } from '../../platform/db/statement.ts'
import type { EventRecord } from '../../platform/event-log.ts'

/** A row of the request log in the shape of its table. */
export interface RequestLogRow {
  readonly tenant_id: string
  readonly id: string
  /** ISO 8601. */
  readonly at: string
  readonly connector: string
  readonly operation: string
  readonly subject: string
  readonly outcome: string
  readonly http_status: number | null
  readonly attempts: number
  readonly latency_ms: number
  readonly dry_run: boolean
  readonly config_version: number
  readonly idempotency_key: string | null
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
  readonly metadata: Readonly<Record<string, string>>
}

/**
 * Writes log rows, each with the event that tells of it: one statement, so both are there or neither. A row that
 * is there already (the answer to its commit was lost) is left alone, and its event is not told again.
 */
export const insertRequestLog = run<{
  readonly entries: readonly (RequestLogRow & { readonly event: EventRecord })[]
}>(
  'execute.insert_request_log',
  `with entry as materialized (
     select * from json_to_recordset($1::json) as r (
       tenant_id uuid, id uuid, at timestamptz, connector text, operation text, subject text, outcome text,
       http_status int, attempts int, latency_ms int, dry_run boolean, config_version int, idempotency_key text,
       request_id text, correlation_id text, trace_id text, metadata json, event json
     )
   ),
   logged as (
     insert into request_log (tenant_id, id, at, connector, operation, subject, outcome, http_status, attempts,
                              latency_ms, dry_run, config_version, idempotency_key, request_id, correlation_id,
                              trace_id, metadata)
     select tenant_id, id, at, connector, operation, subject, outcome, http_status, attempts,
            latency_ms, dry_run, config_version, idempotency_key, request_id, correlation_id, trace_id, metadata
     from entry
     on conflict (tenant_id, id) do nothing
     returning id
   )
   select append_events(json_agg(event order by id)) from entry where id in (select id from logged)`,
  ({ entries }) => [JSON.stringify(entries)],
)

export interface LoggedCallRow {
  readonly request_id: string
  readonly at: Date
  readonly connector: string
  readonly operation: string
  readonly outcome: string
  readonly http_status: number | null
  readonly attempts: number
  readonly latency_ms: number
}

/** The newest calls, newest first. Looks at `depth` rows of the workspace at most: no index knows the connector. */
export const listLoggedCalls = many<
  {
    tenantId: string
    connector: string | null
    operation: string | null
    limit: number
    depth: number
  },
  LoggedCallRow
>(
  'execute.list_logged_calls',
  `select request_id, at, connector, operation, outcome, http_status, attempts, latency_ms
   from (select * from request_log where tenant_id = $1 order by id desc limit $5) as newest
   where not dry_run and ($2::text is null or connector = $2) and ($3::text is null or operation = $3)
   order by id desc limit $4`,
  ({ tenantId, connector, operation, limit, depth }) => [tenantId, connector, operation, limit, depth],
)
