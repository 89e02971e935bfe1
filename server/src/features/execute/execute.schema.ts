import { Type } from 'typebox'
import { CallFields, Metadata } from '../connectors/connectors.ts'
import { RequestLimitFields } from '../policies/policies.ts'

export const ExecuteBody = Type.Object(
  {
    ...CallFields,
    options: Type.Optional(
      Type.Object(
        {
          ...RequestLimitFields,
          dry_run: Type.Optional(
            Type.Boolean({
              description:
                'Check connector, operation, input, policy and secrets, and send nothing upstream.',
            }),
          ),
          metadata: Type.Optional(Metadata('Kept with the request log.')),
        },
        { additionalProperties: false, description: 'How this one call is made.' },
      ),
    ),
  },
  { additionalProperties: false },
)

export const ExecuteHeaders = Type.Object({
  'idempotency-key': Type.Optional(
    Type.String({
      description:
        'Sent upstream unchanged on every attempt, where the provider takes a key. Absent: the hub makes one per execution.',
    }),
  ),
})

export const ExecuteResult = Type.Object({
  status: Type.Literal('ok', { description: 'Failures are problem documents.' }),
  output: Type.Unknown({ description: "Fits the operation's output schema; null for a dry run." }),
  upstream: Type.Object(
    {
      http_status: Type.Union([Type.Integer(), Type.Null()], {
        description: 'Status of the last attempt; null for a dry run.',
      }),
    },
    { description: 'What the upstream answered.' },
  ),
  attempts: Type.Integer({ description: '0 for a dry run.' }),
  latency_ms: Type.Integer({ description: 'The whole execution, waits included. Milliseconds.' }),
  idempotency: Type.Object(
    {
      key: Type.String({ description: 'The key that went upstream.' }),
      replayed: Type.Boolean({ description: 'True when this is the stored answer of an earlier execution.' }),
    },
    { description: 'How the execution is known again.' },
  ),
  request_id: Type.String({ description: 'Id of this request.' }),
  trace_id: Type.String({ description: 'The trace that this request began or went on with.' }),
})
