import { Type } from 'typebox'

export const Name = (description: string) =>
  Type.String({ pattern: '^[a-z0-9]+([._-][a-z0-9]+)*$', maxLength: 63, description })

export const ExecuteBody = Type.Object(
  {
    connector: Name('Connector of the active config.'),
    operation: Name('Operation of the connector.'),
    input: Type.Unknown({ description: "Fits the operation's input schema." }),
    options: Type.Optional(
      Type.Object(
        {
          timeout_ms: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 60_000,
              description: 'Total time including retries; may only be shorter than the policy allows.',
            }),
          ),
          dry_run: Type.Optional(
            Type.Boolean({ description: 'Check everything up to the call and send nothing upstream.' }),
          ),
          metadata: Type.Optional(
            Type.Record(Type.String({ maxLength: 40 }), Type.String({ maxLength: 500 }), {
              maxProperties: 20,
              description: 'Kept with the request log.',
            }),
          ),
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
  status: Type.Literal('ok'),
  output: Type.Unknown({ description: "Fits the operation's output schema; null for a dry run." }),
  upstream: Type.Object({ http_status: Type.Union([Type.Integer(), Type.Null()]) }),
  attempts: Type.Integer({ description: '0 for a dry run.' }),
  latency_ms: Type.Integer(),
  idempotency: Type.Object({
    key: Type.String({ description: 'The key that went upstream.' }),
    replayed: Type.Boolean(),
  }),
  request_id: Type.String(),
  trace_id: Type.String(),
})
