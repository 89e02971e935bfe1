import { many, maybeOne } from '../../platform/db/statement.ts'

export interface InboxRow {
  readonly id: string
  readonly route_id: string
  readonly provider: string
  readonly account: string | null
  readonly livemode: boolean
  readonly event_id: string
  readonly event_type: string
  readonly occurred_at: Date
  readonly received_at: Date
  readonly state: 'accepted' | 'held' | 'waiting' | 'ignored'
  readonly held_why: string | null
  readonly connector: string
  /** The newest delivery. */
  readonly job_id: string | null
  readonly secret_ref: string | null
  readonly secret_fingerprint: string | null
  readonly source: 'received' | 'pulled' | 'released'
  readonly size: number
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
  readonly duplicates: number
}

export const COLUMNS = `i.id, i.route_id, i.provider, i.account, i.livemode, i.event_id, i.event_type, i.occurred_at,
  i.received_at, i.state, i.held_why, i.connector, i.job_id, i.secret_ref, i.secret_fingerprint, i.source, i.size,
  i.request_id, i.correlation_id, i.trace_id`

const INBOX = `
  select ${COLUMNS}, coalesce(d.duplicates, 0) as duplicates
  from webhook_inbox i
  left join webhook_dedupe d
    on d.tenant_id = i.tenant_id and d.event_id = i.event_id and d.route_id = i.route_id and d.inbox_id = i.id`

/** What rows are compared with; absent = any. */
export interface RowFilter {
  readonly provider?: string | undefined
  /** A glob. */
  readonly type?: string | undefined
  readonly account?: string | undefined
  readonly routeId?: string | undefined
  readonly state?: InboxRow['state'] | undefined
  readonly receivedAfter?: Date | undefined
  readonly receivedBefore?: Date | undefined
}

export interface ListArgs extends RowFilter {
  readonly tenantId: string
  /** Of the source: an event id, a trace id, ids, or the number of rows to look at. */
  readonly value: string | number | readonly string[]
  /** Only ids from `low` on and before `high`. */
  readonly low: string
  readonly high: string
  readonly limit: number
}

/** `examined` and `edge` describe the rows that were looked at and come on every row; one without an id stands for no match. */
export type ListedRow = { readonly examined: number; readonly edge: string | null } & (
  | InboxRow
  | { readonly id: null }
)

/** A glob as a pattern of `like`. */
const likeOf = (glob: string | undefined): string | null =>
  glob === undefined ? null : glob.replaceAll(/[\\%_]/g, String.raw`\$&`).replaceAll('*', '%')

const FITS = `($5::text is null or i.provider = $5) and ($6::text is null or i.event_type like $6)
  and ($7::text is null or i.account = $7) and ($8::uuid is null or i.route_id = $8)
  and ($9::text is null or i.state = $9) and ($10::timestamptz is null or i.received_at >= $10)
  and ($11::timestamptz is null or i.received_at < $11)`

/** Looks at the rows of `source` and gives those that fit: what it costs is bounded by the source. */
const list = (name: string, source: string, order: 'asc' | 'desc' = 'desc') =>
  many<ListArgs, ListedRow>(
    `webhook_inbox.${name}`,
    `with seen as materialized (
       select id from webhook_inbox where tenant_id = $1 and id >= $2 and id < $3 and ${source}
     ),
     fitting as (
       ${INBOX} join seen on seen.id = i.id where i.tenant_id = $1 and ${FITS} order by i.id ${order} limit $12
     )
     select e.examined, e.edge, f.*
     from (select count(*)::int as examined,
                  (select id from seen order by id ${order === 'desc' ? 'asc' : 'desc'} limit 1) as edge from seen) as e
     left join fitting f on true
     order by f.id ${order}`,
    (of) => [
      of.tenantId,
      of.low,
      of.high,
      of.value,
      of.provider ?? null,
      likeOf(of.type),
      of.account ?? null,
      of.routeId ?? null,
      of.state ?? null,
      of.receivedAfter ?? null,
      of.receivedBefore ?? null,
      of.limit,
    ],
  )

/** Rows of one trace that are looked at. */
export const TRACED = 2_000

/** Over the newest rows: bounded however rare a match is. */
export const listNewest = list('list', 'true order by id desc limit $4')
/** From the oldest on, for searches. */
export const listOldest = list('search', 'true order by id limit $4', 'asc')
/** What waits without a job has an index of its own. */
export const listHeld = list('list_held', `state = 'held' order by id desc limit $4`)
export const listWaiting = list('list_waiting', `state = 'waiting' order by id desc limit $4`)
/** Whoever sends events may put any number of them into one trace. */
export const listByTrace = list('list_by_trace', `trace_id = $4::text order by id desc limit ${TRACED}`)
/** The event id is looked up in the dedupe table, whose key begins with it. */
export const listByEvent = list(
  'list_by_event',
  'id in (select inbox_id from webhook_dedupe where tenant_id = $1 and event_id = $4::text)',
)
export const listByIds = list('list_by_ids', 'id = any($4::uuid[])')

interface InboxRef {
  readonly tenantId: string
  readonly id: string
}

export const findInbox = maybeOne<InboxRef, InboxRow>(
  'webhook_inbox.find',
  `${INBOX} where i.tenant_id = $1 and i.id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

export const findByIds = many<{ readonly tenantId: string; readonly ids: readonly string[] }, InboxRow>(
  'webhook_inbox.find_several',
  `select ${COLUMNS}, 0 as duplicates from webhook_inbox i where i.tenant_id = $1 and i.id = any($2::uuid[])`,
  ({ tenantId, ids }) => [tenantId, ids],
)

/** Rows by id, kept as they are until the end of the transaction; in the order of their ids, so that nobody deadlocks. */
export const lockInbox = many<{ readonly tenantId: string; readonly ids: readonly string[] }, InboxRow>(
  'webhook_inbox.lock',
  `select ${COLUMNS}, 0 as duplicates from webhook_inbox i
   where i.tenant_id = $1 and i.id = any($2::uuid[]) order by i.id for update of i`,
  ({ tenantId, ids }) => [tenantId, ids],
)

export interface PayloadRow {
  readonly id: string
  /** Null: in the payload store (`payload_id`), or erased. */
  readonly body: Buffer | null
  readonly payload_id: string | null
  readonly erased_at: Date | null
  readonly sha256: Buffer
  readonly headers: Readonly<Record<string, string>>
}

export const findPayloads = many<{ readonly tenantId: string; readonly ids: readonly string[] }, PayloadRow>(
  'webhook_inbox.payloads',
  `select id, body, payload_id, erased_at, sha256, headers from webhook_payload
   where tenant_id = $1 and id = any($2::uuid[]) order by id`,
  ({ tenantId, ids }) => [tenantId, ids],
)
