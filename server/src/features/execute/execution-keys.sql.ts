import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

/** One caller who wants to run an execution under a key. */
export interface KeyClaim {
  readonly tenantId: string
  readonly key: string
  readonly fingerprint: Buffer
  /** Of the execution that runs when the key is free. */
  readonly executionId: string
  readonly leaseMs: number
  readonly keepMs: number
  readonly repeatable: boolean
  readonly safe: boolean
  readonly connector: string
  readonly operation: string
  readonly configVersion: number
  readonly subject: string
  readonly requestId: string
  readonly correlationId: string
  readonly traceparent: string
  /** Given when the worker may run it again: JSON. */
  readonly input?: string | undefined
}

export interface KeyRow {
  readonly verdict: 'claimed' | 'running' | 'finished' | 'unknown' | 'mismatch'
  readonly execution_id: string
  readonly lease: number
  readonly created_at: Date
  readonly expires_at: Date
  readonly repeatable: boolean
  readonly request_id: string
  readonly trace_id: string
  readonly status: number | null
  readonly outcome: string | null
  readonly answer: string | null
}

/** See the SQL function `claim_execution_keys`. One row per claim, with its place. */
export const claimKeys = many<{ readonly claims: readonly KeyClaim[] }, KeyRow & { readonly ord: number }>(
  'execute.claim_keys',
  'select * from claim_execution_keys($1::json)',
  ({ claims }) => [
    JSON.stringify(
      claims.map((claim, ord) => ({
        ord,
        tenant_id: claim.tenantId,
        key: claim.key,
        execution_id: claim.executionId,
        fingerprint: claim.fingerprint.toString('hex'),
        lease_ms: claim.leaseMs,
        keep_ms: claim.keepMs,
        repeatable: claim.repeatable,
        safe: claim.safe,
        connector: claim.connector,
        operation: claim.operation,
        config_version: claim.configVersion,
        subject: claim.subject,
        request_id: claim.requestId,
        correlation_id: claim.correlationId,
        traceparent: claim.traceparent,
        input: claim.input,
      })),
    ),
  ],
)

/** How an execution that holds a key has ended. */
export interface KeyEnd {
  readonly tenantId: string
  readonly key: string
  readonly executionId: string
  readonly lease: number
  readonly to: 'finished' | 'unknown' | 'released'
  /** `ok`, or the code of the problem that the caller got. */
  readonly outcome?: string
  readonly status?: number
  /** The body for everybody who repeats the call: JSON. `finished` without it: it was too large. */
  readonly answer?: string
  /** For `unknown`: whether running it again could tell more. The worker does, as long as it has tries left. */
  readonly again?: boolean
  /** For `unknown`: whether it was one of the worker's tries. */
  readonly counts?: boolean
}

/** See the SQL function `end_execution_keys`. The places of those that held their key still. */
export const endKeys = many<{ readonly ends: readonly KeyEnd[] }, { readonly ord: number }>(
  'execute.end_keys',
  'select ord from end_execution_keys($1::json)',
  ({ ends }) => [
    JSON.stringify(
      ends.map(({ tenantId, executionId, ...end }, ord) => ({
        ...end,
        ord,
        tenant_id: tenantId,
        execution_id: executionId,
      })),
    ),
  ],
)

/** What is known of a key, without taking it; nothing when it is free, expired or another request's. */
export const findKey = maybeOne<
  { readonly tenantId: string; readonly key: string; readonly fingerprint: Buffer },
  KeyRow
>(
  'execute.find_key',
  `select case when state = 'running' and lease_until < clock_timestamp() then 'unknown' else state end as verdict,
          execution_id, lease, created_at, expires_at, repeatable, request_id,
          split_part(traceparent, '-', 2) as trace_id, status, outcome, answer
   from execution_key
   where tenant_id = $1 and key = $2 and fingerprint = $3
     and (expires_at > clock_timestamp() or state <> 'finished')`,
  ({ tenantId, key, fingerprint }) => [tenantId, key, fingerprint],
)

/**
 * See the SQL function `lose_executions`. Without `since` from the beginning. `looked_until` is text, because a
 * `Date` has no microseconds: a step would begin with rows that the last one has seen.
 */
export const loseExecutions = one<
  { readonly since: string | undefined; readonly maxRows: number },
  {
    readonly looked_until: string
    readonly looked_at: Date
    readonly more: boolean
    readonly lost: number
    readonly freed: number
  }
>(
  'execute.lose_executions',
  `select looked_until::text, looked_at, more, lost, freed
   from lose_executions(coalesce($1::timestamptz, '-infinity'), $2)`,
  ({ since, maxRows }) => [since ?? null, maxRows],
)

/** An execution that the worker has taken to run it again. */
export interface DueRow {
  readonly tenant_id: string
  readonly key: string
  readonly execution_id: string
  readonly lease: number
  readonly connector: string
  readonly operation: string
  readonly input: unknown
  readonly subject: string
  readonly request_id: string
  readonly correlation_id: string
  readonly traceparent: string
  readonly tries: number
  readonly created_at: Date
  readonly expires_at: Date
  /** The upstream may have forgotten the key by now. */
  readonly too_late: boolean
}

/** A workspace, or a connector of one, that shall get no more at this moment. */
export interface Busy {
  readonly tenantId: string
  readonly connector?: string | undefined
}

/** Takes unknown executions whose next try is due, each for one worker; those of suspended workspaces wait. */
export const takeDue = many<
  { readonly limit: number; readonly leaseMs: number; readonly busy: readonly Busy[] },
  DueRow
>(
  'execute.take_due',
  `with busy as materialized (
     select * from json_to_recordset($3::json) as b (tenant_id uuid, connector text)
   ),
   due as materialized (
     select k.tenant_id, k.key from execution_key k
     where k.next_try_at < clock_timestamp() and k.state = 'unknown'
       and exists (select from workspace w where w.id = k.tenant_id and w.status = 'active')
       and not exists (select from busy b where b.tenant_id = k.tenant_id
                         and (b.connector is null or b.connector = k.connector))
     order by k.next_try_at limit $1 for update of k skip locked
   )
   update execution_key k
   set state = 'running', lease = k.lease + 1, unknown_since = null, next_try_at = null,
       lease_until = clock_timestamp() + $2 * interval '1 millisecond'
   from due
   where k.tenant_id = due.tenant_id and k.key = due.key
   returning k.tenant_id, k.key, k.execution_id, k.lease, k.connector, k.operation, k.input, k.subject,
             k.request_id, k.correlation_id, k.traceparent, k.tries, k.created_at, k.expires_at,
             k.created_at < clock_timestamp() - execution_repeatable_for() as too_late`,
  ({ limit, leaseMs, busy }) => [
    limit,
    leaseMs,
    JSON.stringify(busy.map(({ tenantId, connector }) => ({ tenant_id: tenantId, connector }))),
  ],
)

/** Frees keys whose time is over; never one that somebody holds. */
export const removeExpired = run<{ readonly limit: number }>(
  'execute.remove_expired_keys',
  `delete from execution_key k using (
     select tenant_id, key from execution_key
     where expires_at < clock_timestamp() and (state <> 'running' or lease_until < clock_timestamp())
     order by expires_at limit $1 for update skip locked
   ) as old
   where k.tenant_id = old.tenant_id and k.key = old.key`,
  ({ limit }) => [limit],
)
