import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type InboxRow, type ListedRow, listByEvent, listByIds, listOldest } from './inbox.sql.ts'
import { idRange } from './list-inbox.ts'
import { type InboxPlan, planOf } from './plan.ts'
import { insertItems } from './plan-items.sql.ts'
import * as sql from './plans.sql.ts'
import { lookInto, type PayloadDeps } from './search-payloads.ts'
import type { Selection, StoredFilter, Subject } from './selection.ts'
import { type InboxItem, withStatus } from './status.ts'

/** Rows that one step looks at by their columns, or by their payloads. */
const ROWS = 2_000
const PAYLOADS = 500
/** Of payloads in memory at once; one is read however large it is. */
const BYTES = 16 * 1024 * 1024
const SAMPLE = 5
/** Ids of unreadable events that a plan names. */
const NAMED = 100
/** Longer from time to time, up to a minute. */
const WAIT_MS = 5_000
const LONGEST_WAIT_MS = 60_000
const PLAN_TTL_MS = 15 * 60_000
const LAST = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
const FIRST = '00000000-0000-0000-0000-000000000000'

export interface SearchDeps extends PayloadDeps {
  readonly db: Db
}

interface Waiting {
  readonly waitingFor: string
}

interface Step {
  readonly found: readonly InboxRow[]
  readonly looked: number
  readonly searchedId: string | null
  readonly complete: boolean
  readonly unreadable?: readonly string[]
  readonly waits?: number
}

/**
 * The next step of a search, from where the plan is; bounded in rows and bytes. It holds no transaction while it reads,
 * and what another worker or an abort did meanwhile counts more than what it has found: undefined then. Gives the plan
 * as it is now, which may wait for the payload store. Errors: `database_unavailable`.
 */
export async function searchStep(deps: SearchDeps, plan: InboxPlan): Promise<InboxPlan | undefined> {
  const step = await stepOf(deps, plan)
  if ('waitingFor' in step) {
    const row = await sql.waitPlan(deps.db, { ...plan, ...step, forMs: waitMs(plan.waits) })
    return row && planOf(row)
  }
  const items = await withStatus(deps.db, plan.tenantId, step.found)
  return deps.db.transaction(async (tx) => {
    const row = await sql.lockPlan(tx, plan)
    if (row?.state !== 'searching' || row.searched_id !== plan.searchedId) return undefined
    const kept = wanted(plan.selection, items)
    const ids = kept.map(({ row: { id } }) => id)
    if (ids.length > 0) await insertItems(tx, { ...plan, ids })
    const { unreadable = [], waits = 0 } = step
    const next = await sql.advanceSearch(tx, {
      ...{ tenantId: plan.tenantId, id: plan.id },
      looked: row.looked + step.looked,
      searchedId: step.searchedId,
      total: row.total + ids.length,
      oldestAt: row.oldest_at ?? kept[0]?.row.received_at ?? null,
      sample: [...row.sample, ...kept.map(sampleOf)].slice(0, SAMPLE),
      unreadable: row.unreadable + unreadable.length,
      unreadableIds: [...row.unreadable_ids, ...unreadable].slice(0, NAMED),
      waits,
      complete: step.complete,
      ttlMs: PLAN_TTL_MS,
    })
    return planOf(next)
  })
}

export const waitMs = (waits: number): number => Math.min(LONGEST_WAIT_MS, WAIT_MS * (waits + 1))

const sampleOf = ({ row, status }: InboxItem): sql.SampleEvent => ({
  inbox_id: row.id,
  provider: row.provider,
  event_id: row.event_id,
  event_type: row.event_type,
  received_at: row.received_at.toISOString(),
  status,
})

const wanted = (selection: Selection, items: readonly InboxItem[]): readonly InboxItem[] =>
  'filter' in selection ? items.filter(({ status }) => selection.filter.statuses.includes(status)) : items

function stepOf(deps: SearchDeps, plan: InboxPlan): Promise<Step | Waiting> {
  const { selection } = plan
  if ('filter' in selection) return byColumns(deps.db, plan, selection.filter)
  if ('subject' in selection) return byPayload(deps, plan, selection.subject)
  const [list, value] = 'ids' in selection ? [listByIds, selection.ids] : [listByEvent, selection.event_id]
  return atOnce(deps.db, plan, list, value)
}

const isRow = (row: ListedRow): row is ListedRow & InboxRow => row.id !== null
const oldestFirst = (rows: readonly InboxRow[]): InboxRow[] =>
  [...rows].sort((one, other) => (one.id < other.id ? -1 : 1))

async function atOnce(
  on: Queryable,
  { tenantId, createdAt }: InboxPlan,
  list: typeof listByIds,
  value: string | readonly string[],
): Promise<Step> {
  const args = { tenantId, value, low: FIRST, high: LAST, receivedBefore: createdAt, limit: ROWS }
  const found = oldestFirst((await list(on, args)).filter(isRow))
  return { found, looked: found.length, searchedId: null, complete: true }
}

const earliest = (one: Date, other: string | undefined): Date => {
  const then = other === undefined ? one : new Date(other)
  return then < one ? then : one
}

async function byColumns(on: Queryable, plan: InboxPlan, filter: StoredFilter): Promise<Step> {
  const times = {
    receivedAfter: filter.received_after === undefined ? undefined : new Date(filter.received_after),
    receivedBefore: earliest(plan.createdAt, filter.received_before),
  }
  const { low, high } = idRange(times)
  const listed = await listOldest(on, {
    ...times,
    ...{ tenantId: plan.tenantId, provider: filter.provider, type: filter.type, account: filter.account },
    routeId: filter.route_id,
    ...{ low: plan.searchedId === null ? low : idAfter(plan.searchedId), high, value: ROWS, limit: ROWS },
  })
  const [first] = listed
  const looked = first?.examined ?? 0
  return {
    found: listed.filter(isRow),
    looked,
    searchedId: first?.edge ?? plan.searchedId,
    complete: looked < ROWS,
  }
}

/** The smallest id that is larger. */
export function idAfter(id: string): string {
  const next = (BigInt(`0x${id.replaceAll('-', '')}`) + 1n).toString(16).padStart(32, '0')
  return [8, 12, 16, 20].reduceRight((text, at) => `${text.slice(0, at)}-${text.slice(at)}`, next)
}

async function byPayload(deps: SearchDeps, plan: InboxPlan, subject: Subject): Promise<Step | Waiting> {
  const { tenantId, createdAt, searchedId } = plan
  const { high } = idRange({ receivedBefore: createdAt, receivedAfter: undefined })
  const low = searchedId === null ? FIRST : idAfter(searchedId)
  const listed = await listOldest(deps.db, { tenantId, low, high, value: PAYLOADS, limit: PAYLOADS })
  const all = listed.filter(isRow)
  const looked = await lookInto(deps, plan, subject, withinBytes(all))
  if ('waitingFor' in looked) return looked
  const { rows, hits, waits } = looked
  const before = rows.filter(({ received_at }) => received_at < createdAt)
  const lost = new Set(looked.unreadable)
  return {
    found: before.filter(({ id }) => hits.has(id)),
    looked: rows.length,
    searchedId: rows.at(-1)?.id ?? searchedId,
    complete: rows.length === all.length && rows.length < PAYLOADS,
    unreadable: before.flatMap(({ id }) => (lost.has(id) ? [id] : [])),
    waits,
  }
}

/** As many as fit, at least one. */
function withinBytes(rows: readonly InboxRow[]): readonly InboxRow[] {
  let bytes = 0
  let fitting = 0
  for (const { size } of rows) {
    bytes += size
    if (bytes > BYTES && fitting > 0) break
    fitting += 1
  }
  return rows.slice(0, fitting)
}

/** Errors: `not_found` that names each id which the workspace does not have. */
export async function requireKnown(on: Queryable, tenantId: string, ids: readonly string[]): Promise<void> {
  const rows = await listByIds(on, { tenantId, value: ids, low: FIRST, high: LAST, limit: ids.length })
  const known = new Set(rows.filter(isRow).map(({ id }) => id))
  const details = ids.flatMap((id, at) =>
    known.has(id)
      ? []
      : [{ path: `/body/ids/${at}`, message: 'is not an event in the inbox of this workspace' }],
  )
  if (details.length > 0)
    throw new Problem('not_found', 'There is no such webhook in the inbox.', { details })
}
