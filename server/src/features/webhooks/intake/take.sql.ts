import { many, one, run } from '../../../platform/db/statement.ts'
import type { JobRecord } from '../../../queue/enqueue.ts'

/** One event of a batch, in the shape that the SQL function `take_webhooks` reads. */
export interface EventToStore {
  /** Its place in the batch. */
  readonly ord: number
  readonly tenant_id: string
  /** Of the inbox row, if the event is new. */
  readonly id: string
  readonly route_id: string
  readonly provider: string
  readonly account: string | null
  readonly livemode: boolean
  readonly event_id: string
  readonly event_type: string
  readonly occurred_at: Date
  readonly state: 'accepted' | 'held' | 'waiting' | 'ignored'
  readonly held_why: string | null
  readonly connector: string
  readonly job_id: string | null
  readonly secret_ref: string | null
  readonly secret_fingerprint: string | null
  readonly source: string
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
  /** JSON text: read by nobody on the way, so that it survives as it is. */
  readonly headers: string
  /** Where its bytes begin in `bodies`, from 0. */
  readonly at: number
  readonly size: number
  /** Of bytes that are in the payload store; `sha256` (hex) comes with it. */
  readonly payload_id: string | null
  readonly sha256: string | null
}

/** An event of an ordered route, as `join_webhook_lines` reads it; without a `job` it is held. */
export interface LineRecord {
  readonly tenant_id: string
  readonly route_id: string
  readonly key: string
  readonly inbox_id: string
  readonly limit_ms: number
  /** The id of the job, should one be made at once. */
  readonly id: string
  readonly job: JobRecord | null
}

export interface TakeArgs {
  readonly events: readonly EventToStore[]
  readonly bodies: Buffer
  readonly jobs: readonly JobRecord[]
  readonly lines: readonly LineRecord[]
  readonly dedupeDays: number
}

/** A copy of an event that was taken before. */
export interface CopyRow {
  readonly ord: number
  /** Of the first copy. */
  readonly inbox_id: string
  /** Null: the inbox row is no longer kept. */
  readonly state: 'accepted' | 'held' | 'waiting' | 'ignored' | null
  readonly job_id: string | null
  /** Its delivery is a dead letter, outside of the bin, and not for a `webhook-delivery: abort` of the receiver. */
  readonly dead: boolean | null
}

/** A job that a turn in a line has made. */
export interface TurnRow {
  readonly tenant_id: string
  readonly inbox_id: string
  readonly id: string
  readonly queue: number
  readonly lane: number
}

/** `fresh` null: all are new, in the state that was asked for. */
export interface TakenRow {
  readonly others: readonly CopyRow[] | null
  readonly fresh: readonly { readonly id: string; readonly held: boolean }[] | null
  readonly turns: readonly TurnRow[] | null
}

/** See the SQL function. */
export const takeBatch = one<TakeArgs, TakenRow>(
  'webhooks.take',
  'select * from take_webhooks($1::json, $2::bytea, $3::json, $4::json, $5)',
  ({ events, bodies, jobs, lines, dedupeDays }) => [
    JSON.stringify(events),
    bodies,
    jobs.length > 0 ? JSON.stringify(jobs) : null,
    lines.length > 0 ? JSON.stringify(lines) : null,
    dedupeDays,
  ],
)

/** Whether the event was taken before. A look without a lock: only the statement that takes can decide. */
export const isTaken = one<
  { readonly tenantId: string; readonly eventId: string; readonly routeId: string },
  { readonly taken: boolean }
>(
  'webhooks.is_taken',
  `select exists (
     select from webhook_dedupe where tenant_id = $1 and event_id = $2 and route_id = $3
   ) as taken`,
  ({ tenantId, eventId, routeId }) => [tenantId, eventId, routeId],
)

/** Whether what events contained was erased at somebody's wish; one that is no longer kept is not among them. */
export const findErased = many<
  { readonly tenantId: string; readonly ids: readonly string[] },
  { readonly id: string; readonly erased: boolean }
>(
  'webhooks.find_erased',
  `select id, erased_at is not null as erased from webhook_payload
   where tenant_id = $1 and id = any($2::uuid[])`,
  ({ tenantId, ids }) => [tenantId, ids],
)

/** An event that no filter took is held from now on. */
export const holdIgnored = run<{ readonly tenantId: string; readonly id: string; readonly why: string }>(
  'webhooks.hold_ignored',
  `update webhook_inbox set state = 'held', held_why = $3 where tenant_id = $1 and id = $2 and state = 'ignored'`,
  ({ tenantId, id, why }) => [tenantId, id, why],
)
