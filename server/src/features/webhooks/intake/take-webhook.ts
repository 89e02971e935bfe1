import type { Db } from '../../../platform/db/db.ts'
import { Problem } from '../../../problems.ts'
import { createBatcher } from '../../../queue/batcher.ts'
import type { LaneKey } from '../../../queue/job.ts'
import type { WakeUp } from '../../../queue/wake-up.ts'
import type { KeptPayload, Payloads } from '../../payloads/payloads.ts'
import { type PreparedWebhook, prepare, toStore } from './events-to-store.ts'
import { lanesOf } from './lines.ts'
import { recordLarge } from './record-large.ts'
import { type Copy, sendAgain } from './send-again.ts'
import { isTaken, type TakenRow, takeBatch } from './take.sql.ts'
import type { AcceptedWebhook, VerifiedWebhook } from './verified-webhook.ts'

export {
  type AcceptedWebhook,
  keptHeaders,
  type VerifiedWebhook,
  type WebhookSource,
} from './verified-webhook.ts'

/** Takes verified events in. */
export interface Intake {
  /**
   * All events of one request in one transaction, and workers are told of their deliveries; undefined for an event
   * whose route has gone. A copy of an event whose delivery was given up, or waits for something that is over, sends it
   * on its way again. Errors: `webhook_unavailable` when too much waits, `database_unavailable`,
   * `payload_store_unavailable`, `shutting_down`.
   */
  take(webhooks: readonly VerifiedWebhook[]): Promise<readonly (AcceptedWebhook | undefined)[]>
  /** Refuses new events and resolves when every accepted one is answered. */
  close(): Promise<void>
}

export interface IntakeDeps {
  readonly db: Db
  readonly wakeUp: Pick<WakeUp, 'hint'>
  readonly payloads: Pick<Payloads, 'inlineLimitBytes' | 'keep' | 'record' | 'erase'>
  /** Events that may wait for the database, default 5,000. */
  readonly maxWaiting?: number
  /** Of their bytes, default 64 MiB. */
  readonly maxWaitingBytes?: number
}

/** In one statement: more hardly lower the cost of each (research/performance.md §5c). */
const MAX_EVENTS = 100
const MAX_BYTES = 8 * 1_024 * 1_024
const MAX_IN_FLIGHT = 3
/** A statement of its own costs as much as some events: fewer leave the last slot to those that are enough. */
const ENOUGH = 24

type Request = readonly PreparedWebhook[]
type Stored = readonly (AcceptedWebhook | Copy | undefined)[]

/**
 * Merges concurrent requests into batches: one round trip and one commit for up to a hundred events, which is what makes
 * acceptance fast. Requests share a statement, but not their failures: a batch that the database refuses is stored
 * request by request.
 */
export function createIntake(deps: IntakeDeps): Intake {
  const { db, wakeUp, payloads, maxWaiting = 5_000, maxWaitingBytes = 64 * 1_024 * 1_024 } = deps
  let closed = false
  let waiting = 0
  let bytesHeld = 0

  const store = async (requests: readonly Request[]): Promise<Stored[]> => {
    const events = requests.flat()
    const large = events.some(({ kept }) => kept)
    const args = toStore(events)
    const row = large
      ? await db.transaction(async (tx) => {
          const taken = await takeBatch(tx, args)
          await recordLarge(tx, payloads, events, addedOf(taken, events))
          return taken
        })
      : await takeBatch(db, args)
    wakeUp.hint(startedBy(row, events))
    const answers = answersOf(row, events)
    let from = 0
    return requests.map(({ length }) => {
      from += length
      return answers.slice(from - length, from)
    })
  }

  const batcher = createBatcher<Request, Stored>({
    maxRows: MAX_EVENTS,
    maxInFlight: MAX_IN_FLIGHT,
    enough: ENOUGH,
    flush: async (requests) => {
      const results: PromiseSettledResult<Stored>[] = []
      for (const part of parts(requests)) results.push(...(await storeApart(store, part)))
      return results
    },
  })

  const keep = async ({
    route,
    event,
    bytes,
    headers,
  }: VerifiedWebhook): Promise<KeptPayload | undefined> => {
    const { tenantId, id: routeId } = route
    // A copy needs no bytes: whoever repeats a large request must not fill the store with it. Should its key be forgotten
    // in this very moment it is a new event, and its bytes stay in the database.
    if (bytes.length > payloads.inlineLimitBytes)
      if ((await isTaken(db, { tenantId, routeId, eventId: event.eventId })).taken) return undefined
    return payloads.keep(tenantId, bytes, headers['content-type'] ?? '')
  }

  const held = async <T>(webhooks: readonly VerifiedWebhook[], work: () => Promise<T>): Promise<T> => {
    const bytes = webhooks.reduce((sum, webhook) => sum + webhook.bytes.length, 0)
    // Behind a stuck database providers would give up, and send again what is then stored twice as a copy.
    if (waiting >= maxWaiting || bytesHeld >= maxWaitingBytes) throw tooManyWait()
    waiting += webhooks.length
    bytesHeld += bytes
    try {
      return await work()
    } finally {
      waiting -= webhooks.length
      bytesHeld -= bytes
    }
  }

  return {
    take: async (webhooks) => {
      if (closed) throw new Problem('shutting_down', 'This process takes no more webhooks.')
      return held(webhooks, async () => {
        const prepared: PreparedWebhook[] = []
        for (const webhook of webhooks) prepared.push(prepare(webhook, await keep(webhook)))
        const stored = await batcher.add(prepared)
        const answers: (AcceptedWebhook | undefined)[] = []
        for (const answer of stored) {
          if (answer && 'copyOf' in answer) wakeUp.hint(await sendAgain(db, answer))
          answers.push(answer && { inboxId: answer.inboxId, duplicate: answer.duplicate })
        }
        return answers
      })
    },
    close: () => {
      closed = true
      return batcher.drained()
    },
  }
}

const tooManyWait = (): Problem =>
  new Problem('webhook_unavailable', 'Too many events wait for the database of the hub; send it again.', {
    retryAfterSeconds: 30,
  })

/** Requests in groups that one statement can hold; a request of many events is one by itself. */
function* parts(requests: readonly Request[]): Generator<readonly Request[]> {
  let part: Request[] = []
  let events = 0
  let bytes = 0
  for (const request of requests) {
    const size = request.reduce((sum, { webhook, kept }) => sum + (kept ? 0 : webhook.bytes.length), 0)
    if (part.length > 0 && (events + request.length > MAX_EVENTS || bytes + size > MAX_BYTES)) {
      yield part
      part = []
      events = 0
      bytes = 0
    }
    part.push(request)
    events += request.length
    bytes += size
  }
  yield part
}

async function storeApart(
  store: (requests: readonly Request[]) => Promise<Stored[]>,
  requests: readonly Request[],
): Promise<PromiseSettledResult<Stored>[]> {
  try {
    return (await store(requests)).map((value) => ({ status: 'fulfilled', value }))
  } catch (error) {
    // A problem is of the database as a whole: one by one would only take longer.
    if (requests.length === 1 || error instanceof Problem)
      return requests.map(() => ({ status: 'rejected', reason: error }))
    const apart: PromiseSettledResult<Stored>[] = []
    for (const request of requests) apart.push(...(await storeApart(store, [request])))
    return apart
  }
}

const addedOf = ({ fresh }: TakenRow, events: readonly PreparedWebhook[]): ReadonlySet<string> =>
  new Set((fresh ?? events.map(({ inboxId }) => ({ id: inboxId }))).map(({ id }) => id))

/** The lanes that have something to do: of new deliveries, and of turns in lines. */
function startedBy({ fresh, turns }: TakenRow, events: readonly PreparedWebhook[]): LaneKey[] {
  const going = fresh && new Set(fresh.filter(({ held }) => !held).map(({ id }) => id))
  const atOnce = events.flatMap(({ delivery, line, inboxId }) =>
    delivery && !line && (!going || going.has(inboxId)) ? [delivery] : [],
  )
  return [...atOnce, ...lanesOf(turns)]
}

function answersOf(row: TakenRow, events: readonly PreparedWebhook[]): Stored {
  if (row.fresh === null) return events.map(({ inboxId }) => ({ inboxId, duplicate: false }))
  const added = addedOf(row, events)
  const copies = new Map((row.others ?? []).map((copy) => [copy.ord, copy]))
  return events.map(({ webhook, inboxId }, ord) => {
    if (added.has(inboxId)) return { inboxId, duplicate: false }
    const copy = copies.get(ord)
    return copy && { inboxId: copy.inbox_id, duplicate: true, copyOf: copy, webhook }
  })
}
