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

type Entry = RequestLogRow & { readonly event: EventRecord }

/** The columns in the order of the parameters; those of the event that the row has as well stand once. */
const COLUMNS: readonly [name: string, type: string, of: (entry: Entry) => unknown][] = [
  ['tenant_id', 'uuid', ({ tenant_id }) => tenant_id],
  ['id', 'uuid', ({ id }) => id],
  ['at', 'timestamptz', ({ at }) => at],
  ['connector', 'text', ({ connector }) => connector],
  ['operation', 'text', ({ operation }) => operation],
  ['subject', 'text', ({ subject }) => subject],
  ['outcome', 'text', ({ outcome }) => outcome],
  ['http_status', 'int', ({ http_status }) => http_status],
  ['attempts', 'int', ({ attempts }) => attempts],
  ['latency_ms', 'int', ({ latency_ms }) => latency_ms],
  ['dry_run', 'boolean', ({ dry_run }) => dry_run],
  ['config_version', 'int', ({ config_version }) => config_version],
  ['idempotency_key', 'text', ({ idempotency_key }) => idempotency_key],
  ['request_id', 'text', ({ request_id }) => request_id],
  ['correlation_id', 'text', ({ correlation_id }) => correlation_id],
  ['trace_id', 'text', ({ trace_id }) => trace_id],
  ['metadata', 'json', ({ metadata }) => JSON.stringify(metadata)],
  ['event_type', 'text', ({ event }) => event.type],
  ['severity', 'text', ({ event }) => event.severity ?? 'info'],
  ['message', 'text', ({ event }) => event.message ?? ''],
  ['data', 'json', ({ event }) => JSON.stringify(event.data ?? {})],
]
const LOGGED = COLUMNS.slice(0, 17)
  .map(([name]) => name)
  .join(', ')

/**
 * Writes log rows, each with the event that tells of it: one statement, so both are there or neither. A row that
 * is there already (the answer to its commit was lost) is left alone, and its event is not told again.
 */
export const insertRequestLog = run<{ readonly entries: readonly Entry[] }>(
  'execute.insert_request_log',
  `with entry as materialized (
     select * from unnest(${COLUMNS.map(([, type], at) => `$${at + 1}::${type}[]`).join(', ')})
       as r (${COLUMNS.map(([name]) => name).join(', ')})
   ),
   logged as (
     insert into request_log (${LOGGED})
     select ${LOGGED} from entry
     on conflict (tenant_id, id) do nothing
     returning id
   )
   select append_event_columns(
     array_agg(tenant_id), array_agg(event_type), array_agg(severity), array_agg(message), array_agg(connector),
     array_agg(request_id), array_agg(correlation_id), array_agg(trace_id), array_agg(data))
   from entry where id in (select id from logged)`,
  ({ entries }) => COLUMNS.map(([, , of]) => entries.map(of)),
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

/** Executions per connector since an id, among the newest `limit` rows of the workspace: read along the key. */
export const countCalls = many<
  { tenantId: string; sinceId: string; limit: number },
  { connector: string; calls: number }
>(
  'execute.count_calls',
  `select connector, count(*)::int as calls
   from (
     select connector, dry_run from request_log where tenant_id = $1 and id >= $2 order by id desc limit $3
   ) as newest
   where not dry_run group by connector`,
  ({ tenantId, sinceId, limit }) => [tenantId, sinceId, limit],
)
