import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { QUEUES } from '../../queue/job.ts'
import { Reason } from '../audit/audit.ts'

const closed = { additionalProperties: false }

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
  closed,
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

const Moment = (description: string) =>
  Type.Union([Type.String({ format: 'date-time', maxLength: 40 }), Type.Null()], { description })

/** What a route need not say. */
const more = {
  secret_windows: Type.Array(
    Type.Object(
      {
        secret_ref: Name('One of `secret_refs`.'),
        valid_from: Moment('It verifies nothing before; null: from ever.'),
        valid_until: Moment('It verifies nothing from then on; null: for ever.'),
      },
      closed,
    ),
    {
      maxItems: 10,
      description: 'When secrets count; at most one window for each. A secret without one counts always.',
    },
  ),
  settings: Type.Record(Type.String(), Type.Unknown(), {
    maxProperties: 30,
    description: 'What the provider needs beside its secrets, by its own schema; most need nothing.',
  }),
  ordering: Type.Union(
    [
      Type.Object(
        {
          key: Type.String({
            pattern: '^(?:/(?:[^~/]|~[01])*)+$',
            maxLength: 200,
            description:
              'JSON pointer into the payload, e.g. `/data/object/id`; an event without it waits for nobody.',
          }),
          limit_ms: Type.Integer({
            minimum: 1_000,
            maximum: 86_400_000,
            description: 'An event that is not delivered after this time is overtaken.',
          }),
        },
        closed,
      ),
      Type.Null(),
    ],
    {
      description:
        'Events with the same value at the key are delivered one after the other; null: as they come.',
    },
  ),
  gap_check: Type.Union(
    [
      Type.Object(
        {
          connector: Name('Connector of this workspace that may read the API of the provider.'),
          pull: Type.Enum(['automatic', 'manual'], {
            description: 'Whether what is missing is pulled in at once, or shown for a person to decide.',
          }),
          every_seconds: Type.Integer({
            minimum: 60,
            maximum: 86_400,
            description: 'How often the provider is asked.',
          }),
          settings: Type.Record(Type.String(), Type.Unknown(), {
            maxProperties: 30,
            description: 'What the list of the provider needs, e.g. repository and hook of GitHub.',
          }),
        },
        closed,
      ),
      Type.Null(),
    ],
    { description: 'How the provider is asked for what never arrived; null: it is not asked.' },
  ),
}

/** Of a route whose every field is given, but for those that older hubs did not know. */
export const RouteFields = {
  ...settings,
  event_types: EventTypes('Which types are delivered, `*` stands for any characters.'),
  emit_on_delivery: Type.Array(EmitRule, {
    maxItems: 20,
    description: 'Events to append when a delivery is done; the first rule that fits counts.',
  }),
  secret_windows: Type.Optional(more.secret_windows),
  settings: Type.Optional(more.settings),
  ordering: Type.Optional(more.ordering),
  gap_check: Type.Optional(more.gap_check),
}

/** What may be left out, and may be changed later. */
const optional = {
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
  secret_windows: Type.Optional(more.secret_windows),
  settings: Type.Optional(more.settings),
  ordering: Type.Optional(more.ordering),
  gap_check: Type.Optional(more.gap_check),
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
    ...optional,
    reason: Reason,
  },
  closed,
)
export type NewRouteBody = Static<typeof NewRouteBody>

/** Whose events a route takes never changes. */
export const ChangeRouteBody = Type.Object(
  {
    connector: Type.Optional(settings.connector),
    secret_refs: Type.Optional(settings.secret_refs),
    ...optional,
    reason: Reason,
  },
  { ...closed, description: 'What is absent stays.' },
)
export type ChangeRouteBody = Static<typeof ChangeRouteBody>

export const RouteIfMatch = Type.Object({
  'if-match': Type.Optional(
    Type.String({
      maxLength: 200,
      description:
        'The version of the route that the change was made from, e.g. `"3"`: when it is another one, the answer is 412. ' +
        '`*` stands for whatever is there. A change needs one or the other (428).',
    }),
  ),
})

export const RouteView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the webhook route.' }),
  ...settings,
  account: Type.Union([Type.String(), Type.Null()], {
    description: 'Account of the provider; null: events without an account.',
  }),
  queue: Type.String({ description: 'Queue of the deliveries.' }),
  event_types: Type.Array(Type.String(), { description: 'Which types are delivered.' }),
  emit_on_delivery: Type.Array(EmitRule, { description: 'Events to append when a delivery is done.' }),
  ...more,
  paused: Type.Union(
    [
      Type.Object({
        at: Type.String({ format: 'date-time', description: 'Since when.' }),
        by: Type.String({ description: 'Who paused it; `hub`: the receiver said that it is gone.' }),
        why: Type.String({ description: 'The reason that was given.' }),
      }),
      Type.Null(),
    ],
    { description: 'Its events are taken and held; null: they are delivered.' },
  ),
  version: Type.Integer({ description: 'Rises with every change; `If-Match` takes it.' }),
  paths: Type.Array(Type.String(), {
    description:
      'Where the provider may send to, on the ingress process. The address without a route id is missing when too many older routes are told apart there by their secrets.',
  }),
  created_at: Type.String({ format: 'date-time', description: 'When it was made.' }),
  created_by: Type.String({ description: 'Subject of the token that made it.' }),
})
export type RouteView = Static<typeof RouteView>

export const RoutePage = Page(RouteView)

export const RoutesQuery = Type.Object(
  { ...PageQuery, provider: Type.Optional(Name('Only routes of this provider.')) },
  closed,
)

export const RouteParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the webhook route.' }),
})

export const PauseRouteBody = Type.Object({ reason: Reason }, closed)

export const DeleteRouteQuery = Type.Object(
  {
    reason: Reason,
    held: Type.Optional(
      Type.Literal('deliver', {
        description:
          'Needed when the route holds events: they are delivered to its connector once the route is gone.',
      }),
    ),
  },
  closed,
)

export const RouteGone = Type.Null({ description: 'The route is gone.' })
