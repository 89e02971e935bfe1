import { type Static, Type } from 'typebox'
import { SEVERITIES } from '../../platform/event-log.ts'
import { Page, PageQuery } from '../../platform/http/page.ts'

const FILTERS = {
  type: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 100,
      description: 'Only events of this type, e.g. `job.retried`.',
    }),
  ),
  connector: Type.Optional(
    Type.String({ minLength: 1, maxLength: 63, description: 'Only events of this connector.' }),
  ),
  severity: Type.Optional(Type.Enum([...SEVERITIES], { description: 'Only events of this severity.' })),
  trace_id: Type.Optional(
    Type.String({ pattern: '^[0-9a-f]{32}$', description: 'Only events of this trace, 32 hex digits.' }),
  ),
  job_id: Type.Optional(Type.String({ format: 'uuid', description: 'Only events of this job.' })),
}

export const EventListQuery = Type.Object(
  {
    ...FILTERS,
    order: Type.Optional(
      Type.Enum(['asc', 'desc'], {
        default: 'asc',
        description: '`asc`: oldest first, after the cursor; `desc`: newest first, before the cursor.',
      }),
    ),
    ...PageQuery,
  },
  { additionalProperties: false },
)

export const EventStreamQuery = Type.Object(
  {
    ...FILTERS,
    cursor: Type.Optional(
      Type.String({
        maxLength: 512,
        description:
          'Start after this place: `id` of an event. Without it the stream starts with what happens from now on. The header `Last-Event-ID` goes before it.',
      }),
    ),
  },
  { additionalProperties: false },
)

export const EventStreamHeaders = Type.Object({
  'last-event-id': Type.Optional(
    Type.String({
      maxLength: 512,
      description: 'The last `id` that was received: the stream goes on after it.',
    }),
  ),
})

const nullable = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

export const EventItem = Type.Object({
  id: Type.String({
    description: 'Place of the event in the log: send it as `cursor` or `Last-Event-ID` to go on after it.',
  }),
  at: Type.String({ format: 'date-time', description: 'When it was written.' }),
  type: Type.String({ description: 'What happened.' }),
  severity: Type.Enum([...SEVERITIES], { description: 'How much it matters.' }),
  message: Type.String({ description: 'One sentence for people.' }),
  connector: nullable('The connector that it is about.'),
  job_id: nullable('The job that it is about.'),
  inbox_id: nullable('The webhook inbox entry that it is about.'),
  request_id: nullable('The request that caused it.'),
  correlation_id: nullable('What the caller named the whole undertaking.'),
  trace_id: nullable('The trace that leads from the first request to the last callback.'),
  data: Type.Object({}, { additionalProperties: true, description: 'Further facts; depends on the type.' }),
})

export const EventPage = Page(EventItem)

export type EventFilterQuery = Pick<Static<typeof EventListQuery>, keyof typeof FILTERS>
export type EventDocument = Static<typeof EventItem>
