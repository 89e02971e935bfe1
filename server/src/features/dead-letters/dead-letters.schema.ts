import { type Static, type TSchema, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { QUEUES, type QueueName } from '../../queue/job.ts'
import { Reason } from '../audit/audit.ts'
import { ConnectorName, OperationName } from '../connectors/connectors.ts'
import { PLAN_ACTIONS, PLAN_STATES } from './dead-letters.sql.ts'

const QUEUE_NAMES = Object.keys(QUEUES) as QueueName[]
const Time = (description: string) => Type.String({ format: 'date-time', description })
const OrNull = (schema: TSchema & { description?: string }) =>
  Type.Union([schema, Type.Null()], { description: schema.description ?? '' })

const Text = (description: string) => Type.String({ minLength: 1, maxLength: 200, description })

/** What letters can be looked for by; the same in lists and in plans. */
const filters = {
  connector: Type.Optional({ ...ConnectorName, description: 'Only letters of this connector.' }),
  operation: Type.Optional({ ...OperationName, description: 'Only letters of this operation.' }),
  reason: Type.Optional(Text('Only letters with this reason, e.g. `attempts_spent` or `poison`.')),
  error_class: Type.Optional(Text('Only letters whose last error is of this class, e.g. `timeout`.')),
  fingerprint: Type.Optional(
    Type.String({
      pattern: '^[0-9a-f]{16}$',
      description: 'Only letters of this kind of failure; see `/dlq/:queue/groups`.',
    }),
  ),
  dead_after: Type.Optional(Time('Only letters that died at this moment or later.')),
  dead_before: Type.Optional(Time('Only letters that died before this moment.')),
}

export const QueueParams = Type.Object({
  queue: Type.Enum(QUEUE_NAMES, { description: 'Queue of the dead letters.' }),
})

const bin = Type.Optional(
  Type.Boolean({ default: false, description: 'True: what is purged and can still be restored.' }),
)

export const LettersQuery = Type.Object({ ...PageQuery, ...filters, bin }, { additionalProperties: false })

const failure = Type.Object(
  {
    class: Type.String({ description: 'Kind of the failure, e.g. `timeout`, `http_5xx`.' }),
    message: Type.String({ description: 'One sentence.' }),
    http_status: OrNull(Type.Integer({ description: 'What the upstream answered, if it did.' })),
  },
  { description: 'The error of the last attempt.' },
)

export const LetterView = Type.Object({
  job_id: Type.String({ format: 'uuid', description: 'Id of the job; `GET /jobs/:id` has its attempts.' }),
  queue: Type.Enum(QUEUE_NAMES, { description: 'Queue of the job.' }),
  connector: Type.String({ description: 'The connector that it called.' }),
  operation: Type.String({ description: 'The operation of the connector.' }),
  dead_at: Time('When it was given up.'),
  purged_at: OrNull(Time('In the bin since then.')),
  reason: Type.String({ description: 'Why it was given up, e.g. `attempts_spent`.' }),
  attempts: Type.Integer({ description: 'Attempts since it was made or last replayed.' }),
  error: failure,
  fingerprint: Type.String({
    description: 'The same for failures of one kind: error class, connector, operation, status and message.',
  }),
  replays: Type.Integer({ description: 'How often it has been replayed before.' }),
  inbox_id: OrNull(Type.String({ description: 'The webhook that caused it.' })),
  correlation_id: OrNull(Type.String({ description: 'What the caller named the whole undertaking.' })),
  trace_id: OrNull(Type.String({ description: 'The trace of the job.' })),
})
export type LetterView = Static<typeof LetterView>
export const LetterPage = Page(LetterView)

export const GroupView = Type.Object({
  fingerprint: Type.String({ description: 'Name of this kind of failure: a filter of lists and plans.' }),
  count: Type.Integer({ description: 'Letters of the kind.' }),
  first_seen_at: Time('When the oldest of them died.'),
  last_seen_at: Time('When the newest of them died.'),
  connector: Type.String({ description: 'The connector that they called.' }),
  operation: Type.String({ description: 'The operation of the connector.' }),
  error: { ...failure, description: 'The error of the newest letter.' },
  sample_job_id: Type.String({ format: 'uuid', description: 'The newest letter.' }),
})
export type GroupView = Static<typeof GroupView>
export const GroupPage = Page(GroupView)

const MAX_IDS = 1_000

export const PlanBody = Type.Object(
  {
    action: Type.Enum([...PLAN_ACTIONS], {
      description: '`purge` moves letters into the bin, `restore` takes them out of it.',
    }),
    ids: Type.Optional(
      Type.Array(Type.String({ format: 'uuid' }), {
        minItems: 1,
        maxItems: MAX_IDS,
        uniqueItems: true,
        description: 'Jobs by their ids. Either this or `filter`.',
      }),
    ),
    filter: Type.Optional(
      Type.Object(filters, {
        additionalProperties: false,
        description:
          'All letters that fit every field and were there when the plan was made. `{}` is all of the queue; the plan tells how many that are before anything happens.',
      }),
    ),
    rate_per_second: Type.Optional(
      Type.Integer({
        minimum: 1,
        maximum: 1_000,
        description: 'Replays per second, default 50; what is behind it has just come back.',
      }),
    ),
    new_effect: Type.Optional(
      Type.Boolean({
        description:
          'Replay with new idempotency keys: receivers take the jobs for new work, so that effects may happen twice. Default false.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type PlanBody = Static<typeof PlanBody>

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
  job_id: LetterView.properties.job_id,
  connector: LetterView.properties.connector,
  operation: LetterView.properties.operation,
  dead_at: LetterView.properties.dead_at,
  error: failure,
})

export const PlanView = Type.Object({
  plan_id: Type.String({ format: 'uuid', description: 'Id of the plan.' }),
  queue: Type.Enum(QUEUE_NAMES, { description: 'Queue of the letters.' }),
  action: Type.Enum([...PLAN_ACTIONS], { description: 'What is done to them.' }),
  state: Type.Enum([...PLAN_STATES], {
    description: '`planned` until the commit, then `running` until it is done, aborted or failed.',
  }),
  ids: OrNull(Type.Array(Type.String({ format: 'uuid' }), { description: 'The jobs that were named.' })),
  filter: OrNull(Type.Object(filters, { description: 'What the letters fit.' })),
  count: Type.Integer({ description: 'Letters it is about; 0 cannot be committed.' }),
  oldest: OrNull(Time('When the oldest of them died.')),
  sample: Type.Array(Sample, { description: 'Up to five of them, the oldest first.' }),
  rate_per_second: Type.Integer({ description: 'Letters per second.' }),
  new_effect: Type.Boolean({ description: 'Whether jobs get new idempotency keys.' }),
  estimate_seconds: Type.Integer({ description: 'How long what is left takes at this rate.' }),
  created_by: Type.String({ description: 'Who made the plan.' }),
  created_at: Time('When it was made; letters that died later are not part of it.'),
  expires_at: Time('Until then it can be committed.'),
  committed_by: OrNull(Type.String({ description: 'Who committed it.' })),
  committed_at: OrNull(Time('When it was committed.')),
  reason: OrNull(Type.String({ description: 'Why, in the words of the commit.' })),
  progress: Type.Object(
    {
      total: Type.Integer({ description: 'Letters it is about.' }),
      done: Type.Integer({ description: 'Letters that were replayed, purged or restored.' }),
      skipped: Type.Integer({ description: 'Letters that were left out.' }),
      skipped_why: Type.Array(
        Type.Object({
          why: Type.String({ description: 'One sentence.' }),
          count: Type.Integer({ description: 'Letters that were left out for it.' }),
        }),
        { description: 'Why letters were left out, the most frequent first.' },
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
