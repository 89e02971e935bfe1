import type { Db } from '../../platform/db/db.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { routeDelivers } from '../webhook-routes/webhook-routes.ts'
import type { AskedRoute } from './asking.ts'
import { firstPosition, positionAfter } from './check-position.ts'
import { type DueCheck, finishCheck, type HeldCheck, letGo, moveOn } from './gap-checks.sql.ts'
import type { ListedEvent } from './gap-source.ts'
import { insertMissing } from './webhook-gaps.sql.ts'

export interface CheckTiming {
  /** Younger events may be on their way: the next check looks at them. */
  readonly graceMs: number
  readonly leaseMs: number
  /** Of one turn: a check that is longer rests for `turnPauseMs` and goes on after those of other routes. */
  readonly maxPages: number
  readonly turnPauseMs: number
  readonly maxPagesOfCheck: number
}

export interface Checked {
  readonly found: number
  /** It is over, or goes on later. */
  readonly ended: boolean
}

const DAY_MS = 86_400_000
/** Stripe's list goes back so far, GitHub's less. */
const FIRST_LOOK_DAYS = 30
/** PLAIN_TEXT of the providers: what could never be in the inbox is not missing there. */
const PLAIN_TEXT = /^[\x21-\x7e]{1,255}$/

/**
 * Holds the provider's list against the inbox, page by page; after each page it can go on elsewhere. Errors: those of
 * the source; what was found until then stays found, and the page stays the next one to be read.
 */
export async function checkRoute(
  db: Db,
  { source, asking }: AskedRoute,
  due: DueCheck,
  held: HeldCheck,
  { graceMs, leaseMs, maxPages, turnPauseMs, maxPagesOfCheck }: CheckTiming,
  stopping: AbortSignal,
): Promise<Checked> {
  const { route } = asking
  const nowMs = due.at.getTime()
  let position = due.position ?? firstPosition(new Date(nowMs - graceMs))
  const until = new Date(position.until)
  const first = new Date(Math.max(route.createdAt.getTime(), nowMs - FIRST_LOOK_DAYS * DAY_MS))
  const from = due.looked_until ?? first
  let found = 0
  // A route that is younger than the grace has nothing that could be missing.
  for (let page = 0; from <= until; page += 1) {
    if (stopping.aborted || page >= maxPages) {
      await letGo(db, { ...held, againMs: stopping.aborted ? 0 : turnPauseMs })
      return { found, ended: false }
    }
    const listed = await source.list(asking, { from, until }, position.after ?? undefined)
    position = positionAfter(position, listed, maxPagesOfCheck)
    found += await note(db, asking, held, listed.events, { position, leaseMs })
    if (listed.next === undefined) break
  }
  const lookedUntil = new Date(Math.max(from.getTime(), until.getTime()))
  await finishCheck(db, { ...held, lookedUntil, everySeconds: route.gapCheck?.everySeconds ?? 0 })
  return { found, ended: true }
}

/** What is missing, and where the check goes on, in one transaction; how much it is. */
function note(
  db: Db,
  { route }: AskedRoute['asking'],
  held: HeldCheck,
  events: readonly ListedEvent[],
  on: Pick<Parameters<typeof moveOn>[1], 'position' | 'leaseMs'>,
): Promise<number> {
  const { tenantId, routeId } = held
  const wanted = events.filter(
    ({ eventId, type }) => routeDelivers(route, type) && PLAIN_TEXT.test(eventId) && PLAIN_TEXT.test(type),
  )
  return db.transaction(async (tx) => {
    if ((await moveOn(tx, { ...held, ...on })) === 0) throw new LostLease()
    const gaps = await insertMissing(tx, {
      tenantId,
      routeId,
      automatic: route.gapCheck?.pull === 'automatic',
      gaps: wanted.map(({ eventId, type, occurredAt, handle }) => ({
        id: newId(),
        event_id: eventId,
        event_type: type,
        handle,
        occurred_at: occurredAt.toISOString(),
      })),
    })
    if (gaps.length > 0)
      await appendEvents(tx, {
        events: [
          {
            tenant_id: tenantId,
            type: 'webhook.gap_found',
            severity: 'warning',
            message: `${gaps.length} event${gaps.length === 1 ? ' that the provider lists has' : 's that the provider lists have'} never arrived.`,
            connector: route.connector,
            data: {
              provider: route.provider,
              route_id: routeId,
              count: gaps.length,
              event_ids: gaps.slice(0, 20).map(({ event_id }) => event_id),
            },
          },
        ],
      })
    return gaps.length
  })
}

/** Another worker has the check by now and writes it down. */
export class LostLease extends Error {
  constructor() {
    super('the check has gone to another worker')
  }
}
