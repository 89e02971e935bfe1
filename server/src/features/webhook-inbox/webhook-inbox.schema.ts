import { type Static, type TSchema, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { INBOX_STATUSES } from './status.ts'

export const Time = (description: string) => Type.String({ format: 'date-time', description })
export const OrNull = <Schema extends TSchema & { description?: string }>(schema: Schema) =>
  Type.Union([schema, Type.Null()], { description: schema.description ?? '' })
const Text = (description: string) =>
  Type.String({ maxLength: 255, pattern: '^[\\x21-\\x7e]+$', description })

/** What events can be looked for by; the same in lists and in plans. */
export const filters = {
  provider: Type.Optional(Text('Only events of this provider.')),
  type: Type.Optional(
    Text('Only events of this type of the provider, e.g. `invoice.paid`; `*` stands for anything.'),
  ),
  account: Type.Optional(Text('Only events of this account of the provider.')),
  route_id: Type.Optional(
    Type.String({ format: 'uuid', description: 'Only events that this webhook route took.' }),
  ),
  received_after: Type.Optional(Time('Only events that were taken at this moment or later.')),
  received_before: Type.Optional(Time('Only events that were taken before this moment.')),
}

export const InboxQuery = Type.Object(
  {
    ...PageQuery,
    ...filters,
    status: Type.Optional(Type.Enum([...INBOX_STATUSES], { description: 'Only events in this state.' })),
    event_id: Type.Optional(Text('Only the event with this id of the provider.')),
    trace_id: Type.Optional(
      Type.String({ pattern: '^[0-9a-f]{32}$', description: 'Only the events that came in this trace.' }),
    ),
  },
  { additionalProperties: false },
)

export const InboxParams = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the inbox row.' }),
})

const entry = {
  id: Type.String({ format: 'uuid', description: 'Id of the inbox row.' }),
  status: Type.Enum([...INBOX_STATUSES], {
    description:
      'State of the newest delivery; `ignored` when no filter of the route takes the type, `held` when it has nowhere to go now, `waiting` behind an earlier event of its ordering key, `archived` when its job is over and no longer kept.',
  }),
  route_id: Type.String({ format: 'uuid', description: 'The webhook route that took it.' }),
  provider: Type.String({ description: 'The webhook provider that sent it.' }),
  account: OrNull(Type.String({ description: 'Account of the provider, if the event names one.' })),
  livemode: Type.Boolean({ description: 'Whether it is about live data.' }),
  event_id: Type.String({ description: 'The id that the provider gave it.' }),
  event_type: Type.String({ description: 'Its type, in the words of the provider.' }),
  source: Type.Enum(['received', 'pulled', 'released'], {
    description:
      'How it came: from the provider, pulled out of the provider’s own list, or released from quarantine. Nothing has verified what was pulled, and its body is what the provider’s API gave, as the hub has written it: not the bytes of a request.',
  }),
  occurred_at: Time('As the provider says.'),
  received_at: Time('When the first copy was taken.'),
  connector: Type.String({ description: 'The connector that it is delivered to.' }),
  duplicates: Type.Integer({ description: 'How many further copies came.' }),
  size: Type.Integer({ description: 'Bytes of the body.' }),
  job_ids: Type.Array(Type.String(), {
    description: 'Its newest delivery; the timeline names those before it.',
  }),
  held_why: OrNull(
    Type.String({ description: 'Of a held event: what held it first; `waits` says what is in its way now.' }),
  ),
  request_id: Type.String({ description: 'The request that brought it.' }),
  correlation_id: Type.String({ description: 'What the whole undertaking is named.' }),
  trace_id: Type.String({ description: 'The trace that leads from here to the last callback.' }),
}

export const InboxEntry = Type.Object(entry)
export type InboxEntry = Static<typeof InboxEntry>
export const InboxPage = Page(InboxEntry)

export const InboxDetail = Type.Object({
  ...entry,
  secret_ref: OrNull(
    Type.String({ description: 'The secret ref that verified the signature; null when none did.' }),
  ),
  secret_fingerprint: OrNull(
    Type.String({ description: 'Tells the values of that secret ref apart without telling them.' }),
  ),
  waits: Type.Array(
    Type.Object({
      reason: Type.String({
        description:
          'What is in the way, e.g. `route_paused` or `circuit_open`; `release` when nothing is any more and a worker is about to come by.',
      }),
      message: Type.String({ description: 'One sentence.' }),
      until: OrNull(Time('When it ends by itself.')),
    }),
    { description: 'Why it is not delivered yet; empty when it only waits for its turn, or for nothing.' },
  ),
  headers: Type.Record(Type.String(), Type.String(), { description: 'The kept headers.' }),
  payload: OrNull(
    Type.String({
      description:
        'The body as it came; null when it is not text, is in the payload store, was erased or is no longer kept.',
    }),
  ),
  payload_sha256: OrNull(Type.String({ description: 'Of the bytes as they came, hex.' })),
  payload_ref: OrNull(
    Type.Object(
      {
        id: Type.String({ format: 'uuid', description: 'Id of the payload.' }),
        size: Type.Integer({ description: 'Bytes.' }),
        sha256: Type.String({ description: 'Hex.' }),
        content_type: Type.String({ description: 'As the provider said.' }),
      },
      { description: 'Where the body is when it is too large to be kept with the event.' },
    ),
  ),
  erased_at: OrNull(Time('When its content was erased on request.')),
})
export type InboxDetail = Static<typeof InboxDetail>

export const TimelineQuery = Type.Object(PageQuery, { additionalProperties: false })

const TimelineEntry = Type.Object({
  at: Time('When it happened; an attempt stands at its start.'),
  kind: Type.Enum(['event', 'attempt'], { description: 'What was told, or an attempt of a delivery.' }),
  type: Type.String({ description: 'Type of the event, e.g. `webhook.received`; `attempt` for an attempt.' }),
  severity: Type.Enum(['debug', 'info', 'warning', 'error'], { description: 'How grave it is.' }),
  message: Type.String({ description: 'One sentence.' }),
  job_id: OrNull(Type.String({ description: 'The delivery that it is about.' })),
  connector: OrNull(Type.String({ description: 'The connector that it is about.' })),
  request_id: OrNull(Type.String({ description: 'The request that caused it.' })),
  trace_id: OrNull(Type.String({ description: 'The trace in which it happened.' })),
  attempt: OrNull(
    Type.Object(
      {
        number: Type.Integer({ description: '1 for the first of a delivery.' }),
        outcome: Type.String({ description: 'How it ended, e.g. `done` or `retry`.' }),
        started_at: Time('When it began.'),
        ended_at: Time('When it ended.'),
        http_status: OrNull(Type.Integer({ description: 'What the receiver answered, if it did.' })),
        error_class: OrNull(Type.String({ description: 'Class of its error, e.g. `timeout`.' })),
        config_version: OrNull(Type.Integer({ description: 'The config version that it ran on.' })),
      },
      { description: 'Of an attempt.' },
    ),
  ),
  data: Type.Record(Type.String(), Type.Unknown(), { description: 'Details of the event.' }),
})
export type TimelineEntry = Static<typeof TimelineEntry>
export const TimelinePage = Page(TimelineEntry)

export const CompareQuery = Type.Object(
  {
    left: Type.String({ format: 'uuid', description: 'Id of an inbox row.' }),
    right: Type.String({ format: 'uuid', description: 'Id of the inbox row that it is compared with.' }),
  },
  { additionalProperties: false },
)

const Differences = (description: string) =>
  Type.Array(
    Type.Object({
      path: Type.String({ description: 'JSON pointer, or the name of a header.' }),
      kind: Type.Enum(['added', 'removed', 'changed'], { description: 'From left to right.' }),
      left: Type.Optional(
        Type.String({ description: 'What stands there on the left, as JSON, cut when long.' }),
      ),
      right: Type.Optional(
        Type.String({ description: 'What stands there on the right, as JSON, cut when long.' }),
      ),
    }),
    { description },
  )

export const ComparisonView = Type.Object({
  compared: Type.Enum(['json', 'bytes'], {
    description: '`bytes` when one of the two is no JSON or is gone.',
  }),
  equal: OrNull(
    Type.Boolean({ description: 'Whether the payloads say the same; null when one of them is gone.' }),
  ),
  bytes_equal: OrNull(Type.Boolean({ description: 'Whether they are the same byte for byte.' })),
  differences: Differences('Of the payloads, at most 500.'),
  cut: Type.Boolean({ description: 'True: there are more than 500.' }),
  headers: Differences('Of the kept headers.'),
})
