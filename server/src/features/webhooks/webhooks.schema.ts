import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { INBOX_STATUSES } from './inbox.ts'

export const ProviderParams = Type.Object({
  provider: Type.String({ description: 'Webhook provider, e.g. `stripe`.' }),
})

export const ProviderRouteParams = Type.Object({
  ...ProviderParams.properties,
  route_id: Type.String({ description: 'Id of the webhook route.' }),
})

export const WebhookAccepted = Type.Object({
  received: Type.Literal(true, { description: 'The event is committed.' }),
  inbox_id: Type.String({ description: 'The inbox row; of the first copy when this is a duplicate.' }),
  duplicate: Type.Boolean({ description: 'The event was taken before; nothing is delivered again.' }),
})

const Text = (description: string) =>
  Type.Optional(Type.String({ maxLength: 255, pattern: '^[\\x21-\\x7e]+$', description }))

export const InboxQuery = Type.Object(
  {
    ...PageQuery,
    provider: Text('Only events of this provider.'),
    type: Text('Only events of this type of the provider, e.g. `invoice.paid`.'),
    event_id: Text('Only the event with this id of the provider.'),
    trace_id: Type.Optional(
      Type.String({ pattern: '^[0-9a-f]{32}$', description: 'Only the event that came in this trace.' }),
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
      'State of the delivery job; `ignored` when no filter of the route takes the type, `archived` when the job is over and no longer kept.',
  }),
  route_id: Type.String({ format: 'uuid', description: 'The webhook route that took it.' }),
  provider: Type.String({ description: 'The webhook provider that sent it.' }),
  account: Type.Union([Type.String(), Type.Null()], {
    description: 'Account of the provider, if the event names one.',
  }),
  livemode: Type.Boolean({ description: 'Whether it is about live data.' }),
  event_id: Type.String({ description: 'The id that the provider gave it.' }),
  event_type: Type.String({ description: 'Its type, in the words of the provider.' }),
  occurred_at: Type.String({ format: 'date-time', description: 'As the provider says.' }),
  received_at: Type.String({ format: 'date-time', description: 'When the first copy was taken.' }),
  connector: Type.String({ description: 'The connector that it is delivered to.' }),
  duplicates: Type.Integer({ description: 'How many further copies came.' }),
  size: Type.Integer({ description: 'Bytes of the body.' }),
  job_ids: Type.Array(Type.String(), { description: 'Delivery jobs, oldest first.' }),
  request_id: Type.String({ description: 'The request that brought it.' }),
  correlation_id: Type.String({ description: 'What the whole undertaking is named.' }),
  trace_id: Type.String({ description: 'The trace that leads from here to the last callback.' }),
}

export const InboxEntry = Type.Object(entry)
export type InboxEntry = Static<typeof InboxEntry>

export const InboxPage = Page(InboxEntry)

export const InboxDetail = Type.Object({
  ...entry,
  secret_ref: Type.String({ description: 'The secret ref that verified the signature.' }),
  headers: Type.Record(Type.String(), Type.String(), { description: 'The kept headers.' }),
  payload: Type.Union([Type.String(), Type.Null()], {
    description: 'The body as it came; null when it is not text or no longer kept.',
  }),
  payload_sha256: Type.Union([Type.String(), Type.Null()], { description: 'Of the stored bytes, hex.' }),
})
export type InboxDetail = Static<typeof InboxDetail>
