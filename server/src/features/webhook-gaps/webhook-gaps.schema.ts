import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'

const Id = (description: string) => Type.String({ format: 'uuid', description })
const Time = (description: string) => Type.String({ format: 'date-time', description })
const NullableTime = (description: string) =>
  Type.Union([Type.String({ format: 'date-time' }), Type.Null()], { description })
const NullableText = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

const STATES = ['missing', 'pulled', 'arrived', 'dismissed'] as const

export const GapView = Type.Object({
  id: Id('Id of the gap.'),
  route_id: Id('The webhook route whose event it is.'),
  event_id: Type.String({ description: "The provider's id of the event." }),
  event_type: Type.String({ description: 'Its type.' }),
  occurred_at: Time('When it happened, as the provider says.'),
  first_seen_at: Time('When the hub found that it never arrived.'),
  state: Type.Enum([...STATES], {
    description:
      'missing · pulled: fetched from the provider · arrived: sent by the provider after all · dismissed: not wanted.',
  }),
  pull_at: NullableTime('When it is pulled in, or tried again; null: nobody wants that.'),
  pulls: Type.Integer({ description: 'Tries to pull it in since somebody wanted it last.' }),
  pull_error: NullableText('Why the last try failed.'),
  inbox_id: NullableText('Where it is in the inbox.'),
  changed_at: NullableTime('When it was decided on last.'),
  changed_by: NullableText('By whom; `hub` for the hub itself.'),
  why: NullableText('Why.'),
})
export type GapView = Static<typeof GapView>
export const GapPage = Page(GapView)

export const GapsQuery = Type.Object(
  {
    ...PageQuery,
    route_id: Type.Optional(Id('Only gaps of this webhook route.')),
    state: Type.Optional(Type.Enum([...STATES], { description: 'Only gaps in this state.' })),
  },
  { additionalProperties: false },
)

export const CheckView = Type.Object({
  route_id: Id('The webhook route that is checked.'),
  provider: Type.String({ description: 'Its provider.' }),
  connector: Type.String({ description: "The connector through which the provider's list is read." }),
  pull: Type.Enum(['automatic', 'manual'], { description: 'Whether what is missing is pulled in at once.' }),
  every_seconds: Type.Integer({ description: 'How often.' }),
  due_at: NullableTime('When it is checked next; null: as soon as a worker is free.'),
  running: Type.Boolean({ description: 'A worker is at it.' }),
  looked_until: NullableTime('Everything that happened before has been looked at.'),
  last_checked_at: NullableTime('When the last check came to its end.'),
  last_failed_at: NullableTime('When a check failed last.'),
  last_error: NullableText(
    'Why it failed last; null: it did not, or the page that failed has been read since. Kept until its end once it has begun anew.',
  ),
  failures: Type.Integer({ description: 'Failures in a row of the page that it has come to.' }),
  restarts: Type.Integer({
    description:
      'How often it has begun anew at its first page since it last came to its end: after three failures of one page.',
  }),
  missing: Type.Integer({ description: 'Events that are missing now, counted up to 1000.' }),
})
export type CheckView = Static<typeof CheckView>
export const CheckPage = Page(CheckView)

export const ChecksQuery = Type.Object({ ...PageQuery }, { additionalProperties: false })

export const CheckNowBody = Type.Object(
  { route_id: Id('The webhook route to check now.'), reason: Reason },
  { additionalProperties: false },
)
export const CheckCalled = Type.Object({ route_id: Id('A worker checks it within moments.') })

export const PullBody = Type.Object(
  {
    ids: Type.Optional(
      Type.Array(Id('Id of a gap.'), {
        minItems: 1,
        maxItems: 1_000,
        uniqueItems: true,
        description: 'These gaps; or `route_id`.',
      }),
    ),
    route_id: Type.Optional(Id('All that is missing of this webhook route, the oldest 1000; or `ids`.')),
    reason: Reason,
  },
  { additionalProperties: false },
)
export const PullCalled = Type.Object({
  requested: Type.Integer({ description: 'Missing events that a worker pulls in now.' }),
})

export const GapParams = Type.Object({ id: Id('Id of the gap.') })
export const DismissBody = Type.Object({ reason: Reason }, { additionalProperties: false })
