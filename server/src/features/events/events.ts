/**
 * The EventLog as its readers see it (DESIGN D8).
 *
 * Order: events are sorted by (xid, seq), the id of the transaction that wrote them and a sequence. `seq` alone
 * is taken before the commit, so a reader that asks for `seq > last` skips whatever commits late.
 *
 * Horizon: readers see only events of transactions below the oldest one that is still open
 * (`pg_snapshot_xmin`). What is below it can never grow, so a position once passed is passed for good: no gap,
 * no repetition. The price: an event shows up only when every older writing transaction of the server has ended
 * (their session time-outs bound that).
 *
 * A position is (xid, seq): either that of an event, or (horizon, 0), which says "everything below the horizon
 * has been read" and keeps quiet, filtered readers from scanning the same rows again.
 */
import type { Db } from '../../platform/db/db.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Severity } from '../../platform/event-log.ts'
import { decodeCursor, encodeCursor } from '../../platform/http/page.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import { type EventRow, findWindowEnd, selectEvents } from './events.sql.ts'

export const EVENTS_CHANNEL = 'orchestrator_events'

export interface EventFilter {
  readonly type?: string | undefined
  readonly connector?: string | undefined
  readonly severity?: Severity | undefined
  readonly traceId?: string | undefined
  readonly jobId?: string | undefined
}

export interface EventPosition {
  /** An xid8 as decimal text: it may pass 2^53. */
  readonly xid: string
  readonly seq: number
}

export type LoggedEvent = Extract<EventRow, { readonly seq: number }>

export interface EventSlice {
  readonly events: readonly LoggedEvent[]
  /** Where to go on in the same order. */
  readonly position: EventPosition
  /** False when the limit cut the slice: there is more right now. */
  readonly complete: boolean
}

export interface EventQuery {
  readonly tenantId: string
  readonly filter: EventFilter
  readonly order: 'asc' | 'desc'
  /** Exclusive. Absent = the end of the log that `order` starts from. */
  readonly after?: EventPosition | undefined
  readonly limit: number
}

/** How many events one statement looks at when no index serves the filter: bounds the time that it can take. */
export const WINDOW = 20_000
const MAX_INT8 = '9223372036854775807'
const FIRST = { xid: '0', seq: 0 }
const LAST = { xid: MAX_INT8, seq: MAX_INT8 }

/**
 * Reads up to `limit` events. A slice can be short, even empty, and not complete: a filter that no index serves
 * looks at `WINDOW` events at a time. Errors: `validation_error` naming `where` (a JSON pointer into the request)
 * for a position that this log has never given out.
 */
export async function readEvents(db: Queryable, query: EventQuery, where?: string): Promise<EventSlice> {
  const { tenantId, filter, order, limit } = query
  const path = filter.jobId ? 'job' : filter.traceId ? 'trace' : 'tenant'
  const after = query.after ?? (order === 'asc' ? FIRST : LAST)
  const scans = path === 'tenant' && (filter.type ?? filter.connector ?? filter.severity) !== undefined
  const end = scans ? await findWindowEnd[order](db, { tenantId, after, size: WINDOW }) : undefined
  const rows = await selectEvents[path][order](db, {
    tenantId,
    after,
    upTo: end ?? (order === 'asc' ? LAST : FIRST),
    // One more than asked for tells whether the slice is complete.
    limit: limit + 1,
    ...filter,
  })
  const horizon = rows[0]?.horizon ?? '0'
  if (query.after && BigInt(query.after.xid) > BigInt(horizon)) throw foreignPosition(where)
  const found = rows.filter((row) => row.seq !== null)
  const events = found.slice(0, limit)
  const last = events.at(-1)
  if (found.length > limit && last) return { events, complete: false, position: positionOf(last) }
  if (end) return { events, complete: false, position: end }
  return { events, complete: true, position: { xid: horizon, seq: 0 } }
}

/** The present end of the log: a reader that starts here gets what becomes visible from now on. */
export async function endOfEvents(db: Queryable, tenantId: string): Promise<EventPosition> {
  const none = await selectEvents.tenant.asc(db, { tenantId, after: FIRST, upTo: FIRST, limit: 0 })
  return { xid: none[0]?.horizon ?? '0', seq: 0 }
}

export const positionOf = ({ xid, seq }: LoggedEvent): EventPosition => ({ xid, seq })

/** The opaque text of a position: `id` of an event, `cursor` of a list, `id:` of the stream. */
export const encodePosition = ({ xid, seq }: EventPosition): string => encodeCursor([xid, seq])

/** Errors: `validation_error` naming `where` (a JSON pointer into the request) for anything else than our own text. */
export function decodePosition(text: string, where?: string): EventPosition {
  const [xid, seq] = decodeCursor(text, isPosition, where)
  return { xid, seq }
}

const isPosition = (parts: readonly unknown[]): parts is readonly [string, number] =>
  parts.length === 2 &&
  typeof parts[0] === 'string' &&
  /^(0|[1-9]\d{0,18})$/.test(parts[0]) &&
  BigInt(parts[0]) <= BigInt(MAX_INT8) &&
  Number.isSafeInteger(parts[1]) &&
  Number(parts[1]) >= 0

/** After a restore from an older backup, positions of the lost future would wait in silence: they are refused. */
const foreignPosition = (where = '/query/cursor'): Problem =>
  new Problem('validation_error', `${where} is not a cursor of this log; start again without it.`, {
    details: [{ path: where, message: 'is not a cursor of this log' }],
  })

const HINT_PAUSE_MS = 100

/**
 * Tells every process that somebody has committed events, so that streams need not wait for their next poll.
 * Call it after the commit, never inside the transaction; at most ten hints a second go out. Losing one is harmless.
 */
export function createEventHints(db: Db, log: Log): () => void {
  let pause: NodeJS.Timeout | undefined
  let again = false
  const hint = (): void => {
    if (pause) {
      again = true
      return
    }
    pause = setTimeout(() => {
      pause = undefined
      if (again) {
        again = false
        hint()
      }
    }, HINT_PAUSE_MS)
    pause.unref()
    notify(db, { channel: EVENTS_CHANNEL, payload: '' }).catch((error: unknown) =>
      log.debug({ err: error }, 'an event hint could not be sent'),
    )
  }
  return hint
}
