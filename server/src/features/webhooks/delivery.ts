import type { CallContext } from '../../platform/call-context.ts'
import { newId } from '../../platform/ids.ts'
import type { NewJob } from '../../queue/job.ts'
import { eventOnDelivery, type WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { ProviderEvent } from './provider.ts'

/** The delivery: one operation of the route's callback connector, with the inbox row as its stable id. */
export function deliveryJob(of: {
  readonly route: WebhookRoute
  readonly event: ProviderEvent
  readonly payload: unknown
  readonly inboxId: string
  readonly call: CallContext
  readonly lane: number
  readonly configVersion: number
}): NewJob {
  const { route, event, inboxId } = of
  const identity = {
    provider: route.provider,
    event_id: event.eventId,
    account: route.account ?? event.accounts[0] ?? null,
    livemode: event.livemode ?? route.livemode,
    inbox_id: inboxId,
  }
  const emitted = eventOnDelivery(route, event.type)
  return {
    id: newId(),
    tenantId: route.tenantId,
    queue: route.queue,
    lane: of.lane,
    connector: route.connector,
    operation: 'deliver',
    input: {
      type: `${route.provider}.${event.type}`,
      timestamp: event.occurredAt.toISOString(),
      data: { ...identity, payload: of.payload },
    },
    ...(emitted !== undefined && {
      completion: { event: { type: emitted, data: { ...identity, event_type: event.type } } },
    }),
    configVersion: of.configVersion,
    idempotencyKey: `inbox-${inboxId}`,
    inboxId,
    createdBy: `webhook-route:${route.id}`,
    call: of.call,
  }
}
