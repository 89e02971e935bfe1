import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { appendEvents, type EventRecord } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { NewJob } from '../../queue/job.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { Evidence, IncomingRequest } from './match-route.ts'
import type { ProviderEvent } from './provider.ts'
import type { Reception } from './reception.ts'
import { takeEvent } from './take.sql.ts'

/** Longer than any provider of the registry resends (Stripe: 30 days). */
const DEDUPE_DAYS = 40
const KEPT_HEADERS = ['content-type', 'user-agent']

/** `received` from the provider, `pulled` out of the provider's own list, `released` from quarantine. */
export type WebhookSource = 'received' | 'pulled' | 'released'

export interface AcceptedWebhook {
  /** Of the first copy, also for a duplicate. */
  readonly inboxId: string
  readonly duplicate: boolean
}

/** An event that belongs to a route beyond doubt. */
export interface VerifiedWebhook {
  readonly call: CallContext
  readonly event: ProviderEvent
  readonly route: WebhookRoute
  /** Null for what no secret has verified: pulled by the hub, or assigned by a person. */
  readonly evidence: Evidence | null
  readonly source: WebhookSource
  /** What is kept: the body, or the event's own part of it. */
  readonly bytes: Buffer
  /** Kept beside the bytes: see `keptHeaders`. */
  readonly headers: Readonly<Record<string, string>>
  /** `bytes` as the provider reads them: the ordering key is found in it. */
  readonly payload: unknown
  readonly reception: Reception
  /** Makes the job for the inbox row; undefined when nothing can be delivered now (held, ignored). */
  readonly delivery: ((inboxId: string) => NewJob) | undefined
}

/** Takes verified events in. */
export interface Intake {
  /**
   * All events of one request in one transaction, and workers are told of their deliveries; undefined for an event
   * whose route has gone. Errors: `webhook_unavailable` when too much waits, `database_unavailable`.
   */
  take(webhooks: readonly VerifiedWebhook[]): Promise<readonly (AcceptedWebhook | undefined)[]>
  /** Refuses new events and resolves when every accepted one is answered. */
  close(): Promise<void>
}

export interface IntakeDeps {
  readonly db: Db
  readonly wakeUp: Pick<WakeUp, 'hint'>
}

export function createIntake({ db, wakeUp }: IntakeDeps): Intake {
  return {
    take: async (webhooks) => {
      const started: NewJob[] = []
      const answers = await db.transaction(async (tx) => {
        const taken: (AcceptedWebhook | undefined)[] = []
        for (const webhook of webhooks) taken.push(await take(tx, webhook, started))
        return taken
      })
      wakeUp.hint(started)
      return answers
    },
    close: async () => undefined,
  }
}

async function take(
  tx: Tx,
  webhook: VerifiedWebhook,
  started: NewJob[],
): Promise<AcceptedWebhook | undefined> {
  const { call, event, route, evidence, reception } = webhook
  const inboxId = newId()
  const delivery = webhook.delivery?.(inboxId)
  const row = await takeEvent(tx, {
    tenantId: route.tenantId,
    id: inboxId,
    routeId: route.id,
    provider: route.provider,
    account: route.account ?? event.accounts[0] ?? null,
    livemode: event.livemode ?? route.livemode,
    eventId: event.eventId,
    eventType: event.type,
    occurredAt: event.occurredAt,
    state: reception.state,
    heldWhy: reception.state === 'held' ? reception.why : null,
    source: webhook.source,
    connector: route.connector,
    jobId: delivery?.id ?? null,
    secretRef: evidence?.secretRef ?? null,
    secretFingerprint: evidence?.secretFingerprint ?? null,
    requestId: call.requestId,
    correlationId: call.correlationId,
    traceId: call.traceId,
    body: webhook.bytes,
    headers: webhook.headers,
    dedupeDays: DEDUPE_DAYS,
  })
  if (!row) return undefined
  const duplicate = row.inbox_id !== inboxId
  // Before the job's own event, so that the timeline begins with what caused it.
  await appendEvents(tx, { events: [eventOf(webhook, delivery, row.inbox_id, duplicate)] })
  if (delivery && !duplicate) {
    await enqueueJobs(tx, [delivery])
    started.push(delivery)
  }
  return { inboxId: row.inbox_id, duplicate }
}

const TOLD = {
  accepted: ['webhook.received', 'The event was taken and its delivery is queued.'],
  held: ['webhook.held', 'The event was taken; its delivery waits.'],
  ignored: ['webhook.ignored', 'The event was kept but not delivered: its type fits no filter of the route.'],
  duplicate: ['webhook.duplicate', 'The provider sent this event again; it was taken before.'],
} as const

function eventOf(
  { call, event, route, reception, source }: VerifiedWebhook,
  delivery: NewJob | undefined,
  inboxId: string,
  duplicate: boolean,
): EventRecord {
  const [type, message] = TOLD[duplicate ? 'duplicate' : reception.state]
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
      source,
      ...(reception.state === 'held' && { held_why: reception.why }),
    },
  }
}

/** The headers that prove where the bytes came from; a header sent twice was refused by the provider's check. */
export function keptHeaders({
  provider,
  signed: { headers },
}: Pick<IncomingRequest, 'provider' | 'signed'>): Record<string, string> {
  const names = [...KEPT_HEADERS, ...provider.keptHeaders]
  return Object.fromEntries(
    names.flatMap((name) => (headers[name] ? [[name, headers[name].join(', ')]] : [])),
  )
}
