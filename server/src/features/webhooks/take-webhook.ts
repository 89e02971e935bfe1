import { createHash } from 'node:crypto'
import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { appendEvents, type EventRecord } from '../../platform/event-log.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { NewJob } from '../../queue/job.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { Evidence, IncomingRequest } from './match-route.ts'
import type { ProviderEvent } from './provider.ts'
import { takeEvent } from './webhooks.sql.ts'

/** Longer than any provider of the registry resends (Stripe: 30 days). */
const DEDUPE_DAYS = 40
const KEPT_HEADERS = ['content-type', 'user-agent']

export interface AcceptedWebhook {
  /** Of the first copy, also for a duplicate. */
  readonly inboxId: string
  readonly duplicate: boolean
}

/** A verified event of a route. */
export interface VerifiedWebhook {
  readonly request: IncomingRequest
  readonly call: CallContext
  readonly event: ProviderEvent
  readonly route: WebhookRoute
  readonly evidence: Evidence
  readonly inboxId: string
  readonly delivery: NewJob | undefined
}

/** All events of one request in one transaction; undefined for one whose route has gone. */
export const takeWebhooks = (
  db: Db,
  webhooks: readonly VerifiedWebhook[],
): Promise<readonly (AcceptedWebhook | undefined)[]> =>
  db.transaction(async (tx) => {
    const taken: (AcceptedWebhook | undefined)[] = []
    for (const webhook of webhooks) taken.push(await take(tx, webhook))
    return taken
  })

async function take(tx: Tx, webhook: VerifiedWebhook): Promise<AcceptedWebhook | undefined> {
  const { call, event, route, inboxId, delivery, evidence } = webhook
  const livemode = event.livemode ?? route.livemode
  const bytes = event.part?.bytes ?? webhook.request.signed.raw
  const row = await takeEvent(tx, {
    tenantId: route.tenantId,
    id: inboxId,
    routeId: route.id,
    provider: route.provider,
    account: route.account ?? event.accounts[0] ?? null,
    livemode,
    eventId: event.eventId,
    eventType: event.type,
    occurredAt: event.occurredAt,
    state: delivery ? 'accepted' : 'ignored',
    connector: route.connector,
    jobId: delivery?.id ?? null,
    secretRef: evidence.secretRef,
    requestId: call.requestId,
    correlationId: call.correlationId,
    traceId: call.traceId,
    body: bytes,
    sha256: sha256(bytes),
    headers: keptHeaders(webhook.request),
    dedupeDays: DEDUPE_DAYS,
  })
  if (!row) return undefined
  const duplicate = row.inbox_id !== inboxId
  // Before the job's own event, so that the timeline begins with what caused it.
  await appendEvents(tx, { events: [eventOf(webhook, row.inbox_id, duplicate)] })
  if (delivery && !duplicate) await enqueueJobs(tx, [delivery])
  return { inboxId: row.inbox_id, duplicate }
}

function eventOf(
  { call, event, route, delivery }: VerifiedWebhook,
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
    request_id: call.requestId,
    correlation_id: call.correlationId,
    trace_id: call.traceId,
    data: {
      provider: route.provider,
      route_id: route.id,
      event_id: event.eventId,
      event_type: event.type,
      account: route.account ?? event.accounts[0] ?? null,
      livemode: event.livemode ?? route.livemode,
    },
  }
}

export const sha256 = (bytes: Buffer): Buffer => createHash('sha256').update(bytes).digest()

/** The headers that prove where the bytes came from; a header sent twice was refused by the provider's check. */
function keptHeaders({ provider, signed: { headers } }: IncomingRequest): Record<string, string> {
  const names = [...KEPT_HEADERS, ...provider.keptHeaders]
  return Object.fromEntries(
    names.flatMap((name) => (headers[name] ? [[name, headers[name].join(', ')]] : [])),
  )
}
