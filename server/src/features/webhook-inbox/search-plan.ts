import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import {
  findPayloads,
  type InboxRow,
  type ListedRow,
  listByEvent,
  listByIds,
  listOldest,
} from './inbox.sql.ts'
import { idRange } from './list-inbox.ts'
import type { InboxPlan } from './plan.ts'
import { insertItems } from './plan-items.sql.ts'
import * as sql from './plans.sql.ts'
import type { Selection, StoredFilter } from './selection.ts'
import { type InboxItem, withStatus } from './status.ts'
import { matcherOf, type PayloadContent } from './subject.ts'

/** Rows that one step looks at by their columns, or by their payloads. */
const ROWS = 2_000
const PAYLOADS = 500
/** Of payloads in memory at once; one is read however large it is. */
const BYTES = 16 * 1024 * 1024
/** Objects of the payload store that are read at once. */
const READS = 4
const SAMPLE = 5
const PLAN_TTL_MS = 15 * 60_000
const LAST = 'ffffffff-ffff-ffff-ffff-ffffffffffff'
const FIRST = '00000000-0000-0000-0000-000000000000'

export interface SearchDeps {
  readonly db: Db
  /** Of the payload store. Errors: `payload_gone`, `payload_store_unavailable`. */
  readonly readPayload: (tenantId: string, id: string) => Promise<Buffer>
}

interface Step {
  readonly found: readonly InboxRow[]
  readonly looked: number
  readonly searchedId: string | null
  readonly complete: boolean
}

/**
 * The next step of a search, from where the plan is; bounded in rows and bytes. It holds no transaction while it reads,
 * and what another worker or an abort did meanwhile counts more than what it has found: false then. Errors: those of
 * `readPayload` but `payload_gone`, `database_unavailable`.
 */
export async function searchStep(deps: SearchDeps, plan: InboxPlan): Promise<boolean> {
  const step = await stepOf(deps, plan)
  const items = await withStatus(deps.db, plan.tenantId, step.found)
  return deps.db.transaction(async (tx) => {
    const row = await sql.lockPlan(tx, plan)
    if (row?.state !== 'searching' || row.searched_id !== plan.searchedId) return false
    const kept = wanted(plan.selection, items)
    const ids = kept.map(({ row: { id } }) => id)
    if (ids.length > 0) await insertItems(tx, { ...plan, ids })
    await sql.advanceSearch(tx, {
      ...{ tenantId: plan.tenantId, id: plan.id },
      looked: row.looked + step.looked,
      searchedId: step.searchedId,
      total: row.total + ids.length,
      oldestAt: row.oldest_at ?? kept[0]?.row.received_at ?? null,
      sample: [...row.sample, ...kept.map(sampleOf)].slice(0, SAMPLE),
      complete: step.complete,
      ttlMs: PLAN_TTL_MS,
    })
    return true
  })
}

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

function stepOf(deps: SearchDeps, plan: InboxPlan): Promise<Step> {
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

async function byPayload(
  { db, readPayload }: SearchDeps,
  plan: InboxPlan,
  subject: Extract<Selection, { subject: unknown }>['subject'],
): Promise<Step> {
  const { tenantId, createdAt, searchedId } = plan
  const matches = matcherOf(subject)
  const { high } = idRange({ receivedBefore: createdAt, receivedAfter: undefined })
  const low = searchedId === null ? FIRST : idAfter(searchedId)
  const listed = await listOldest(db, { tenantId, low, high, value: PAYLOADS, limit: PAYLOADS })
  const rows = withinBytes(listed.filter(isRow))
  const payloads = await findPayloads(db, { tenantId, ids: rows.map(({ id }) => id) })
  const hits = new Set<string>()
  for (let from = 0; from < payloads.length; from += READS) {
    const some = payloads.slice(from, from + READS)
    const contents = await Promise.all(
      some.map(async ({ body, payload_id, headers }): Promise<PayloadContent | undefined> => {
        const bytes =
          body ?? (payload_id === null ? undefined : await storedBytes(readPayload, tenantId, payload_id))
        return bytes && { body: bytes, headers }
      }),
    )
    for (const [at, content] of contents.entries()) {
      const id = some[at]?.id
      if (id !== undefined && content && matches(content)) hits.add(id)
    }
  }
  return {
    found: rows.filter(({ id, received_at }) => hits.has(id) && received_at < createdAt),
    looked: rows.length,
    searchedId: rows.at(-1)?.id ?? searchedId,
    complete: rows.length === listed.filter(isRow).length && rows.length < PAYLOADS,
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

const UNREADABLE: ReadonlySet<string> = new Set(['payload_gone', 'payload_damaged'])

async function storedBytes(
  read: SearchDeps['readPayload'],
  tenantId: string,
  id: string,
): Promise<Buffer | undefined> {
  try {
    return await read(tenantId, id)
  } catch (error) {
    // It went while we looked, or nobody can read it any more: nothing can be found in it.
    if (error instanceof Problem && UNREADABLE.has(error.code)) return undefined
    throw error
  }
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
