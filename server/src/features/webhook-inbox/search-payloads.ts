import type { Db } from '../../platform/db/db.ts'
import { Problem } from '../../problems.ts'
import { findPayloads, type InboxRow, type PayloadRow } from './inbox.sql.ts'
import type { InboxPlan } from './plan.ts'
import type { Subject } from './selection.ts'
import { matcherOf } from './subject.ts'

export interface PayloadDeps {
  readonly db: Db
  /** Of the payload store. Errors: `payload_gone`, `payload_damaged`, `payload_store_unavailable`. */
  readonly readPayload: (tenantId: string, id: string) => Promise<Buffer>
}

/** What became of the first rows; the others are for the next step. */
export interface LookedInto {
  readonly rows: readonly InboxRow[]
  readonly hits: ReadonlySet<string>
  readonly unreadable: readonly string[]
  /** How often the row that comes next was tried in vain. */
  readonly waits: number
}

/** Objects of the payload store that are read at once. */
const READS = 4
/** A payload is tried so often, over some minutes, before it is given up while others can be read. */
const TRIES = 8
/** The same when there is no other one to compare with. */
const TRIES_ALONE = 20

type Look = 'hit' | 'miss' | 'unreadable' | 'away'

/**
 * Looks into the payloads of rows, in their order, up to the first one that cannot be read now. Is that the first of
 * all, then it waits, and gives what for; a store that is away is waited for however long. But a payload that cannot be
 * read again and again while others can is counted as unreadable and passed over, so that it does not stop the search.
 * Errors: what `readPayload` gives beside its own, `database_unavailable`.
 */
export async function lookInto(
  deps: PayloadDeps,
  { tenantId, waits }: Pick<InboxPlan, 'tenantId' | 'waits'>,
  subject: Subject,
  rows: readonly InboxRow[],
): Promise<LookedInto | { readonly waitingFor: string }> {
  const look = lookOf(deps, tenantId, matcherOf(subject))
  const payloads = await findPayloads(deps.db, { tenantId, ids: rows.map(({ id }) => id) })
  const looks = new Map<string, Look>()
  for (let from = 0; from < payloads.length && ![...looks.values()].includes('away'); from += READS) {
    const some = payloads.slice(from, from + READS)
    for (const [at, each] of (await Promise.all(some.map(look))).entries())
      looks.set(some[at]?.id ?? '', each)
  }
  const upTo = (end: number, more: readonly string[] = []): LookedInto => {
    const done = rows.slice(0, end)
    const of = (kind: Look) => done.flatMap(({ id }) => (looks.get(id) === kind ? [id] : []))
    return { rows: done, hits: new Set(of('hit')), unreadable: [...of('unreadable'), ...more], waits }
  }
  const stuck = rows.findIndex(({ id }) => looks.get(id) === 'away')
  if (stuck < 0) return { ...upTo(rows.length), waits: 0 }
  if (stuck > 0) return upTo(stuck)

  const [first] = rows
  const payload = payloads.find(({ id }) => id === first?.id)
  const others = payloads.filter(({ id, payload_id }) => payload_id !== null && id !== first?.id)
  if (first && payload && (await isHopeless(look, waits, payload, others.slice(0, READS))))
    return upTo(1, [first.id])
  return { waitingFor: `the payload store: it does not give the payload of ${first?.id} now` }
}

/** Whether it is this payload that cannot be read, and not the store. */
async function isHopeless(
  look: (payload: PayloadRow) => Promise<Look>,
  waits: number,
  payload: PayloadRow,
  others: readonly PayloadRow[],
): Promise<boolean> {
  if (waits < (others.length === 0 ? TRIES_ALONE : TRIES)) return false
  const known = await Promise.all(others.map(look))
  if (others.length > 0 && known.every((each) => each === 'away')) return false
  // The store may have come back just now.
  return (await look(payload)) === 'away'
}

function lookOf(
  { db, readPayload }: PayloadDeps,
  tenantId: string,
  matches: ReturnType<typeof matcherOf>,
): (payload: PayloadRow) => Promise<Look> {
  const isStillThere = async ({ id, payload_id }: PayloadRow): Promise<boolean> =>
    (await findPayloads(db, { tenantId, ids: [id] })).some((now) => now.payload_id === payload_id)
  return async (payload) => {
    const { body, payload_id } = payload
    if (body) return matches({ body }) ? 'hit' : 'miss'
    // Erased: there is nothing left to be found.
    if (payload_id === null) return 'miss'
    try {
      return matches({ body: await readPayload(tenantId, payload_id) }) ? 'hit' : 'miss'
    } catch (error) {
      if (!(error instanceof Problem)) throw error
      if (error.code === 'payload_store_unavailable') return 'away'
      if (error.code === 'payload_damaged') return 'unreadable'
      if (error.code !== 'payload_gone') throw error
      // Erased or no longer kept since we looked, which is as good; or lost.
      return (await isStillThere(payload)) ? 'unreadable' : 'miss'
    }
  }
}
