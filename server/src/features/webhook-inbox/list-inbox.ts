import type { Queryable } from '../../platform/db/statement.ts'
import { firstIdAt } from '../../platform/ids.ts'
import { type FoundState, inboxJobsIn } from '../../queue/inbox-jobs.ts'
import * as sql from './inbox.sql.ts'
import { type InboxItem, type InboxStatus, withStatus } from './status.ts'

export interface InboxFilter extends Omit<sql.RowFilter, 'state'> {
  readonly tenantId: string
  readonly status?: InboxStatus | undefined
  readonly eventId?: string | undefined
  readonly traceId?: string | undefined
  /** The `next` of the page before. */
  readonly before?: string | undefined
  readonly limit: number
}

export interface InboxSlice {
  readonly items: readonly InboxItem[]
  /** Where the next page begins; null = nothing older. */
  readonly next: string | null
}

/** Rows that one filtered page looks at: with a rare match it may be short, even empty, and still have a `next`. */
const WINDOW = 2_000
const FIRST = '00000000-0000-0000-0000-000000000000'
const LAST = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
/** An id is made before its row is stored, by another clock. */
const SLACK_MS = 600_000

/** The ids that rows of this time can have: a wider range than the time itself, which is compared besides. */
export const idRange = ({
  receivedAfter: from,
  receivedBefore: to,
}: Pick<sql.RowFilter, 'receivedAfter' | 'receivedBefore'>): {
  readonly low: string
  readonly high: string
} => ({
  low: from === undefined ? FIRST : firstIdAt(Math.max(0, from.getTime() - SLACK_MS)),
  high: to === undefined ? LAST : firstIdAt(Math.max(0, to.getTime() + SLACK_MS)),
})

const isRow = (row: sql.ListedRow): row is sql.ListedRow & sql.InboxRow => row.id !== null
const earlier = (one: string, other: string | undefined): string =>
  other === undefined || one < other ? one : other

/**
 * Newest first. Held, waiting, running, scheduled, retrying and dead events are looked for where they live, so that
 * they are found at once however rare they are; the last four are in the order of their deliveries.
 */
export function listInbox(on: Queryable, filter: InboxFilter): Promise<InboxSlice> {
  const { status, eventId, traceId } = filter
  if (eventId === undefined && traceId === undefined && isFound(status))
    return listOfState(on, filter, status)
  return listRows(on, filter)
}

const isFound = (status: InboxStatus | undefined): status is FoundState =>
  status === 'running' || status === 'scheduled' || status === 'retrying' || status === 'dead'

async function listRows(on: Queryable, filter: InboxFilter): Promise<InboxSlice> {
  const { tenantId, status, eventId, traceId, limit } = filter
  const range = idRange(filter)
  const unfiltered = Object.entries(filter).every(
    ([name, value]) => value === undefined || UNFILTERING.has(name),
  )
  const window = unfiltered ? limit : WINDOW
  const [list, value] =
    eventId !== undefined
      ? [sql.listByEvent, eventId]
      : traceId !== undefined
        ? [sql.listByTrace, traceId]
        : [status === 'held' ? sql.listHeld : status === 'waiting' ? sql.listWaiting : sql.listNewest, window]
  const state = status === 'held' || status === 'waiting' || status === 'ignored' ? status : 'accepted'
  const found = await list(on, {
    ...filter,
    ...{ tenantId, value, low: range.low, high: earlier(range.high, filter.before) },
    state: status === undefined ? undefined : state,
    // What a status leaves of them is known only afterwards.
    limit: status === undefined || state !== 'accepted' ? limit : WINDOW,
  })
  // With both given, the trace is what is left to be compared.
  const rows = found.filter(isRow).filter(({ trace_id }) => traceId === undefined || trace_id === traceId)
  const all = await withStatus(on, tenantId, rows)
  const items = all.filter((item) => status === undefined || item.status === status).slice(0, limit)
  if (items.length === limit) return { items, next: items.at(-1)?.row.id ?? null }
  const [first] = found
  const most = list === sql.listByTrace ? sql.TRACED : value === window ? window : undefined
  return { items, next: first?.examined === most ? (first?.edge ?? null) : null }
}

const UNFILTERING: ReadonlySet<string> = new Set(['tenantId', 'before', 'limit'])

async function listOfState(on: Queryable, filter: InboxFilter, status: FoundState): Promise<InboxSlice> {
  const { tenantId, limit, before = LAST } = filter
  const { jobs, edge } = await inboxJobsIn(on, { tenantId, state: status, before, window: WINDOW })
  const ids = jobs.map(({ inboxId }) => inboxId)
  const args = { ...filter, ...idRange(filter), value: ids, state: 'accepted', limit: WINDOW } as const
  const rows = ids.length > 0 ? (await sql.listByIds(on, args)).filter(isRow) : []
  const byId = new Map(rows.map((row) => [row.id, row]))
  // An event that was delivered once more since then has another newest job.
  const newest = jobs.flatMap(({ jobId, inboxId }) => {
    const row = byId.get(inboxId)
    return row?.job_id === jobId ? [row] : []
  })
  const items = (await withStatus(on, tenantId, newest)).filter((item) => item.status === status)
  const page = items.slice(0, limit)
  return { items: page, next: page.length === limit ? (page.at(-1)?.row.job_id ?? null) : edge }
}
