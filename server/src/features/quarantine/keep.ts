import { appendEvents, type EventRecord } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import type { KeepInQuarantine, RefusedWebhook, WebhookRequest } from '../webhooks/webhooks.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { keepRow, type NewRow, type Room } from './keep.sql.ts'
import { causeOf, ownerOf, shareOf } from './owner.ts'
import type { KeptCopy, KeptEvent, Share } from './quarantine.sql.ts'
import { createRates, type Rate } from './rates.ts'

/** How much the quarantine takes. */
export interface QuarantineLimits extends Room {
  /** Larger bodies are only counted: without all of its bytes nothing can be verified again. */
  readonly maxBodyBytes: number
  /** The same of what nothing has verified and no path of a route names: anybody can send that. */
  readonly maxUnprovenBodyBytes: number
  /** Of each provider and reason; a burst is five times as many. */
  readonly perSecond: number
}

export interface Keeper {
  readonly keep: KeepInQuarantine
  /** Resolves when everything that was taken so far is stored, or given up. */
  settled(): Promise<void>
}

type Refused = NewRow & { readonly share: Share }

/** Headers of every provider that say what the bytes are and who sent them. */
const ALWAYS_KEPT = ['content-type', 'user-agent']
const MAX_COPY_LENGTH = 16_384
const MAX_EVENTS_TOLD = 20
const MAX_ACCOUNTS_KEPT = 10
const MAX_NAME = 255
/** Of one share of what nothing has verified, over all providers: as many as three different floods. */
const OPEN_FLOODS = 3
/** What waits to be stored must not take the memory of the work. Each share has a queue of its own. */
const MAX_WAITING = { items: 100, bytes: 16_777_216 }
/** Of one workspace and reason: a flood must not fill the event log. */
const TOLD: Rate = { permits: 1, periodMs: 60_000, burst: 3 }

/**
 * Keeps refused requests. What nothing has verified is limited by rate before the database is asked, and stored behind
 * the answer, one at a time of each share: whoever floods the ingress with it costs three connections at most and learns nothing. What
 * a secret has verified is stored before the answer, because the answer says so.
 */
export function createKeeper(
  { db, clock, log, metrics }: Pick<Platform, 'db' | 'clock' | 'log' | 'metrics'>,
  limits: QuarantineLimits,
): Keeper {
  const kept = metrics.counter('webhook_quarantine_kept_total', 'Refused webhooks that were kept', [
    'provider',
    'reason',
    'result',
  ])
  const dropped = metrics.counter('webhook_quarantine_dropped_total', 'Refused webhooks that were not kept', [
    'provider',
    'reason',
    'why',
  ])
  const rates = createRates(clock)
  const rate = (times: number): Rate => ({
    permits: limits.perSecond * times,
    periodMs: 1_000,
    burst: limits.perSecond * times * 5,
  })
  const evicted = metrics.counter(
    'webhook_quarantine_evicted_total',
    'Refused webhooks that made room for newer ones',
    ['share'],
  )
  const queueOf = (share: Share) => ({ share, items: 0, bytes: 0, last: Promise.resolve() })
  const queues = [queueOf('routed'), queueOf('claimed'), queueOf('nobody')]

  const drop = ({ provider, reason }: Pick<Refused, 'provider' | 'reason'>, why: string): false => {
    dropped.inc({ provider, reason, why })
    return false
  }

  const mayCome = (row: Refused): boolean => {
    const { share } = row
    // Whoever does not know the path of a route, or its secret, takes nothing of what comes there or with it.
    const whose = share === 'verified' || share === 'routed' ? `/${row.becauseOf}` : ''
    const source = `${share}${whose}/${row.provider}/${row.reason}`
    return rates.take({
      [source]: rate(1),
      ...(share !== 'verified' && { [`${share}${whose}`]: rate(OPEN_FLOODS) }),
    })
  }

  const store = async (row: Refused, request: WebhookRequest): Promise<boolean> => {
    try {
      const { outcome, evicted: gone } = await db.transaction(async (tx) => {
        const result = await keepRow(tx, { ...row, ...limits })
        // Of nobody's there is nobody to read the event: that is in the log, the metrics and the list of the platform.
        const tells = result.outcome === 'kept' && row.tenantId !== NO_WORKSPACE
        if (tells && rates.take({ [`told/${row.tenantId}/${row.reason}`]: TOLD }))
          await appendEvents(tx, { events: [eventOf(row)] })
        return result
      })
      evicted.inc({ share: row.share }, gone)
      if (outcome === 'full') return drop(row, 'full')
      kept.inc({ provider: row.provider, reason: row.reason, result: outcome })
      return true
    } catch (err) {
      log.error({ err, request_id: request.call.requestId }, 'a refused webhook could not be kept')
      return drop(row, 'failed')
    }
  }

  const storeBehind = (row: Refused, request: WebhookRequest): boolean => {
    const bytes = row.body.length
    const queue = queues.find(({ share }) => share === row.share)
    if (!queue) throw new Error('what is verified is stored before the answer')
    if (queue.items >= MAX_WAITING.items || queue.bytes + bytes > MAX_WAITING.bytes) return drop(row, 'busy')
    queue.items += 1
    queue.bytes += bytes
    const stored = queue.last.then(() => store(row, request))
    queue.last = stored.then(() => {
      queue.items -= 1
      queue.bytes -= bytes
    })
    return true
  }

  return {
    keep: async (refusal) => {
      const row = rowOf(refusal, clock.now())
      const anybodys = row.share === 'claimed' || row.share === 'nobody'
      const mostBytes = Math.min(limits.maxBodyBytes, anybodys ? limits.maxUnprovenBodyBytes : Infinity)
      if (row.body.length > mostBytes || JSON.stringify(row.copy).length > MAX_COPY_LENGTH)
        return drop(row, 'too_large')
      if (!mayCome(row)) return drop(row, 'rate')
      return row.authentic ? store(row, refusal.request) : storeBehind(row, refusal.request)
    },
    settled: async () => {
      await Promise.all(queues.map(({ last }) => last))
    },
  }
}

const eventOf = (row: Refused): EventRecord => ({
  tenant_id: row.tenantId,
  type: 'webhook.quarantined',
  severity: 'warning',
  message: 'A webhook was refused and is kept in quarantine; more of the same kind may follow untold.',
  request_id: row.requestId,
  correlation_id: row.correlationId,
  trace_id: row.traceId,
  data: {
    quarantine_id: row.id,
    provider: row.provider,
    reason: row.reason,
    route_id: row.routeId,
    accounts: row.accounts,
    event_ids: row.events.slice(0, MAX_EVENTS_TOLD).map(({ id }) => id),
  },
})

/** The reason of what is wrong with the whole comes first: a request is told by its first event that was refused. */
function rowOf(refusal: RefusedWebhook, nowMs: number): Refused {
  const { request, refused } = refusal
  const owner = ownerOf(refusal)
  const [first] = refused
  if (!first) throw new Error('nothing of the request was refused')
  const events = refused.flatMap(({ event, cause }): KeptEvent[] =>
    event
      ? [
          {
            id: event.eventId,
            type: event.type,
            accounts: event.accounts.slice(0, MAX_ACCOUNTS_KEPT),
            livemode: event.livemode,
            reason: cause,
          },
        ]
      : [],
  )
  const known = owner.sealed
    ? { accounts: owner.claimed === null ? [] : [owner.claimed], livemode: null, events: [] }
    : {
        accounts: [...new Set(events.flatMap(({ accounts }) => accounts))]
          .slice(0, MAX_ACCOUNTS_KEPT)
          .map(textOf),
        livemode: first.event?.livemode ?? null,
        events,
      }
  const authentic = refused.every((each) => each.authentic)
  return {
    ...{ tenantId: owner.tenantId, id: newId(), becauseOf: causeOf(refusal, owner) },
    share: shareOf(owner, authentic),
    provider: request.provider.name,
    pathRoute: request.routeId === undefined ? null : textOf(request.routeId),
    routeId: owner.tenantId === NO_WORKSPACE ? null : owner.routeId,
    reason: first.cause,
    authentic,
    sealed: owner.sealed,
    ...known,
    body: request.raw,
    copy: copyOf(refusal, nowMs),
    requestId: request.call.requestId,
    correlationId: request.call.correlationId,
    traceId: request.call.traceId,
  }
}

/** A path, and a name that somebody made up, may hold what no text column can. */
const textOf = (text: string): string =>
  text.toWellFormed().replaceAll('\0', '\uFFFD').slice(0, MAX_NAME).toWellFormed()

/** Where the settings of a route say how to read a request, its headers are those that they name. */
const headersNamed =
  ({ headersNamed }: WebhookRequest['provider']) =>
  ({ route }: RefusedWebhook['refused'][number]): readonly string[] =>
    (route && headersNamed?.(route.settings)) ?? []

const copyOf = ({ request: { provider, url, headers }, refused }: RefusedWebhook, at: number): KeptCopy => ({
  at,
  url: url ?? null,
  headers: Object.fromEntries(
    [...ALWAYS_KEPT, ...provider.keptHeaders, ...refused.flatMap(headersNamed(provider))].flatMap((name) => {
      const values = headers[name]
      return values ? [[name, values]] : []
    }),
  ),
})
