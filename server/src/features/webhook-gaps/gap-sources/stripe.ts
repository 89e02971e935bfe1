import { type Static, Type } from 'typebox'
import {
  type Asking,
  type GapSource,
  isObject,
  type ListedEvent,
  oldestOf,
  unreadable,
} from '../gap-source.ts'

const PAGE_SIZE = 100
/** 2100-01-01. */
const LAST_SECOND = 4_102_444_800

const StripeGapSettings = Type.Object(
  {
    list: Type.Optional(
      Type.Enum(['undelivered', 'all'], {
        description:
          '`undelivered` (default): events that Stripe could not deliver to all of its webhook endpoints. `all`: every event, also those that Stripe believes delivered; for after a restore of the database.',
      }),
    ),
    types: Type.Optional(
      Type.Array(Type.String({ pattern: '^[a-z0-9_.*]{1,100}$' }), {
        minItems: 1,
        maxItems: 20,
        description:
          'The event types that the endpoint at Stripe is subscribed to, when they are not all. Others are never missing.',
      }),
    ),
  },
  { additionalProperties: false },
)

const settingsOf = ({ settings }: Asking): Static<typeof StripeGapSettings> => settings

/** For the account of the route; null = the connector's own. */
const accountOf = ({ route }: Asking) => route.account !== null && { stripe_account: route.account }

const secondsOf = (date: Date): number => Math.floor(date.getTime() / 1_000)

function readEvent(value: unknown): ListedEvent & { readonly livemode: unknown } {
  if (!isObject(value)) throw unreadable('an event is no object')
  const { id, type, created, livemode } = value
  if (typeof id !== 'string' || typeof type !== 'string') throw unreadable('an event has no id or no type')
  if (typeof created !== 'number' || created < 0 || created > LAST_SECOND)
    throw unreadable('an event has no time')
  return { eventId: id, type, occurredAt: new Date(created * 1_000), handle: id, livemode }
}

/**
 * Stripe: `GET /v1/events`, which has the events of the last 30 days, the newest first.
 * Source: docs.stripe.com/api/events/list, docs.stripe.com/webhooks/process-undelivered-events.
 */
export const stripe: GapSource = {
  provider: 'stripe',
  connectorKinds: ['stripe', 'http'],
  settings: StripeGapSettings,
  list: async (asking, { from, until }, after) => {
    const { list = 'undelivered', types } = settingsOf(asking)
    const answer = await asking.ask('events.list', {
      ...accountOf(asking),
      ...(list === 'undelivered' && { delivery_success: false }),
      ...(types && { types }),
      created: { gte: secondsOf(from), lte: secondsOf(until) },
      limit: PAGE_SIZE,
      ...(after !== undefined && { starting_after: after }),
    })
    if (!isObject(answer) || !Array.isArray(answer.data)) throw unreadable('it is no list')
    const events = answer.data.map(readEvent)
    const last = events.at(-1)
    // Without one there is no next page to ask for.
    if (answer.has_more === true && !last) throw unreadable('a page without events says that there are more')
    return {
      oldest: oldestOf(events),
      // A key of the other mode lists events of the other mode.
      events: events.filter(({ livemode }) => livemode === asking.route.livemode),
      next: answer.has_more === true ? last?.eventId : undefined,
    }
  },
  fetch: async (asking, handle) => {
    const event = await asking.ask('events.retrieve', { ...accountOf(asking), id: handle })
    // As Stripe writes what it sends.
    return {
      headers: { 'content-type': ['application/json; charset=utf-8'] },
      bytes: Buffer.from(JSON.stringify(event, null, 2)),
    }
  },
}
