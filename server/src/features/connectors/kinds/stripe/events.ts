import { flag, list, text } from './fields.ts'
import { listAll, type Resource, retrieve, type StripeOperation } from './operation.ts'

const EVENT: Resource = { path: '/v1/events', object: 'event', named: ['event', 'events'] }

/** What happened at Stripe in the last 30 days: also what webhooks are held against. */
export const EVENTS: Readonly<Record<string, StripeOperation>> = {
  'events.retrieve': retrieve(EVENT),
  'events.list': listAll(EVENT, {
    type: text('Type', 'Only events of this type; `*` at its end stands for any.', { maxLength: 100 }),
    types: list('Types', 'Only events of these types.', { type: 'string', maxLength: 100 }, { maxItems: 20 }),
    delivery_success: flag(
      'Delivered',
      'False: only events that could not be delivered to all webhook endpoints.',
    ),
  }),
}
