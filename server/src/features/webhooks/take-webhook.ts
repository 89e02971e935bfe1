import { createHash } from 'node:crypto'
import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { appendEvents, type EventRecord } from '../../platform/event-log.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { NewJob } from '../../queue/job.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { HeaderValues, ProviderEvent, WebhookProvider } from './provider.ts'
import { takeEvent } from './webhooks.sql.ts'

/** Longer than any provider of the registry resends (Stripe: 30 days). */
const DEDUPE_DAYS = 40
const KEPT_HEADERS = ['content-type', 'user-agent']

export interface WebhookRequest {
  readonly provider: WebhookProvider
  readonly routeId: string | undefined
  /** The body exactly as it arrived. */
  readonly raw: Buffer
  readonly headers: HeaderValues
  readonly call: CallContext
}

export interface AcceptedWebhook {
  /** Of the first copy, also for a duplicate. */
  readonly inboxId: string
  readonly duplicate: boolean
}

/** A verified event of a route. */
export interface VerifiedWebhook {
  readonly request: WebhookRequest
  readonly event: ProviderEvent
  readonly route: WebhookRoute
  readonly secretRef: string
  readonly inboxId: string
  readonly delivery: NewJob | undefined
}

/** Everything of one event in one transaction; undefined when the route has gone. */
export function takeWebhook(db: Db, webhook: VerifiedWebhook): Promise<AcceptedWebhook | undefined> {
  const { request, event, route, inboxId, delivery } = webhook
  return db.transaction(async (tx) => {
    const row = await takeEvent(tx, {
      tenantId: route.tenantId,
      id: inboxId,
      routeId: route.id,
      provider: route.provider,
      account: event.account,
      livemode: event.livemode,
      eventId: event.eventId,
      eventType: event.type,
      occurredAt: event.occurredAt,
      state: delivery ? 'accepted' : 'ignored',
      connector: route.connector,
      jobId: delivery?.id ?? null,
      secretRef: webhook.secretRef,
      requestId: request.call.requestId,
      correlationId: request.call.correlationId,
      traceId: request.call.traceId,
      body: request.raw,
      sha256: sha256(request.raw),
      headers: keptHeaders(request),
      dedupeDays: DEDUPE_DAYS,
    })
    if (!row) return undefined
    const duplicate = row.inbox_id !== inboxId
    // Before the job's own event, so that the timeline begins with what caused it.
    await appendEvents(tx, { events: [eventOf(webhook, row.inbox_id, duplicate)] })
    if (delivery && !duplicate) await enqueueJobs(tx, [delivery])
    return { inboxId: row.inbox_id, duplicate }
  })
}

function eventOf(
  { request, event, route, delivery }: VerifiedWebhook,
  inboxId: string,
  duplicate: boolean,
): EventRecord {
  const [type, message] = duplicate
    ? ['webhook.duplicate', 'The provider sent this event again; it was taken before.']
    : delivery
      ? ['webhook.received', 'The event was taken and its delivery is queued.']
      : ['webhook.ignored', 'The event was kept but not delivered: its type fits no filter of the route.']
  return {
    tenant_id: route.tenantId,
    type,
    message,
    connector: route.connector,
    job_id: duplicate ? undefined : delivery?.id,
    inbox_id: inboxId,
    request_id: request.call.requestId,
    correlation_id: request.call.correlationId,
    trace_id: request.call.traceId,
    data: {
      provider: route.provider,
      route_id: route.id,
      event_id: event.eventId,
      event_type: event.type,
      account: event.account,
      livemode: event.livemode,
    },
  }
}

export const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest()

/** The headers that prove where the bytes came from; a header sent twice was refused by the provider's check. */
function keptHeaders({ provider, headers }: WebhookRequest): Record<string, string> {
  const names = [...KEPT_HEADERS, ...provider.keptHeaders]
  return Object.fromEntries(
    names.flatMap((name) => (headers[name] ? [[name, headers[name].join(', ')]] : [])),
  )
}
