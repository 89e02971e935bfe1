import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import {
  ATTEMPT_OUTCOMES,
  DEFAULT_PRIORITY,
  JOB_STATES,
  PRIORITIES,
  QUEUES,
  type QueueName,
} from '../../queue/job.ts'
import { OBSTACLES } from '../../queue/obstacles.ts'
import { CallFields, ConnectorName, Metadata } from '../connectors/connectors.ts'

const Time = (description: string) => Type.String({ format: 'date-time', description })
const described = ({ description }: { description?: string }) => (description ? { description } : {})
const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T) =>
  Type.Union([schema, Type.Null()], described(schema))

const QUEUE_NAMES = Object.keys(QUEUES) as QueueName[]

export const NewJobBody = Type.Object(
  {
    ...CallFields,
    queue: Type.Optional(
      Type.Enum(QUEUE_NAMES, {
        default: 'default',
        description: 'Queue; `critical` has workers of its own.',
      }),
    ),
    priority: Type.Optional(
      Type.Integer({
        minimum: PRIORITIES[0],
        maximum: PRIORITIES.at(-1) ?? 4,
        default: DEFAULT_PRIORITY,
        description: '1 runs first among the jobs of the same queue and connector, 4 last.',
      }),
    ),
    run_at: Type.Optional(Time('Not before this moment, at most 30 days ahead. Absent or past: now.')),
    expires_at: Type.Optional(
      Time(
        'A job that has not started an attempt by this moment never will, also while it is retried: it becomes a dead letter with the reason `expired`. After `run_at`, at most 30 days ahead.',
      ),
    ),
    callback: Type.Optional(
      Type.Object(
        { connector: { ...ConnectorName, description: 'Connector of kind `callback`.' } },
        {
          additionalProperties: false,
          description: 'Tell a product when the job has ended, in whatever way.',
        },
      ),
    ),
    metadata: Type.Optional(Metadata('Kept with the job and sent with its callback.')),
  },
  { additionalProperties: false },
)
export type NewJobBody = Static<typeof NewJobBody>

export const BatchItem = Type.Object(
  {
    ...NewJobBody.properties,
    idempotency_key: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 255,
        pattern: '^[!-~]*$',
        description:
          'The same key with the same job again, within 30 days, gives the first job instead of a second one; with another job the whole batch is refused. Visible ASCII characters.',
      }),
    ),
  },
  { additionalProperties: false },
)
export type BatchItem = Static<typeof BatchItem>

export const MAX_BATCH = 1_000

export const BatchBody = Type.Object(
  {
    jobs: Type.Array(BatchItem, {
      minItems: 1,
      maxItems: MAX_BATCH,
      description: 'All are stored or none is.',
    }),
  },
  { additionalProperties: false },
)

const IdempotencyKey = (description: string) =>
  Type.Object({
    'idempotency-key': Type.Optional(
      Type.String({ description: `${description} 1 to 255 visible ASCII characters.` }),
    ),
  })

export const JobHeaders = IdempotencyKey('The same key again gives the first job instead of a second one.')
export const BatchHeaders = IdempotencyKey(
  'The same batch with the same key again gives the first jobs instead of new ones. It stands for the items that have no `idempotency_key` of their own.',
)

const accepted = {
  job_id: Type.String({ format: 'uuid', description: 'Id of the job.' }),
  status: Type.Enum(['queued'], { description: 'The work is committed; `GET /jobs/:id` tells how it goes.' }),
  queued_at: Time('When it was committed.'),
}
const ids = {
  request_id: Type.String({ description: 'Id of this request.' }),
  trace_id: Type.String({ description: 'The trace that this request began or went on with.' }),
}

export const JobAccepted = Type.Object({
  ...accepted,
  request_id: Type.String({
    description: 'Id of the request that made the job: of the first one, when its key was used before.',
  }),
  trace_id: Type.String({ description: 'The trace of that request.' }),
})
export const BatchAccepted = Type.Object({
  jobs: Type.Array(
    Type.Object({
      ...accepted,
      replayed: Type.Boolean({ description: 'True: the key was used before, and this is the first job.' }),
    }),
    { description: 'In the order of the request.' },
  ),
  ...ids,
})

export const JobView = Type.Object({
  id: Type.String({ format: 'uuid', description: 'Id of the job.' }),
  state: Type.Enum(JOB_STATES, { description: 'Where the job stands; done, cancelled and dead are final.' }),
  queue: Type.Enum(QUEUE_NAMES, { description: 'The queue that it waits in.' }),
  priority: Type.Integer({ description: '1 runs first, 4 last.' }),
  connector: Type.String({ description: 'The connector that it calls.' }),
  operation: Type.String({ description: 'The operation of the connector.' }),
  attempts: Type.Integer({ description: 'Attempts spent so far, since its last replay.' }),
  replays: Type.Integer({ description: 'How often it was a dead letter and was replayed.' }),
  next_run_at: OrNull(Time('When the next attempt is due.')),
  expires_at: OrNull(Time('After this moment no attempt starts.')),
  created_at: Time('When it was accepted.'),
  finished_at: OrNull(Time('When it ended.')),
  created_by: Type.String({ description: 'Subject of the token, or the webhook route, that made it.' }),
  config_version: Type.Integer({ description: 'The config version that was active when it was accepted.' }),
  inbox_id: OrNull(Type.String({ description: 'The webhook that caused it.' })),
  correlation_id: Type.String({ description: 'What the caller named the whole undertaking.' }),
  trace_id: Type.String({ description: 'The trace that leads from the first request to the last callback.' }),
})

export const AttemptView = Type.Object({
  attempt: Type.Integer({ description: 'Its number, from 1.' }),
  outcome: Type.Enum(ATTEMPT_OUTCOMES, {
    description: '`snoozed` and `returned` spend no attempt; `lost` is one whose worker died.',
  }),
  why: Type.String({ description: 'One sentence.' }),
  started_at: Time('Start of the attempt.'),
  ended_at: Time('End of the attempt.'),
  http_status: OrNull(Type.Integer({ description: 'What the upstream answered, if it did.' })),
  config_version: OrNull(
    Type.Integer({ description: 'The config version that it ran on; null when it came to no connector.' }),
  ),
  error: OrNull(
    Type.Object(
      {
        class: Type.String({ description: 'The kind of failure.' }),
        message: Type.String({ description: 'One sentence.' }),
      },
      { description: 'Why the attempt failed.' },
    ),
  ),
  next_run_at: OrNull(Time('When the next attempt was set to.')),
})

const PayloadRef = (description: string) =>
  Type.Object(
    {
      id: Type.String({ format: 'uuid', description: 'For `GET /payloads/:id`.' }),
      size: Type.Integer({ description: 'Bytes.' }),
      sha256: Type.String({ description: 'Of the bytes, hex.' }),
      content_type: Type.String({ description: 'What they are.' }),
    },
    { description },
  )

export const JobDetail = Type.Object({
  job: Type.Object(
    {
      ...JobView.properties,
      input: Type.Unknown({
        description: 'As it was sent; of the delivery of a webhook the whole message, with its payload.',
      }),
      input_missing: OrNull(
        Type.Object(
          {
            code: Type.String({ description: 'As in a problem, e.g. `payload_erased` or `body_too_large`.' }),
            message: Type.String({ description: 'One sentence.' }),
          },
          { description: 'Why `input` is not whole; null when it is.' },
        ),
      ),
      input_ref: OrNull(PayloadRef('Where the input is when it was too large for the database.')),
      metadata: Type.Record(Type.String(), Type.Unknown(), { description: 'As it was sent.' }),
      idempotency_key: Type.String({ description: 'The key that goes upstream with every attempt.' }),
      request_id: Type.String({ description: 'The request that made the job.' }),
      started_at: OrNull(Time('Start of the attempt that runs now.')),
      cancel_requested_at: OrNull(Time('When a running job was told to stop.')),
      result: Type.Unknown({
        description:
          'What the operation answered; null until the job is done, and when it is at `result_ref`.',
      }),
      result_ref: OrNull(PayloadRef('Where the result is when it was too large for the database.')),
      blocked_by: Type.Array(
        Type.Object({
          reason: Type.Enum(OBSTACLES, { description: 'What it is.' }),
          message: Type.String({ description: 'One sentence.' }),
          until: OrNull(Time('When it ends by itself; null when that depends on somebody.')),
        }),
        {
          description:
            'What keeps a queued job from starting now, without spending an attempt. Empty: it waits for its turn.',
        },
      ),
      dead_reason: OrNull(Type.String({ description: 'Why it became a dead letter.' })),
    },
    { description: 'The job.' },
  ),
  attempts: Type.Array(AttemptView, { description: 'Oldest first.' }),
})

export const JobPage = Page(JobView)

export const JobsQuery = Type.Object(
  {
    ...PageQuery,
    state: Type.Optional(Type.Enum(JOB_STATES, { description: 'Only jobs in this state.' })),
    queue: Type.Optional(Type.Enum(QUEUE_NAMES, { description: 'Only jobs of this queue.' })),
    connector: Type.Optional({ ...ConnectorName, description: 'Only jobs of this connector.' }),
  },
  { additionalProperties: false },
)

export const JobParams = Type.Object({ id: Type.String({ format: 'uuid', description: 'Id of the job.' }) })

/** Of the cancel, on both planes. */
export const AGAIN =
  'Asking again gives the same answer and changes nothing. A job that is done or a dead letter answers 409.'

export const CancelBody = Type.Object(
  {
    reason: Type.Optional(
      Type.String({ minLength: 1, maxLength: 500, description: 'Why, for the timeline.' }),
    ),
  },
  { additionalProperties: false },
)

export const CancelResult = Type.Object({
  job_id: Type.String({ format: 'uuid', description: 'Id of the job.' }),
  status: Type.Enum(['cancelled', 'cancelling'], {
    description: '`cancelling`: an attempt is running and has been told to stop.',
  }),
})
