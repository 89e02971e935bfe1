import { many, maybeOne, run } from '../../platform/db/statement.ts'

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
