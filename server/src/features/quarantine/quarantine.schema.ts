import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'

export const STATES = ['kept', 'releasing', 'released', 'discarded', 'expired'] as const

const Time = (description: string) => Type.Optional(Type.String({ format: 'date-time', description }))
const Word = (description: string) =>
  Type.Optional(Type.String({ maxLength: 40, pattern: '^[a-z][a-z0-9_-]*$', description }))
const Uuid = (description: string) => Type.String({ format: 'uuid', description })
const Maybe = (description: string) => Type.Union([Type.String(), Type.Null()], { description })

const RefusedFor = Word('Only those that were refused for this reason, e.g. `signature_mismatch`.')
const filter = {
  provider: Word('Only those sent as this provider, e.g. `stripe`.'),
  route_id: Type.Optional(Uuid('Only those that were addressed to this webhook route.')),
  from: Time('Only those that came at this time or later.'),
  to: Time('Only those that came at this time or earlier.'),
}

export const QuarantineQuery = Type.Object(
  {
    ...PageQuery,
    ...filter,
    reason: RefusedFor,
    state: Type.Optional(Type.Enum([...STATES], { description: 'Only those in this state.' })),
  },
  { additionalProperties: false },
)

export const QuarantineParams = Type.Object({ id: Uuid('Id in the quarantine.') })

export const ReasonBody = Type.Object({ reason: Reason }, { additionalProperties: false })

export const VerifyManyBody = Type.Object(
  {
    ...filter,
    refused_for: RefusedFor,
    cursor: Type.Optional(
      Type.String({ maxLength: 512, description: 'Where the last call ended: its `next_cursor`.' }),
    ),
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 200, description: 'How many at most are verified; default 100.' }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)
export type VerifyManyBody = Static<typeof VerifyManyBody>

export const DiscardManyBody = Type.Object(
  {
    ...filter,
    refused_for: RefusedFor,
    limit: Type.Optional(
      Type.Integer({ minimum: 1, maximum: 1_000, description: 'How many at most; default 1,000.' }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const ManyDiscarded = Type.Object({
  discarded: Type.Integer({
    description: 'How many are gone now. As many as `limit`: there may be more, call again.',
  }),
})

export const AssignBody = Type.Object(
  {
    workspace_id: Uuid('The workspace whose it is.'),
    route_id: Uuid('Its webhook route, of the same provider.'),
    despite_claim: Type.Optional(
      Type.Boolean({
        description:
          'Also when another workspace claims the account that it names, unless its secret verifies it. Told in the audit log of that workspace, too.',
      }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

const ReleasedTo = Type.Array(
  Type.Object({
    workspace_id: Type.Optional(Uuid('Only on the platform: the workspace that has it.')),
    route_id: Uuid('The webhook route that took it.'),
    event_id: Type.String({ description: 'The id that the provider gave the event.' }),
    inbox_id: Maybe('The inbox row; null until it is there.'),
    duplicate: Type.Union([Type.Boolean(), Type.Null()], {
      description: 'True: it had arrived by itself meanwhile, and is not delivered again.',
    }),
  }),
  { description: 'Where its events went, one entry per event.' },
)

const KeptEvent = Type.Object({
  id: Type.String({ description: 'The id that the provider gave it.' }),
  type: Type.String({ description: 'Its type, in the words of the provider.' }),
  accounts: Type.Array(Type.String(), { description: 'Accounts that it names.' }),
  livemode: Type.Union([Type.Boolean(), Type.Null()], { description: 'Whether it says that it is live.' }),
  reason: Type.String({ description: 'Why this event was refused.' }),
})

const entry = {
  id: Uuid('Id in the quarantine.'),
  state: Type.Enum([...STATES], {
    description:
      'kept → releasing → released, or discarded. `expired`: its time is over, nothing can be done with it.',
  }),
  provider: Type.String({ description: 'The provider of its path.' }),
  path: Type.String({ description: 'Method and path, as it was sent.' }),
  route_id: Maybe('The webhook route that it was addressed to and that refused it.'),
  reason: Type.String({ description: 'Why it was refused: of its first event that was.' }),
  authentic: Type.Boolean({ description: 'A secret of some route verified it.' }),
  contents: Type.Enum(['shown', 'withheld', 'gone'], {
    description:
      '`withheld`: nothing has proved that the account is yours, so you are not shown what was sent to it; verifying it is the proof. `gone`: it is not kept any more.',
  }),
  accounts: Type.Array(Type.String(), { description: 'Accounts that it names.' }),
  livemode: Type.Union([Type.Boolean(), Type.Null()], { description: 'Whether it says that it is live.' }),
  events: Type.Array(KeptEvent, { description: 'Its refused events; the first 20.' }),
  event_count: Type.Integer({ description: 'How many events of it were refused, as far as they were read.' }),
  size: Type.Integer({ description: 'Bytes of the body.' }),
  sha256: Maybe('Of the body, hex; null when it is withheld.'),
  seen: Type.Integer({ description: 'How often the same bytes came to the same path.' }),
  received_at: Type.String({ format: 'date-time', description: 'When they came first.' }),
  last_seen_at: Type.String({ format: 'date-time', description: 'When they came last.' }),
  expires_at: Type.String({ format: 'date-time', description: 'When it is removed.' }),
  request_id: Type.String({ description: 'The request that brought it first.' }),
  trace_id: Type.String({ description: 'The trace of that request.' }),
  released_to: ReleasedTo,
  ended_at: Maybe('When it was released or discarded.'),
  ended_by: Maybe('Who did it.'),
  ended_reason: Maybe('Why, in their words.'),
}

const Entry = Type.Object(entry)
export type Entry = Static<typeof Entry>

export const QuarantinePage = Page(Entry)

export const QuarantineDetail = Type.Object({
  ...entry,
  copies: Type.Array(
    Type.Object({
      received_at: Type.String({ format: 'date-time', description: 'When this copy came.' }),
      url: Maybe('What was called, where the hub knows its public address.'),
      headers: Type.Record(Type.String(), Type.Array(Type.String()), { description: 'The kept headers.' }),
    }),
    {
      description:
        'How the same bytes came: the first time and the last ones. Each is tried by a verification.',
    },
  ),
  payload: Maybe('The body as it came; null when it is withheld or gone.'),
  payload_encoding: Type.Union([Type.Literal('utf-8'), Type.Literal('base64'), Type.Null()], {
    description: 'How `payload` says the bytes: as text, or in base64 when they are none.',
  }),
})
export type QuarantineDetail = Static<typeof QuarantineDetail>

const judged = {
  judged_at: Type.Literal('receipt', {
    description:
      'With the routes and secrets of now; times and windows of secrets as of when each copy was received.',
  }),
}

export const Verified = Type.Object({
  released: Type.Boolean({
    description: 'Whether exactly one route takes each of its events, and has it now.',
  }),
  reason: Maybe('Why it is still refused; null when it was released.'),
  ...judged,
  released_to: ReleasedTo,
})

export const Assigned = Type.Object({ released_to: ReleasedTo })

export const ManyVerifiedView = Type.Object({
  examined: Type.Integer({ description: 'How many were verified.' }),
  released: Type.Integer({ description: 'How many of them were released.' }),
  refused: Type.Record(Type.String(), Type.Integer(), {
    description: 'The others, counted by why they stay.',
  }),
  ...judged,
  next_cursor: Maybe('Send it as `cursor` to go on; null when all were looked at.'),
})

export const Discarded = Type.Null({ description: 'Its bytes are gone.' })
