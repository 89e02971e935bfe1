import type { WebhookRoute } from '../src/features/webhook-routes/webhook-routes.ts'
import { deliveryJob } from '../src/features/webhooks/delivery/delivery.ts'
import { receptionOf } from '../src/features/webhooks/delivery/reception.ts'
import type { VerifiedWebhook } from '../src/features/webhooks/intake/verified-webhook.ts'
import { newId } from '../src/platform/ids.ts'
import type { LaneKey } from '../src/queue/job.ts'

const CALL = { requestId: 'req-1', correlationId: 'cor-1', traceId: 'a'.repeat(32), traceparent: '' }

/** The lane of the connector to which `verifiedEvent` delivers. */
export const LANE_OF_PRODUCT = 7

export const laneOfRoute = ({ tenantId, queue }: WebhookRoute): LaneKey => ({
  tenantId,
  queue,
  lane: LANE_OF_PRODUCT,
})

/** An event as the acceptor gives it to the intake, when nothing is in the way of its delivery but its route. */
export function verifiedEvent(
  route: WebhookRoute,
  of: {
    readonly eventId?: string
    readonly type?: string
    readonly payload?: Readonly<Record<string, unknown>>
    readonly bytes?: Buffer
    readonly connectorIsThere?: boolean
  } = {},
): VerifiedWebhook {
  const payload = of.payload ?? {}
  const event = {
    eventId: of.eventId ?? `evt_${newId()}`,
    type: of.type ?? 'invoice.paid',
    accounts: [],
    livemode: false,
    occurredAt: new Date(),
  }
  const connector = of.connectorIsThere === false ? undefined : {}
  const reception = receptionOf({ route, event, connector, workspace: { status: 'active' } })
  return {
    call: CALL,
    event,
    route,
    evidence: { secretRef: 'key', secretFingerprint: 'f' },
    source: 'received',
    bytes: of.bytes ?? Buffer.from(JSON.stringify({ id: event.eventId, ...payload })),
    headers: { 'content-type': 'application/json' },
    payload,
    reception,
    delivery:
      reception.state === 'accepted'
        ? (inboxId) =>
            deliveryJob({ route, event, inboxId, call: CALL, lane: LANE_OF_PRODUCT, configVersion: 3 })
        : undefined,
  }
}
