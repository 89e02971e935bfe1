import { createHash } from 'node:crypto'
import { appendEvents, type EventRecord } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import type { KeepInQuarantine, RefusedWebhook, WebhookRequest } from '../webhooks/webhooks.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { causeOf, ownerOf } from './owner.ts'
import { type KeptCopy, type KeptEvent, keepRow, type NewRow, type Room } from './quarantine.sql.ts'
import { createRates, type Rate } from './rates.ts'

/** How much the quarantine takes. */
export interface QuarantineLimits extends Room {
  /** Larger bodies are only counted. */
  readonly maxBodyBytes: number
  /** Of each provider and reason; a burst is five times as many. */
  readonly perSecond: number
}

export interface Keeper {
  readonly keep: KeepInQuarantine
  /** Resolves when everything that was taken so far is stored, or given up. */
  settled(): Promise<void>
}

/** Hashed only when it is let in: a flood of large bodies must not cost more than to refuse it. */
type Refused = Omit<NewRow, 'sha256'>

/** Headers of every provider that say what the bytes are and who sent them. */
const ALWAYS_KEPT = ['content-type', 'user-agent']
const MAX_COPY_LENGTH = 16_384
const MAX_EVENTS_TOLD = 20
const MAX_ACCOUNTS_KEPT = 10
const MAX_PATH_ROUTE = 255
/** Of what nothing has verified, over all providers: as many as three different floods. */
const OPEN_FLOODS = 3
/** What waits to be stored must not take the memory of the work. */
const MAX_WAITING = { items: 200, bytes: 33_554_432 }
/** Of one workspace and reason: a flood must not fill the event log. */
const TOLD: Rate = { permits: 1, periodMs: 60_000, burst: 3 }

/**
 * Keeps refused requests. What nothing has verified is limited by rate before the database is asked, and stored behind
 * the answer, one at a time: whoever floods the ingress with it costs one connection at most and learns nothing. What
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
  const waiting = { items: 0, bytes: 0 }
  let last: Promise<unknown> = Promise.resolve()

  const drop = ({ provider, reason }: Pick<Refused, 'provider' | 'reason'>, why: string): false => {
    dropped.inc({ provider, reason, why })
    return false
  }

  const mayCome = (row: Refused): boolean => {
    const source = `${row.provider}/${row.reason}`
    return row.authentic
      ? rates.take({ [`authentic/${source}/${row.becauseOf}`]: rate(1) })
      : rates.take({ [`open/${source}`]: rate(1), open: rate(OPEN_FLOODS) })
  }

  const store = async (row: Refused, request: WebhookRequest): Promise<boolean> => {
    try {
      const outcome = await db.transaction(async (tx) => {
        const result = await keepRow(tx, { ...row, ...limits, sha256: sha256(row.body) })
        if (result.outcome === 'kept' && rates.take({ [`told/${row.tenantId}/${row.reason}`]: TOLD }))
          await appendEvents(tx, { events: [eventOf(row)] })
        return result.outcome
      })
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
    if (waiting.items >= MAX_WAITING.items || waiting.bytes + bytes > MAX_WAITING.bytes)
      return drop(row, 'busy')
    waiting.items += 1
    waiting.bytes += bytes
    last = last
      .then(() => store(row, request))
      .finally(() => {
        waiting.items -= 1
        waiting.bytes -= bytes
      })
    return true
  }

  return {
    keep: async (refusal) => {
      const row = rowOf(refusal, clock.now())
      if (row.body.length > limits.maxBodyBytes || JSON.stringify(row.copy).length > MAX_COPY_LENGTH)
        return drop(row, 'too_large')
      if (!mayCome(row)) return drop(row, 'rate')
      return row.authentic ? store(row, refusal.request) : storeBehind(row, refusal.request)
    },
    settled: async () => {
      await last
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
        accounts: [...new Set(events.flatMap(({ accounts }) => accounts))].slice(0, MAX_ACCOUNTS_KEPT),
        livemode: first.event?.livemode ?? null,
        events,
      }
  return {
    ...{ tenantId: owner.tenantId, id: newId(), becauseOf: causeOf(refusal, owner) },
    provider: request.provider.name,
    pathRoute: request.routeId === undefined ? null : textOf(request.routeId),
    routeId: owner.tenantId === NO_WORKSPACE ? null : owner.routeId,
    reason: first.cause,
    authentic: refused.every(({ authentic }) => authentic),
    sealed: owner.sealed,
    ...known,
    body: request.raw,
    copy: copyOf(refusal, nowMs),
    requestId: request.call.requestId,
    correlationId: request.call.correlationId,
    traceId: request.call.traceId,
  }
}

const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest()

/** A path may hold what no text column can. */
const textOf = (text: string): string =>
  text.toWellFormed().replaceAll('\0', '\uFFFD').slice(0, MAX_PATH_ROUTE).toWellFormed()

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
