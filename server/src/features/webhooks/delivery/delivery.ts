import type { CallContext } from '../../../platform/call-context.ts'
import { newId } from '../../../platform/ids.ts'
import type { InputRef, NewJob } from '../../../queue/job.ts'
import { eventOnDelivery, type WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import type { ProviderEvent } from '../provider.ts'

/** Where a delivery goes: the lane of the connector, and the version of the active config. */
export interface DeliveryTarget {
  readonly lane: number
  readonly configVersion: number
}

/** What a delivery says of its event, as the inbox row has it. */
export interface DeliveredEvent {
  readonly inboxId: string
  readonly provider: string
  readonly eventId: string
  readonly eventType: string
  readonly account: string | null
  readonly livemode: boolean
  readonly occurredAt: Date
}

/** The input of a delivery: the message without what the provider sent, which is kept once, in the inbox. */
export interface DeliveryEnvelope {
  readonly type: string
  readonly timestamp: string
  readonly data: {
    readonly provider: string
    readonly event_id: string
    readonly account: string | null
    readonly livemode: boolean
    readonly inbox_id: string
  }
}

/** The kind of `InputRef` that says: the rest of the input is the payload of the job's inbox row. */
export const INBOX_INPUT = 'inbox'

/** The delivery of an event: one operation of a callback connector, with the inbox row as its stable id. */
export function deliveryOf(of: {
  readonly event: DeliveredEvent
  /** The route as it is now; `undefined` when it has gone since the event was taken. */
  readonly route: Pick<WebhookRoute, 'queue' | 'emitOnDelivery'> | undefined
  readonly tenantId: string
  readonly routeId: string
  readonly connector: string
  readonly target: DeliveryTarget
  readonly call: CallContext
}): NewJob {
  const { event, route, routeId, target } = of
  const identity = {
    provider: event.provider,
    event_id: event.eventId,
    account: event.account,
    livemode: event.livemode,
    inbox_id: event.inboxId,
  }
  const input: DeliveryEnvelope = {
    type: `${event.provider}.${event.eventType}`,
    timestamp: event.occurredAt.toISOString(),
    data: identity,
  }
  const inputRef: InputRef = { kind: INBOX_INPUT, route_id: routeId }
  const emitted = route && eventOnDelivery(route, event.eventType)
  return {
    id: newId(),
    tenantId: of.tenantId,
    queue: route?.queue ?? 'webhook',
    lane: target.lane,
    connector: of.connector,
    operation: 'deliver',
    input,
    inputRef,
    ...(emitted !== undefined && {
      completion: { event: { type: emitted, data: { ...identity, event_type: event.eventType } } },
    }),
    configVersion: target.configVersion,
    idempotencyKey: `inbox-${event.inboxId}`,
    inboxId: event.inboxId,
    createdBy: `webhook-route:${routeId}`,
    call: of.call,
  }
}

/** What an inbox row says of its event. */
export interface EventRow {
  readonly id: string
  readonly provider: string
  readonly event_id: string
  readonly event_type: string
  readonly account: string | null
  readonly livemode: boolean
  readonly occurred_at: Date
  readonly correlation_id: string
  readonly trace_id: string
}

/** A delivery of an event that was taken before. It goes on with its trace; the span of the time between is nobody's. */
export const deliveryOfRow = (
  row: EventRow,
  {
    requestId,
    ...to
  }: Omit<Parameters<typeof deliveryOf>[0], 'event' | 'call'> & {
    readonly requestId: string
  },
): NewJob =>
  deliveryOf({
    ...to,
    event: {
      inboxId: row.id,
      provider: row.provider,
      eventId: row.event_id,
      eventType: row.event_type,
      account: row.account,
      livemode: row.livemode,
      occurredAt: row.occurred_at,
    },
    call: {
      requestId,
      correlationId: row.correlation_id,
      traceId: row.trace_id,
      traceparent: `00-${row.trace_id}-${newId().replaceAll('-', '').slice(-16)}-01`,
    },
  })

/** The delivery of an event that is just being taken. */
export function deliveryJob(
  of: DeliveryTarget & {
    readonly route: WebhookRoute
    readonly event: ProviderEvent
    readonly inboxId: string
    readonly call: CallContext
  },
): NewJob {
  const { route, event, inboxId, call, lane, configVersion } = of
  return deliveryOf({
    event: {
      inboxId,
      provider: route.provider,
      eventId: event.eventId,
      eventType: event.type,
      account: route.account ?? event.accounts[0] ?? null,
      livemode: event.livemode ?? route.livemode,
      occurredAt: event.occurredAt,
    },
    route,
    tenantId: route.tenantId,
    routeId: route.id,
    connector: route.connector,
    target: { lane, configVersion },
    call,
  })
}
