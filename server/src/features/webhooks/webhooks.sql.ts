import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export interface NewInboxRow {
  readonly tenantId: string
  readonly id: string
  readonly routeId: string
  readonly provider: string
  readonly account: string | null
  readonly livemode: boolean
  readonly eventId: string
  readonly eventType: string
  readonly occurredAt: Date
  readonly state: 'accepted' | 'ignored'
  readonly connector: string
  readonly jobId: string | null
  readonly secretRef: string
  readonly requestId: string
  readonly correlationId: string
  readonly traceId: string
  readonly body: Buffer
  readonly sha256: Buffer
  readonly headers: Readonly<Record<string, string>>
  readonly dedupeDays: number
}

/**
 * Takes an event once: the answer is the id of the inbox row that stands for it, the given one only for the
 * first copy. Copies that come at the same time wait at the dedupe key until the first has committed. No row
 * means that the route has gone in the meantime: the binding is checked in the transaction that relies on it.
 */
export const takeEvent = maybeOne<NewInboxRow, { readonly inbox_id: string }>(
  'webhooks.take_event',
  `with dedupe as (
     insert into webhook_dedupe (tenant_id, event_id, route_id, inbox_id, expires_at)
     select tenant_id, $3::text, id, $4::uuid, now() + make_interval(days => $5::int)
     from webhook_route where tenant_id = $1 and id = $2
     on conflict (tenant_id, event_id, route_id)
       do update set duplicates = webhook_dedupe.duplicates + 1, last_seen_at = clock_timestamp()
     returning inbox_id
   ), inbox as (
     insert into webhook_inbox (tenant_id, id, route_id, provider, account, livemode, event_id, event_type,
                                occurred_at, state, connector, job_id, secret_ref, size, request_id,
                                correlation_id, trace_id)
     select $1::uuid, $4::uuid, $2::uuid, $6::text, $7::text, $8::boolean, $3::text, $9::text,
            $10::timestamptz, $11::text, $12::text, $13::uuid, $14::text, octet_length($18::bytea), $15::text,
            $16::text, $17::text
     from dedupe where inbox_id = $4
   ), payload as (
     insert into webhook_payload (tenant_id, id, body, sha256, headers)
     select $1::uuid, $4::uuid, $18::bytea, $19::bytea, $20::json
     from dedupe where inbox_id = $4
   )
   select inbox_id from dedupe`,
  (row) => [
    row.tenantId,
    row.routeId,
    row.eventId,
    row.id,
    row.dedupeDays,
    row.provider,
    row.account,
    row.livemode,
    row.eventType,
    row.occurredAt,
    row.state,
    row.connector,
    row.jobId,
    row.secretRef,
    row.requestId,
    row.correlationId,
    row.traceId,
    row.body,
    row.sha256,
    JSON.stringify(row.headers),
  ],
)

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
  readonly state: 'accepted' | 'ignored'
  readonly connector: string
  readonly job_id: string | null
  readonly secret_ref: string
  readonly size: number
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
  readonly duplicates: number
}

const INBOX = `
  select i.*, coalesce(d.duplicates, 0) as duplicates
  from webhook_inbox i
  left join webhook_dedupe d
    on d.tenant_id = i.tenant_id and d.event_id = i.event_id and d.route_id = i.route_id and d.inbox_id = i.id`

export interface InboxFilter {
  readonly tenantId: string
  readonly provider?: string | undefined
  readonly type?: string | undefined
  readonly eventId?: string | undefined
  readonly traceId?: string | undefined
  /** Only rows older than this one; absent = from the newest. */
  readonly beforeId?: string | undefined
  readonly limit: number
  /** How many of the newest rows a list without trace or event id looks at. */
  readonly window: number
}

/** `examined` and `oldest` describe the rows that were looked at and come on every row; one without an id stands for no match. */
export type InboxListRow = { readonly examined: number; readonly oldest: string | null } & (
  | InboxRow
  | { readonly id: null }
)

const list = (name: string, source: string, value: (filter: InboxFilter) => string | number) =>
  many<InboxFilter, InboxListRow>(
    name,
    `with seen as materialized (
       select id from webhook_inbox
       where tenant_id = $1 and ($2::uuid is null or id < $2) and ${source}
     ),
     fitting as (
       ${INBOX} join seen on seen.id = i.id
       where i.tenant_id = $1 and ($4::text is null or i.provider = $4) and ($5::text is null or i.event_type = $5)
       order by i.id desc limit $6
     )
     select e.examined, e.oldest, f.*
     from (select count(*)::int as examined, (select id from seen order by id limit 1) as oldest from seen) as e
     left join fitting f on true
     order by f.id desc`,
    (filter) => [
      filter.tenantId,
      filter.beforeId ?? null,
      value(filter),
      filter.provider ?? null,
      filter.type ?? null,
      filter.limit,
    ],
  )

/** Newest first, over the newest `window` rows: bounded however rare a match is. */
export const listNewest = list(
  'webhooks.list_inbox',
  'true order by id desc limit $3',
  ({ window }) => window,
)

export const listByTrace = list(
  'webhooks.list_inbox_by_trace',
  'trace_id = $3',
  ({ traceId }) => traceId ?? '',
)

/** The event id is looked up in the dedupe table, whose key begins with it. */
export const listByEvent = list(
  'webhooks.list_inbox_by_event',
  'id in (select inbox_id from webhook_dedupe where tenant_id = $1 and event_id = $3)',
  ({ eventId }) => eventId ?? '',
)

export const findInbox = maybeOne<{ readonly tenantId: string; readonly id: string }, InboxRow>(
  'webhooks.find_inbox',
  `${INBOX} where i.tenant_id = $1 and i.id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

export interface PayloadRow {
  readonly body: Buffer
  readonly sha256: Buffer
  readonly headers: Readonly<Record<string, string>>
}

export const findPayload = maybeOne<{ readonly tenantId: string; readonly id: string }, PayloadRow>(
  'webhooks.find_payload',
  'select body, sha256, headers from webhook_payload where tenant_id = $1 and id = $2',
  ({ tenantId, id }) => [tenantId, id],
)

/** Maintenance over all workspaces; rows that a copy is waiting at are left for the next time. */
export const deleteExpired = run<{ readonly limit: number }>(
  'webhooks.delete_expired',
  `delete from webhook_dedupe where (tenant_id, event_id, route_id) in (
     select tenant_id, event_id, route_id from webhook_dedupe
     where expires_at < now() order by expires_at limit $1 for update skip locked)`,
  ({ limit }) => [limit],
)

/** For the rest of the transaction: tables that were empty when they were analysed may hold millions of rows now. */
export const avoidLoops = one<undefined, { readonly set: string }>(
  'webhooks.avoid_loops',
  `select set_config('enable_nestloop', 'off', true) as set`,
  () => [],
)

/** Whether events between two ids have a job that is not over; `open_job` is a view of the queue for such questions. */
export const findUndelivered = one<
  { readonly low: string; readonly high: string },
  { readonly found: boolean }
>(
  'webhooks.find_undelivered',
  `select exists (
     select from webhook_inbox i
     join open_job o on o.tenant_id = i.tenant_id and o.job_id = i.job_id
     where i.id >= $1 and i.id < $2
   ) as found`,
  ({ low, high }) => [low, high],
)
