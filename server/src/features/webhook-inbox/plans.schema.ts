import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { PLAN_ACTIONS, PLAN_STATES } from './plans.sql.ts'
import { filters, OrNull, Time } from './webhook-inbox.schema.ts'

/** States in which an event goes nowhere by itself, or not before its time. */
const RETRIED = ['ignored', 'scheduled', 'retrying', 'done', 'cancelled', 'dead', 'archived'] as const
const MAX_IDS = 1_000

const NewMessageId = Type.Optional(
  Type.Boolean({
    description:
      'True: with a new `webhook-id`, so that receivers take it for a new message and may act on it a second time. False: with the one it had, so that whoever got it before takes it for a copy. Absent: new for what may have been delivered (done, archived), the same for all else. What waits for its next attempt keeps the one it has in any case. The id of the event stays in any case.',
  }),
)

export const RetryBody = Type.Object(
  { new_message_id: NewMessageId, reason: Reason },
  { additionalProperties: false },
)

export const RetryAnswer = Type.Object({
  inbox_id: Type.String({ format: 'uuid', description: 'The event.' }),
  job_id: Type.String({ format: 'uuid', description: 'Its delivery; `GET /jobs/:id` has its attempts.' }),
  new_message_id: Type.Boolean({ description: 'Whether receivers take it for a new message.' }),
})

const StoredFilter = Type.Object(
  {
    statuses: Type.Array(Type.Enum([...RETRIED], { description: 'A state.' }), {
      minItems: 1,
      maxItems: RETRIED.length,
      uniqueItems: true,
      description: 'Only events in one of these states; those in others go on by themselves.',
    }),
    ...filters,
  },
  {
    additionalProperties: false,
    description: 'All events that fit every field and were there when the plan was made.',
  },
)

const Ids = Type.Array(Type.String({ format: 'uuid' }), {
  minItems: 1,
  maxItems: MAX_IDS,
  uniqueItems: true,
  description: 'Inbox rows by their ids.',
})

export const RetryPlanBody = Type.Object(
  {
    ids: Type.Optional(Ids),
    filter: Type.Optional(StoredFilter),
    rate_per_second: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000,
        description: 'Deliveries per second, default 50; what is behind it has just come back.',
      }),
    ),
    new_message_id: NewMessageId,
  },
  { additionalProperties: false },
)
export type RetryPlanBody = Static<typeof RetryPlanBody>

const SubjectText = (description: string) => Type.String({ minLength: 3, maxLength: 500, description })

export const ErasePlanBody = Type.Object(
  {
    event_id: Type.Optional(
      Type.String({
        maxLength: 255,
        pattern: '^[\\x21-\\x7e]+$',
        description: 'The id that the provider gave the event. Either this or `subject`.',
      }),
    ),
    subject: Type.Optional(
      Type.Object(
        {
          pointer: Type.Optional(
            Type.String({
              maxLength: 500,
              pattern: '^(/([^/~]|~[01])*)+$',
              description:
                'A JSON pointer into the payload, e.g. `/data/object/customer`; of a form, `/` and the name of a field. It goes on into JSON inside of a text. Goes with `equals`.',
            }),
          ),
          equals: Type.Optional(
            Type.String({
              minLength: 1,
              maxLength: 500,
              description:
                'Exactly what stands at the pointer; a number as the digits that were sent, of a list or a repeated field any of the values.',
            }),
          ),
          contains: Type.Optional(
            SubjectText(
              'A text anywhere in the payload, in upper or lower case. With the other two fields both must hold.',
            ),
          ),
        },
        {
          additionalProperties: false,
          description: 'Whom the events are about; every payload that is kept is looked at.',
        },
      ),
    ),
  },
  { additionalProperties: false },
)
export type ErasePlanBody = Static<typeof ErasePlanBody>

export const PlanParams = Type.Object({ id: Type.String({ format: 'uuid', description: 'Id of the plan.' }) })
export const PlanReason = Type.Object({ reason: Reason }, { additionalProperties: false })

export const PlansQuery = Type.Object(
  {
    ...PageQuery,
    state: Type.Optional(Type.Enum([...PLAN_STATES], { description: 'Only plans in this state.' })),
  },
  { additionalProperties: false },
)

const Sample = Type.Object({
  inbox_id: Type.String({ format: 'uuid', description: 'Id of the inbox row.' }),
  provider: Type.String({ description: 'The webhook provider that sent it.' }),
  event_id: Type.String({ description: 'The id that the provider gave it.' }),
  event_type: Type.String({ description: 'Its type, in the words of the provider.' }),
  received_at: Time('When it was taken.'),
  status: Type.String({ description: 'Its state when it was found.' }),
})

export const PlanView = Type.Object({
  plan_id: Type.String({ format: 'uuid', description: 'Id of the plan.' }),
  action: Type.Enum([...PLAN_ACTIONS], { description: 'What is done to the events.' }),
  state: Type.Enum([...PLAN_STATES], {
    description:
      '`searching` until a worker has found what it is about, `planned` until the commit, then `running` until it is done, aborted or failed.',
  }),
  expired: Type.Boolean({ description: 'True: it can no longer be committed.' }),
  ids: OrNull(Type.Array(Type.String({ format: 'uuid' }), { description: 'The events that were named.' })),
  filter: OrNull(
    Type.Object(
      { ...filters, statuses: Type.Array(Type.String(), { description: 'States of the events.' }) },
      { description: 'What the events fit.' },
    ),
  ),
  event_id: OrNull(Type.String({ description: 'The id of the event, by the provider.' })),
  subject: OrNull(
    Type.Object(
      { pointer: OrNull(Type.String({ description: 'Where the value stands; null: anywhere.' })) },
      { description: 'Whom the events are about, without the value.' },
    ),
  ),
  examined: Type.Integer({ description: 'Inbox rows that the search has looked at.' }),
  count: Type.Integer({
    description: 'Events it is about, as far as the search has come; 0 cannot be committed.',
  }),
  oldest: OrNull(Time('When the oldest of them was taken.')),
  sample: Type.Array(Sample, { description: 'Up to five of them, the oldest first; no payloads.' }),
  unreadable: Type.Object(
    {
      count: Type.Integer({
        description: 'Events that a search by subject could not look into: nobody can read their payloads.',
      }),
      ids: Type.Array(Type.String({ format: 'uuid' }), { description: 'Inbox rows, the first 100 of them.' }),
    },
    { description: 'What may be about the subject and nobody can say. It is not erased.' },
  ),
  waiting_for: OrNull(
    Type.String({ description: 'What the next step waits for; it is tried again by itself.' }),
  ),
  waiting_since: OrNull(Time('Since when it waits.')),
  rate_per_second: Type.Integer({ description: 'Events per second.' }),
  new_message_id: OrNull(
    Type.Boolean({ description: 'Of a retry: see there; null: new for what may have been delivered.' }),
  ),
  config_version: OrNull(
    Type.Integer({
      description:
        'Of a retry: the config version that was active when the plan was made; deliveries run on the one that is active at their time.',
    }),
  ),
  estimate_seconds: Type.Integer({ description: 'How long what is left takes at this rate.' }),
  created_by: Type.String({ description: 'Who made the plan.' }),
  created_at: Time('When it was made; events that came later are not part of it.'),
  expires_at: OrNull(Time('Until then it can be committed; null while it searches.')),
  committed_by: OrNull(Type.String({ description: 'Who committed it.' })),
  committed_at: OrNull(Time('When it was committed.')),
  reason: OrNull(Type.String({ description: 'Why, in the words of the commit.' })),
  progress: Type.Object(
    {
      total: Type.Integer({ description: 'Events it is about.' }),
      done: Type.Integer({ description: 'Events that were delivered once more, or erased.' }),
      skipped: Type.Integer({ description: 'Events that were left out.' }),
      skipped_why: Type.Array(
        Type.Object({
          why: Type.String({ description: 'One sentence.' }),
          count: Type.Integer({ description: 'Events that were left out for it.' }),
        }),
        { description: 'Why events were left out, the most frequent first.' },
      ),
    },
    { description: 'How far it has come.' },
  ),
  ended_at: OrNull(Time('When it was done, aborted or failed.')),
  ended_by: OrNull(Type.String({ description: 'Who aborted it.' })),
  ended_why: OrNull(Type.String({ description: 'Why it was aborted or failed.' })),
})
export type PlanView = Static<typeof PlanView>
export const PlanPage = Page(PlanView)
