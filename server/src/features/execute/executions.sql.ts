import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export const EXECUTION_STATES = ['running', 'finished', 'unknown'] as const
export type ExecutionState = (typeof EXECUTION_STATES)[number]

/** An execution with a key, as operators see it. */
export interface ExecutionRow {
  readonly execution_id: string
  readonly state: ExecutionState
  readonly key: string
  readonly connector: string
  readonly operation: string
  readonly config_version: number
  readonly subject: string
  readonly repeatable: boolean
  readonly lease: number
  readonly lease_until: Date
  readonly outcome: string | null
  readonly status: number | null
  readonly settled_by: string | null
  readonly tries: number
  readonly next_try_at: Date | null
  readonly unknown_since: Date | null
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
  readonly created_at: Date
  readonly expires_at: Date
}

/** Nobody runs an execution any more whose lease is over, whether the worker has seen that already or not. */
const STATE = `case when k.state = 'running' and k.lease_until < clock_timestamp() then 'unknown' else k.state end`
const COLUMNS = `k.execution_id, ${STATE} as state, k.key, k.connector, k.operation, k.config_version, k.subject,
  k.repeatable, k.lease, k.lease_until, k.outcome, k.status, k.settled_by, k.tries, k.next_try_at, k.unknown_since,
  k.request_id, k.correlation_id, split_part(k.traceparent, '-', 2) as trace_id, k.created_at, k.expires_at`

/** Rows that a page with a filter looks at. */
export const LOOK = 2_000

export interface ExecutionFilter {
  readonly tenantId: string
  readonly state: ExecutionState | undefined
  readonly connector: string | undefined
  readonly beforeId: string | undefined
  readonly limit: number
}

/** Newest first. Rows that do not fit have `fits` false: the last one that was looked at is always among them. */
export const listExecutionRows = many<
  ExecutionFilter,
  ExecutionRow & { readonly fits: boolean; readonly looked: number }
>(
  'execute.list_executions',
  `with looked as (
     select k.*, ${STATE} as state_now, row_number() over (order by k.execution_id desc)::int as place
     from (
       select * from execution_key
       where tenant_id = $1 and ($2::uuid is null or execution_id < $2)
       order by execution_id desc limit ${LOOK}
     ) as k
   ),
   judged as (
     select k.*, ($3::text is null or k.state_now = $3) and ($4::text is null or k.connector = $4) as fits,
            count(*) over ()::int as looked
     from looked k
   )
   select ${COLUMNS}, k.fits, k.looked from judged k
   where k.fits or k.place = k.looked
   order by k.execution_id desc limit $5 + 1`,
  ({ tenantId, beforeId, state, connector, limit }) => [
    tenantId,
    beforeId ?? null,
    state ?? null,
    connector ?? null,
    limit,
  ],
)

/** The same for unknown outcomes, which have an index of their own: however many others there are. */
export const listUnknownRows = many<ExecutionFilter, ExecutionRow>(
  'execute.list_unknown_executions',
  `select ${COLUMNS} from execution_key k
   where k.tenant_id = $1 and k.unknown_since is not null and ($2::uuid is null or k.execution_id < $2)
     and ($3::text is null or k.connector = $3)
   order by k.execution_id desc limit $4`,
  ({ tenantId, beforeId, connector, limit }) => [tenantId, beforeId ?? null, connector ?? null, limit],
)

export const findExecutionRow = maybeOne<
  { readonly tenantId: string; readonly id: string },
  ExecutionRow & { readonly input: unknown; readonly answer: string | null }
>(
  'execute.find_execution',
  `select ${COLUMNS}, k.input, k.answer from execution_key k where k.tenant_id = $1 and k.execution_id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

/** Holds the row until the end of the transaction. */
export const lockExecution = maybeOne<
  { readonly tenantId: string; readonly id: string },
  ExecutionRow & { readonly input: unknown; readonly answer: string | null }
>(
  'execute.lock_execution',
  `select ${COLUMNS}, k.input, k.answer from execution_key k
   where k.tenant_id = $1 and k.execution_id = $2 for update`,
  ({ tenantId, id }) => [tenantId, id],
)

/** With a lease of its own, so that a late holder changes nothing. */
export const settleDone = one<
  { readonly tenantId: string; readonly id: string; readonly answer: string; readonly actor: string },
  { readonly expires_at: Date }
>(
  'execute.settle_done',
  `update execution_key
   set state = 'finished', lease = lease + 1, outcome = 'ok', status = 200, answer = $3, settled_by = $4,
       input = null, unknown_since = null, next_try_at = null
   where tenant_id = $1 and execution_id = $2
   returning expires_at`,
  ({ tenantId, id, answer, actor }) => [tenantId, id, answer, actor],
)

export const settleNotDone = run<{ readonly tenantId: string; readonly id: string }>(
  'execute.settle_not_done',
  'delete from execution_key where tenant_id = $1 and execution_id = $2',
  ({ tenantId, id }) => [tenantId, id],
)
