/** A route as answers, requests and bundles write it, and back: the one place that knows both spellings. */
import type { Static, TObject } from 'typebox'
import type { QueueName } from '../../queue/job.ts'
import { ROUTE_DEFAULTS, type RouteSettings } from './route.ts'
import type { RouteFields } from './webhook-routes.schema.ts'

type Fields = Static<TObject<typeof RouteFields>> & {
  readonly account: string | null
  readonly queue: QueueName
}

/** Without its id: what differs by workspace is left out. */
export const fieldsOf = (route: RouteSettings): Fields => ({
  provider: route.provider,
  account: route.account,
  livemode: route.livemode,
  connector: route.connector,
  secret_refs: [...route.secretRefs],
  queue: route.queue,
  event_types: [...route.eventTypes],
  emit_on_delivery: route.emitOnDelivery.map(({ eventTypes, event }) => ({
    event_types: [...eventTypes],
    event,
  })),
})

export const settingsOf = (fields: Fields): RouteSettings => ({
  ...ROUTE_DEFAULTS,
  provider: fields.provider,
  account: fields.account,
  livemode: fields.livemode,
  connector: fields.connector,
  secretRefs: fields.secret_refs,
  queue: fields.queue,
  eventTypes: fields.event_types,
  emitOnDelivery: fields.emit_on_delivery.map(({ event_types, event }) => ({
    eventTypes: event_types,
    event,
  })),
})
