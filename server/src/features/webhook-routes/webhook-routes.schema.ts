import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { QUEUES } from '../../queue/job.ts'
import { Reason } from '../audit/audit.ts'

const Name = (description: string) =>
  Type.String({ pattern: '^[a-z0-9]+([._-][a-z0-9]+)*$', maxLength: 63, description })

const EventTypes = (description: string) =>
  Type.Array(Type.String({ pattern: '^[\\x21-\\x7e]{1,255}$' }), { minItems: 1, maxItems: 100, description })

// No dot: the hub's own events have one, so that a route cannot forge them.
const EmitRule = Type.Object(
  {
    event_types: EventTypes('Types of the provider, `*` stands for any characters.'),
    event: Type.String({
      pattern: '^[a-z][a-z0-9_]{0,79}$',
      description: 'The event that the hub appends, e.g. `billing_state_updated`.',
    }),
  },
  { additionalProperties: false },
)

const settings = {
  provider: Name('Webhook provider, e.g. `stripe`.'),
  livemode: Type.Boolean({ description: 'Live or test events; true exactly in a prod workspace.' }),
  connector: Name('Connector of kind `callback` that the events are delivered to.'),
  secret_refs: Type.Array(Name('Name of a secret ref.'), {
    minItems: 1,
    maxItems: 10,
    uniqueItems: true,
    description: 'Secret refs of the signing secrets. Several during a rotation: any of them may verify.',
  }),
}

/** Of a route whose every field is given. */
export const RouteFields = {
  ...settings,
  event_types: EventTypes('Which types are delivered, `*` stands for any characters.'),
  emit_on_delivery: Type.Array(EmitRule, {
    maxItems: 20,
    description: 'Events to append when a delivery is done; the first rule that fits counts.',
  }),
}

export const NewRouteBody = Type.Object(
  {
    ...settings,
    account: Type.Optional(
      Type.Union([Type.String({ pattern: '^[\\x21-\\x7e]{1,255}$' }), Type.Null()], {
        description:
          'Account of the provider, e.g. `acct_…`. Absent or null: events without an account (your own); the secret tells routes apart.',
      }),
    ),
    queue: Type.Optional(
      Type.Enum(Object.keys(QUEUES) as (keyof typeof QUEUES)[], {
        description: 'Queue of the deliveries; default `webhook`.',
      }),
    ),
    event_types: Type.Optional(
      EventTypes(
        'Which types are delivered, `*` stands for any characters; others are kept as `ignored`. Default: all.',
      ),
    ),
    emit_on_delivery: Type.Optional(
      Type.Array(EmitRule, {
        maxItems: 20,
        description: 'Events to append when a delivery is done; the first rule that fits counts.',
      }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)
export type NewRouteBody = Static<typeof NewRouteBody>

export const RouteView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the webhook route.' }),
  ...settings,
  account: Type.Union([Type.String(), Type.Null()], {
    description: 'Account of the provider; null: events without an account.',
  }),
  queue: Type.String({ description: 'Queue of the deliveries.' }),
  event_types: Type.Array(Type.String(), { description: 'Which types are delivered.' }),
  emit_on_delivery: Type.Array(EmitRule, { description: 'Events to append when a delivery is done.' }),
  paths: Type.Array(Type.String(), {
    description: 'Where the provider may send to, on the ingress process.',
  }),
  created_at: Type.String({ format: 'date-time', description: 'When it was made.' }),
  created_by: Type.String({ description: 'Subject of the token that made it.' }),
})
export type RouteView = Static<typeof RouteView>

export const RoutePage = Page(RouteView)

export const RoutesQuery = Type.Object(
  { ...PageQuery, provider: Type.Optional(Name('Only routes of this provider.')) },
  { additionalProperties: false },
)

export const RouteParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the webhook route.' }),
})

export const DeleteRouteQuery = Type.Object({ reason: Reason }, { additionalProperties: false })

export const RouteGone = Type.Null({ description: 'The route is gone.' })
