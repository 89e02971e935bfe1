import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

/** What is known of one event of a request, as stored and shown. */
export interface KeptEvent {
  readonly id: string
  readonly type: string
  readonly accounts: readonly string[]
  readonly livemode: boolean | null
  readonly reason: string
}

/** How the bytes came once: what a signature is checked with. */
export interface KeptCopy {
  /** ms since the epoch, by the clock of the process that received it. */
  readonly at: number
  readonly url: string | null
  readonly headers: Readonly<Record<string, readonly string[]>>
}

/** Where one event of a request goes. */
export interface Target {
  readonly tenant_id: string
  readonly route_id: string
  readonly event_id: string
  /** Null when a person said whose it is. */
  readonly secret_ref: string | null
  readonly secret_fingerprint: string | null
  /** Which copy it is: its `at`. */
  readonly copy_at: number
  /** Null until it is there. */
  readonly inbox_id: string | null
  readonly duplicate: boolean | null
}

/** Of the room: see `quarantine_share` in the migration. */
export type Share = 'verified' | 'routed' | 'claimed' | 'nobody'

export type StoredState = 'kept' | 'releasing' | 'released' | 'discarded'

export interface QuarantineRow {
  readonly tenant_id: string
  readonly id: string
  readonly state: StoredState
  readonly expired: boolean
  readonly provider: string
  readonly path_route: string | null
  readonly route_id: string | null
  readonly reason: string
  readonly authentic: boolean
  readonly sealed: boolean
  readonly accounts: readonly string[]
  readonly livemode: boolean | null
  readonly events: readonly KeptEvent[]
  readonly sha256: Buffer
  readonly size: number
  readonly seen: number
  readonly received_at: Date
  readonly last_seen_at: Date
  readonly expires_at: Date
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
  readonly targets: readonly Target[] | null
  readonly ended_at: Date | null
  readonly ended_by: string | null
  readonly ended_why: string | null
}

/** With what has to be kept to verify it again. */
export interface QuarantineContents extends QuarantineRow {
  readonly body: Buffer | null
  readonly copies: readonly KeptCopy[] | null
}

const SHOWN = `tenant_id, id, state, state in ('kept', 'releasing') and expires_at <= clock_timestamp() as expired, provider,
  path_route, route_id, reason, authentic, sealed, accounts, livemode, events, sha256, size, seen, received_at,
  last_seen_at, expires_at, request_id, correlation_id, trace_id, targets, ended_at, ended_by, ended_why`

export interface QuarantineFilter {
  readonly tenantId: string
  readonly provider?: string | undefined
  readonly reason?: string | undefined
  readonly routeId?: string | undefined
  /** `expired` are those whose time is over and that no worker has removed yet. */
  readonly state?: StoredState | 'expired' | undefined
  readonly from?: Date | undefined
  readonly to?: Date | undefined
  /** Only those older than this one; absent = from the newest. */
  readonly beforeId?: string | undefined
  readonly limit: number
}

const FILTERED = `tenant_id = $1 and ($2::text is null or provider = $2) and ($3::text is null or reason = $3)
     and ($4::uuid is null or route_id = $4)
     and ($5::text is null or $5 = case when state in ('kept', 'releasing') and expires_at <= clock_timestamp()
                                        then 'expired' else state end)
     and ($6::timestamptz is null or received_at >= $6) and ($7::timestamptz is null or received_at <= $7)
     and ($8::uuid is null or id < $8)`

const filterValues = (filter: QuarantineFilter) => [
  filter.tenantId,
  filter.provider ?? null,
  filter.reason ?? null,
  filter.routeId ?? null,
  filter.state ?? null,
  filter.from ?? null,
  filter.to ?? null,
  filter.beforeId ?? null,
  filter.limit,
]

/** Newest first. */
export const listRows = many<QuarantineFilter, QuarantineRow>(
  'quarantine.list',
  `select ${SHOWN} from quarantine where ${FILTERED} order by id desc limit $9`,
  filterValues,
)

/** Ids only, newest first: their bytes are read one after the other. */
export const listIds = many<QuarantineFilter, { readonly id: string }>(
  'quarantine.list_ids',
  `select id from quarantine where ${FILTERED} order by id desc limit $9`,
  filterValues,
)

export interface RowKey {
  readonly tenantId: string
  readonly id: string
}

export const findContents = maybeOne<RowKey, QuarantineContents>(
  'quarantine.find',
  `select ${SHOWN}, body, copies from quarantine where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)

/** Until the end of the transaction nobody else decides about it. */
export const lockRow = maybeOne<RowKey, QuarantineRow>(
  'quarantine.lock',
  `select ${SHOWN} from quarantine where tenant_id = $1 and id = $2 for update`,
  ({ tenantId, id }) => [tenantId, id],
)

interface Ending extends RowKey {
  readonly by: string
  readonly why: string
}

/** Only what is kept and whose time is not over. */
export const bind = run<Ending & { readonly targets: readonly Target[] }>(
  'quarantine.bind',
  `update quarantine
   set state = 'releasing', targets = $3, ended_at = clock_timestamp(), ended_by = $4, ended_why = $5
   where tenant_id = $1 and id = $2 and state = 'kept' and expires_at > clock_timestamp()`,
  ({ tenantId, id, targets, by, why }) => [tenantId, id, JSON.stringify(targets), by, why],
)

/** Nothing of it was taken: it is kept as before. */
export const unbind = run<RowKey>(
  'quarantine.unbind',
  `update quarantine set state = 'kept', targets = null, ended_at = null, ended_by = null, ended_why = null
   where tenant_id = $1 and id = $2 and state = 'releasing'`,
  ({ tenantId, id }) => [tenantId, id],
)

/** The inbox has the bytes now, whatever somebody else has thought meanwhile. */
export const finish = run<Ending & { readonly targets: readonly Target[] }>(
  'quarantine.finish',
  `update quarantine
   set state = 'released', targets = $3, body = null, copies = null, room = 0,
       ended_at = coalesce(ended_at, clock_timestamp()), ended_by = coalesce(ended_by, $4),
       ended_why = coalesce(ended_why, $5)
   where tenant_id = $1 and id = $2 and state in ('kept', 'releasing')`,
  ({ tenantId, id, targets, by, why }) => [tenantId, id, JSON.stringify(targets), by, why],
)

export const discardRow = run<Ending>(
  'quarantine.discard',
  `update quarantine
   set state = 'discarded', body = null, copies = null, room = 0, ended_at = clock_timestamp(), ended_by = $3,
       ended_why = $4
   where tenant_id = $1 and id = $2 and state = 'kept' and expires_at > clock_timestamp()`,
  ({ tenantId, id, by, why }) => [tenantId, id, by, why],
)

/** Of what is kept and fits the filter, oldest first, at most so many; what somebody else decides about now stays. */
export const discardRows = one<
  QuarantineFilter & { readonly by: string; readonly why: string },
  { readonly discarded: number }
>(
  'quarantine.discard_many',
  `with found as materialized (
     select tenant_id, id from quarantine
     where ${FILTERED} and state = 'kept' and expires_at > clock_timestamp()
     order by id limit $9 for update skip locked
   ),
   gone as (
     update quarantine q
     set state = 'discarded', body = null, copies = null, room = 0, ended_at = clock_timestamp(), ended_by = $10,
         ended_why = $11
     from found f where q.tenant_id = f.tenant_id and q.id = f.id
     returning q.id
   )
   select count(*) as discarded from gone`,
  (filter) => [...filterValues(filter), filter.by, filter.why],
)

/** Over all workspaces: bound a while ago and not there yet, as the process that bound it has died or could not. */
export const listLeftBehind = many<{ readonly limit: number }, RowKey>(
  'quarantine.left_behind',
  `select tenant_id as "tenantId", id from quarantine
   where state = 'releasing' and ended_at < clock_timestamp() - interval '1 minute' and expires_at > clock_timestamp()
   order by ended_at limit $1`,
  ({ limit }) => [limit],
)

/** Over all workspaces: whose time is over, also by days that its workspace has cut since, at most so many. */
export const removeExpired = many<
  { readonly limit: number },
  { readonly provider: string; readonly state: StoredState; readonly rows: number }
>(
  'quarantine.remove_expired',
  `with due as (
     (select tenant_id, id from quarantine where expires_at <= clock_timestamp() order by expires_at limit $1)
     union
     (select q.tenant_id, q.id from workspace_retention r
      join quarantine q on q.tenant_id = r.tenant_id and q.received_at <= now() - make_interval(days => r.days)
      where r.subject = 'quarantine' limit $1)
   ),
   gone as (
     delete from quarantine where (tenant_id, id) in (
       select q.tenant_id, q.id from quarantine q join due using (tenant_id, id) limit $1 for update of q skip locked
     )
     returning provider, state
   )
   select provider, state, count(*) as rows from gone group by provider, state`,
  ({ limit }) => [limit],
)

/** How much of the room is used, over all workspaces. */
export const usedRoom = many<
  Record<string, never>,
  { readonly share: Share; readonly rows: number; readonly bytes: number }
>(
  'quarantine.room',
  `select share, sum(rows)::bigint as rows, sum(bytes)::bigint as bytes from quarantine_room group by share`,
  () => [],
)
