import { createHash } from 'node:crypto'
import type { Queryable, Tx } from '../../../platform/db/statement.ts'
import { newId } from '../../../platform/ids.ts'
import { pointedAt } from '../../../platform/json-pointer.ts'
import { jobRecord } from '../../../queue/enqueue.ts'
import type { EndedJob, LaneKey, NewJob } from '../../../queue/job.ts'
import { queueName } from '../../../queue/job.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { deliverKept, endTurns, linesToLookAfter, lookAfterLines } from './lines.sql.ts'
import type { TurnRow } from './take.sql.ts'

/** The line in which an event waits for those before it. */
export interface Line {
  readonly routeId: string
  readonly key: string
  readonly limitMs: number
}

/** The kind of `Completion.follow` that says: the next event of the line can go. */
const LINE = 'webhook_line'
const MAX_KEY = 200

/**
 * The line of an event; undefined when its route has no ordering, or the payload nothing at that pointer that could be a
 * key: then it is delivered at once.
 */
export function lineOf(
  { id, ordering }: Pick<WebhookRoute, 'id' | 'ordering'>,
  payload: unknown,
): Line | undefined {
  const value = ordering && pointedAt(payload, ordering.key)
  if (!ordering || !(typeof value === 'string' || typeof value === 'number' || typeof value === 'boolean'))
    return undefined
  // As JSON, so that 1 and "1" differ and nothing is in it that Postgres text cannot hold.
  const text = JSON.stringify(value)
  const key = text.length <= MAX_KEY ? text : `sha256:${createHash('sha256').update(text).digest('hex')}`
  return { routeId: id, key, limitMs: ordering.limitMs }
}

/** The delivery of an event that has a line: its end lets the next one go. */
export const inLine = (job: NewJob, line: Line): NewJob => ({
  ...job,
  completion: { ...job.completion, follow: { kind: LINE, route_id: line.routeId, key: line.key } },
})

export const lanesOf = (turns: readonly TurnRow[] | null): LaneKey[] =>
  (turns ?? []).map(({ tenant_id, queue, lane }) => ({ tenantId: tenant_id, queue: queueName(queue), lane }))

/**
 * The follow-up of deliveries that have ended, in whatever way: in the same transaction the next event of the line gets
 * its delivery. One that is held keeps its place at the head.
 */
export async function endLineTurns(tx: Tx, ended: readonly EndedJob[]): Promise<readonly LaneKey[]> {
  const turns = ended.flatMap(({ job, held }) => {
    const follow = job.completion?.follow
    if (follow?.kind !== LINE || job.inboxId === null) return []
    const { route_id, key } = follow
    if (typeof route_id !== 'string' || typeof key !== 'string') return []
    const { tenantId, inboxId } = job
    return [{ tenant_id: tenantId, route_id, key, inbox_id: inboxId, held: held !== undefined, id: newId() }]
  })
  return turns.length === 0 ? [] : lanesOf((await endTurns(tx, { ended: turns })).turns)
}

/** An event of the inbox that was held or ignored, and is to be delivered now. */
export interface KeptDelivery {
  /** With the inbox row as `inboxId`. */
  readonly job: NewJob
  readonly routeId: string
  /** See `lineOf`. */
  readonly line: Line | undefined
  /** One sentence for the timeline. */
  readonly why: string
}

/**
 * Gives events that are held or ignored their delivery: at once, or, in a line, when their turn comes. An event that has
 * a place in a line keeps it. What is in another state by now is left alone. Gives the inbox ids that moved, and the
 * lanes to be woken after the commit.
 */
export async function deliverKeptEvents(
  tx: Tx,
  deliveries: readonly KeptDelivery[],
): Promise<{ readonly moved: readonly string[]; readonly lanes: readonly LaneKey[] }> {
  if (deliveries.length === 0) return { moved: [], lanes: [] }
  const { moved, turns } = await deliverKept(tx, {
    events: deliveries.map(({ job, routeId, line, why }, ord) => {
      if (job.inboxId === undefined) throw new Error('a delivery without its inbox row')
      return {
        tenant_id: job.tenantId,
        inbox_id: job.inboxId,
        route_id: routeId,
        key: line?.key ?? null,
        limit_ms: line?.limitMs ?? null,
        id: job.id,
        // The statement adds what lets the next one go: the event may have a place in another line.
        job: jobRecord(job, ord),
        why,
      }
    }),
  })
  const atOnce = new Set((moved ?? []).filter(({ at_once }) => at_once).map(({ inbox_id }) => inbox_id))
  return {
    moved: (moved ?? []).map(({ inbox_id }) => inbox_id),
    lanes: [
      ...deliveries.filter(({ job }) => atOnce.has(job.inboxId ?? '')).map(({ job }) => job),
      ...lanesOf(turns),
    ],
  }
}

/** Small enough to be over in a moment; what is left waits for the next round. */
const LINES = 200

/**
 * Lets the next event of a line go when the one before it is not over after the limit, or when nobody has told of its
 * end. Any number of workers may do it at once. Gives the lanes to be woken, and whether more lines may be due.
 */
export async function careForLines(
  on: Queryable,
): Promise<{ readonly lanes: readonly LaneKey[]; readonly more: boolean }> {
  const lines = await linesToLookAfter(on, { limit: LINES })
  if (lines.length === 0) return { lanes: [], more: false }
  const { turns } = await lookAfterLines(on, { lines: lines.map((line) => ({ ...line, id: newId() })) })
  return { lanes: lanesOf(turns), more: lines.length === LINES }
}
