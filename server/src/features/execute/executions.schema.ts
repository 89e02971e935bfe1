import { type Static, Type } from 'typebox'
import { Page, PageQuery } from '../../platform/http/page.ts'
import { Reason } from '../audit/audit.ts'
import { ConnectorName } from '../connectors/connectors.ts'
import { EXECUTION_STATES } from './executions.sql.ts'

const Time = (description: string) => Type.String({ format: 'date-time', description })
const OrNull = <T extends Parameters<typeof Type.Union>[0][number]>(schema: T, description: string) =>
  Type.Union([schema, Type.Null()], { description })
const Id = Type.String({ format: 'uuid', description: 'Id of the execution.' })

const State = Type.Enum(EXECUTION_STATES, {
  description:
    '`unknown`: it may have had its effect and nobody knows; it is run again under its key where the upstream takes one, otherwise an operator settles it.',
})

export const ExecutionView = Type.Object({
  execution_id: Id,
  state: State,
  key: Type.String({ description: 'The idempotency key of its caller.' }),
  connector: Type.String({ description: 'The connector that it called.' }),
  operation: Type.String({ description: 'The operation of the connector.' }),
  config_version: Type.Integer({ description: 'The config version under which it was begun.' }),
  subject: Type.String({ description: 'Subject of the token that called.' }),
  repeatable: Type.Boolean({ description: 'True: repeating it under its key has no second effect.' }),
  runs: Type.Integer({
    description: 'How often it was begun; more than 1: its outcome was unknown in between.',
  }),
  lease_until: Time('The process that runs it has until then.'),
  outcome: OrNull(
    Type.String(),
    '`ok`, or the code of the problem that its caller got; null while it runs for the first time and after its process died.',
  ),
  http_status: OrNull(Type.Integer(), 'Status of the answer that its caller got.'),
  settled_by: OrNull(Type.String(), 'The operator who settled it.'),
  next_try_at: OrNull(Time(''), 'When a worker runs it again; null: none will.'),
  unknown_since: OrNull(Time(''), 'Since when its outcome is unknown.'),
  request_id: Type.String({ description: 'The request that began it.' }),
  correlation_id: Type.String({ description: 'What the caller named the whole undertaking.' }),
  trace_id: Type.String({ description: 'The trace of the request.' }),
  created_at: Time('When its key was taken.'),
  expires_at: Time('Until then its key is remembered.'),
})
export type ExecutionView = Static<typeof ExecutionView>

export const ExecutionDetail = Type.Object({
  ...ExecutionView.properties,
  input: Type.Unknown({ description: 'As it was sent; null unless it is kept to run it again.' }),
  answer: Type.Unknown({ description: 'What repeated calls get; null when nothing is known.' }),
})

export const ExecutionPage = Page(ExecutionView)

export const ExecutionsQuery = Type.Object(
  {
    ...PageQuery,
    state: Type.Optional(State),
    connector: Type.Optional({ ...ConnectorName, description: 'Only executions of this connector.' }),
  },
  { additionalProperties: false },
)

export const ExecutionParams = Type.Object({ id: Id })

export const SettleBody = Type.Object(
  {
    outcome: Type.Enum(['done', 'not_done'], {
      description:
        '`done`: it had its effect; who repeats the call gets a success with `output`. `not_done`: it had none; the key is free, and who repeats the call has its effect.',
    }),
    output: Type.Optional(
      Type.Unknown({ description: 'For `done`: the output of the operation. Absent: null.' }),
    ),
    reason: Reason,
  },
  { additionalProperties: false },
)

export const SettleResult = Type.Object({
  execution_id: Id,
  outcome: Type.Enum(['done', 'not_done'], { description: 'What was entered.' }),
})
