import { type Static, Type } from 'typebox'

/** Names of connectors; also used for policies and secret refs. */
export const NAME_PATTERN = '^[a-z0-9]+(-[a-z0-9]+)*$'
const name = (description: string) => Type.String({ pattern: NAME_PATTERN, maxLength: 63, description })

/** Records need it as well: a name with a line break in it would not meet the schema of the values. */
const closed = { additionalProperties: false }

/** A connector as it stands in a workspace's config, under its name. */
export const ConnectorConfig = Type.Object(
  {
    kind: Type.String({ maxLength: 63, description: 'The connector kind; see GET /connectors/kinds.' }),
    title: Type.Optional(Type.String({ maxLength: 100, description: 'Name for people.' })),
    description: Type.Optional(Type.String({ maxLength: 1000, description: 'What the connector is for.' })),
    policy: Type.Optional(name('Name of a policy of the same config; absent = the default policy.')),
    operation_policies: Type.Optional(
      Type.Record(Type.String({ maxLength: 200 }), name('Name of a policy of the same config.'), {
        ...closed,
        maxProperties: 200,
        description:
          'Which operation has a policy of its own. It inherits from the policy of the connector, and may say ' +
          'nothing about what the operations share: bulkhead, breaker, retry budget, concurrency, and the rate ' +
          'limits of connector and workspace.',
      }),
    ),
    settings: Type.Record(Type.String(), Type.Unknown(), {
      ...closed,
      description: 'Settings of the kind; their schema is at GET /connectors/kinds.',
    }),
    secrets: Type.Optional(
      Type.Record(Type.String(), name('Name of a secret ref of the workspace.'), {
        ...closed,
        description: 'Which secret ref fills which secret of the kind. Values never stand here.',
      }),
    ),
  },
  { ...closed, description: 'A connector.' },
)
export type ConnectorConfig = Static<typeof ConnectorConfig>

const JsonSchemaDocument = Type.Unknown({ description: 'A JSON Schema (draft 2020-12).' })

export const OperationDescription = Type.Object(
  {
    name: Type.String({ description: 'Name of the operation.' }),
    title: Type.String({ description: 'Name for people.' }),
    description: Type.String({ description: 'What the operation does.' }),
    input: JsonSchemaDocument,
    output: JsonSchemaDocument,
    safe: Type.Boolean({ description: 'Repeating the call does no harm.' }),
    idempotent: Type.Boolean({
      description: 'It has an effect, but a repetition has no second one by its nature.',
    }),
    takes_idempotency_key: Type.Boolean({ description: 'The upstream recognises our idempotency key.' }),
  },
  { additionalProperties: false },
)
export type OperationDescription = Static<typeof OperationDescription>

export const KindDescription = Type.Object(
  {
    kind: Type.String({ description: 'Name of the connector kind.' }),
    title: Type.String({ description: 'Name for people.' }),
    description: Type.String({ description: 'What connectors of this kind do.' }),
    settings_schema: Type.Unknown({ description: 'JSON Schema of `settings`.' }),
    secrets: Type.Array(
      Type.Object(
        {
          name: Type.String({ description: 'Key in `secrets` of the connector.' }),
          title: Type.String({ description: 'Name for people.' }),
          description: Type.String({ description: 'What the secret is and where it comes from.' }),
          required: Type.Boolean({ description: 'A connector without it cannot be saved.' }),
        },
        { additionalProperties: false },
      ),
      { description: 'The secrets that connectors of this kind take.' },
    ),
  },
  { additionalProperties: false },
)
export type KindDescription = Static<typeof KindDescription>
