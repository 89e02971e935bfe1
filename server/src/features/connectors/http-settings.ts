import { type Static, Type } from 'typebox'

/** Records need it as well: a name with a line break in it would not meet the schema of the values. */
const closed = { additionalProperties: false }
const text = (maxLength: number, description: string) => Type.String({ minLength: 1, maxLength, description })
const TEMPLATED = 'Takes values from the input: `{{input.customer.name}}`.'
const JsonSchemaField = (description: string) =>
  Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), {
      ...closed,
      description: `${description} JSON Schema, draft 2020-12.`,
    }),
  )

/** One operation of an `http` connector, as it stands in the config. */
export const HttpOperation = Type.Object(
  {
    title: Type.Optional(text(100, 'Name for people.')),
    description: Type.Optional(text(1000, 'What the operation does.')),
    method: Type.Enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'], { description: 'HTTP method.' }),
    path: Type.String({
      pattern: '^/',
      maxLength: 2000,
      description: 'Path below `base_url`; `{id}` takes a value from the input: `/v1/customers/{id}`.',
    }),
    query: Type.Optional(
      Type.Record(Type.String({ minLength: 1 }), Type.String({ maxLength: 2000 }), {
        ...closed,
        maxProperties: 100,
        description: `Query parameters. ${TEMPLATED} A missing value drops the parameter, a list repeats it.`,
      }),
    ),
    headers: Type.Optional(
      Type.Record(Type.String({ minLength: 1 }), Type.String({ maxLength: 2000 }), {
        ...closed,
        maxProperties: 50,
        description: `Headers. ${TEMPLATED} A missing value drops the header. No credentials here: see \`auth\`.`,
      }),
    ),
    body: Type.Optional(
      Type.Unknown({
        description:
          'JSON body. `"{{input}}"` sends the whole input; a string that is one `{{…}}` becomes the value itself, ' +
          'and a missing value drops the member. Absent = no body.',
      }),
    ),
    input: JsonSchemaField('What the operation takes; absent = anything.'),
    output: JsonSchemaField('What the upstream answers; absent = anything.'),
    safe: Type.Optional(
      Type.Boolean({ description: 'Repeating the call does no harm. Absent = true for GET and HEAD only.' }),
    ),
    idempotency_key_header: Type.Optional(
      text(
        100,
        'The header in which the upstream takes an idempotency key, e.g. `Idempotency-Key`. Absent = it takes none.',
      ),
    ),
  },
  { ...closed, description: 'An operation: one kind of request.' },
)
export type HttpOperation = Static<typeof HttpOperation>

export const HttpSettings = Type.Object(
  {
    base_url: Type.String({
      pattern: '^https?://',
      maxLength: 2000,
      description: 'Where all paths start, e.g. `https://api.example.com/v1`. No query and no credentials.',
    }),
    auth: Type.Optional(
      Type.Object(
        {
          type: Type.Enum(['none', 'bearer', 'header'], {
            description:
              'How the secret `token` is sent: not at all, as a bearer token, or in a header of its own.',
          }),
          header: Type.Optional(text(100, 'For `header`: the name of the header, e.g. `x-api-key`.')),
        },
        { ...closed, description: 'Authentication. Absent = none.' },
      ),
    ),
    headers: Type.Optional(
      Type.Record(Type.String({ minLength: 1 }), Type.String({ maxLength: 2000 }), {
        ...closed,
        maxProperties: 50,
        description: 'Headers that every operation sends, as they stand. No credentials here: see `auth`.',
      }),
    ),
    operations: Type.Record(Type.String(), HttpOperation, {
      ...closed,
      minProperties: 1,
      maxProperties: 100,
      description: 'The operations by name.',
    }),
  },
  closed,
)
export type HttpSettings = Static<typeof HttpSettings>
