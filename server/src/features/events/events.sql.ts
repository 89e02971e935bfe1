import { many, maybeOne, one } from '../../platform/db/statement.ts'

/** One row per event, each with the horizon of its snapshot; a single row with `seq: null` when there is none. */
export type EventRow = { readonly horizon: string } & (
  | { readonly seq: null }
  | {
      readonly xid: string
      readonly seq: number
      readonly at: Date
      readonly type: string
      readonly severity: 'debug' | 'info' | 'warning' | 'error'
      readonly message: string
      readonly connector: string | null
      readonly job_id: string | null
      readonly inbox_id: string | null
      readonly request_id: string | null
      readonly correlation_id: string | null
      readonly trace_id: string | null
      readonly data: Record<string, unknown>
    }
)

/** A place in the log; the ends of the log are beyond what a number can hold. */
interface Place {
  readonly xid: string
  readonly seq: number | string
}

interface SelectEvents {
  readonly tenantId: string
  /** Exclusive. */
  readonly after: Place
  /** Inclusive. */
  readonly upTo: Place
  readonly limit: number
  readonly type?: string | undefined
  readonly connector?: string | undefined
  readonly severity?: string | undefined
  readonly traceId?: string | undefined
  readonly jobId?: string | undefined
}

type AccessPath = 'tenant' | 'job' | 'trace'
type Order = 'asc' | 'desc'

/**
 * The filter that an index serves is a plain equality; `$n is null or …` would hide the index from a generic
 * plan, so every access path is a statement of its own.
 */
const selectBy = (path: AccessPath, order: Order) =>
  many<SelectEvents, EventRow>(
    `events.by_${path}_${order}`,
    `select horizon.xid as horizon, e.*
    from (select pg_snapshot_xmin(pg_current_snapshot()) as xid) as horizon
    left join lateral (
      select xid, seq, at, type, severity, message, connector, job_id, inbox_id,
             request_id, correlation_id, trace_id, data
      from event
      where tenant_id = $1
        and event.xid < horizon.xid
        and (event.xid, seq) ${order === 'asc' ? '>' : '<'} ($2::xid8, $3::bigint)
        and (event.xid, seq) ${order === 'asc' ? '<=' : '>='} ($10::xid8, $11::bigint)
        and ($5::text is null or type = $5)
        and ($6::text is null or connector = $6)
        and ($7::text is null or severity = $7)
        and ${path === 'trace' ? 'trace_id = $8' : '($8::text is null or trace_id = $8)'}
        and ${path === 'job' ? 'job_id = $9::uuid' : '($9::uuid is null or job_id = $9)'}
      order by event.xid ${order}, seq ${order}
      limit $4
    ) as e on true
    order by e.xid ${order}, e.seq ${order}`,
    ({ tenantId, after, upTo, limit, type, connector, severity, traceId, jobId }) => [
      tenantId,
      after.xid,
      after.seq,
      limit,
      type,
      connector,
      severity,
      traceId,
      jobId,
      upTo.xid,
      upTo.seq,
    ],
  )

const selectWindowEnd = (order: Order) =>
  maybeOne<
    { readonly tenantId: string; readonly after: Place; readonly size: number },
    { readonly xid: string; readonly seq: number }
  >(
    `events.window_end_${order}`,
    `select xid, seq
    from event
    where tenant_id = $1
      and xid < pg_snapshot_xmin(pg_current_snapshot())
      and (xid, seq) ${order === 'asc' ? '>' : '<'} ($2::xid8, $3::bigint)
    order by xid ${order}, seq ${order}
    offset $4 limit 1`,
    ({ tenantId, after, size }) => [tenantId, after.xid, after.seq, size - 1],
  )

/** The last of the next `size` events, whatever they are; none when there are fewer. Reads the index only. */
export const findWindowEnd = { asc: selectWindowEnd('asc'), desc: selectWindowEnd('desc') }

/** Events of one tenant beyond a position, below the horizon of the snapshot; by access path and order. */
export const selectEvents = {
  tenant: { asc: selectBy('tenant', 'asc'), desc: selectBy('tenant', 'desc') },
  job: { asc: selectBy('job', 'asc'), desc: selectBy('job', 'desc') },
  trace: { asc: selectBy('trace', 'asc'), desc: selectBy('trace', 'desc') },
}

/** Which of the tenants have events from their `since` (an xid8 as text) up to the horizon. */
export const findNews = one<
  { readonly since: ReadonlyMap<string, string> },
  { readonly horizon: string; readonly tenants: string[] }
>(
  'events.find_news',
  `select horizon.xid as horizon, array(
    select followed.tenant_id
    from unnest($1::uuid[], $2::xid8[]) as followed (tenant_id, since)
    where exists (
      select from event
      where event.tenant_id = followed.tenant_id and event.xid >= followed.since and event.xid < horizon.xid
    )
  ) as tenants
  from (select pg_snapshot_xmin(pg_current_snapshot()) as xid) as horizon`,
  ({ since }) => [[...since.keys()], [...since.values()]],
)
