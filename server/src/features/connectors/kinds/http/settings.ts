import { type Static, Type } from 'typebox'
import { HttpAuth } from './auth-settings.ts'
import { HttpPagination } from './page-settings.ts'

/** Records need it as well: a name with a line break in it would not meet the schema of the values. */
const closed = { additionalProperties: false }
const text = (title: string, maxLength: number, description: string) =>
  Type.String({ minLength: 1, maxLength, title, description })
const TEMPLATED = 'Takes values from the input: `{{input.customer.name}}`.'
const JsonSchemaField = (title: string, description: string) =>
  Type.Optional(
    Type.Record(Type.String(), Type.Unknown(), {
      ...closed,
      title,
      description: `${description} JSON Schema, draft 2020-12.`,
    }),
  )
const Statuses = (title: string, description: string) =>
  Type.Optional(
    Type.Array(Type.Integer({ minimum: 200, maximum: 599 }), {
      minItems: 1,
      maxItems: 50,
      uniqueItems: true,
      title,
      description,
    }),
  )
const Headers = (description: string) =>
  Type.Optional(
    Type.Record(Type.String({ minLength: 1 }), Type.String({ maxLength: 2000 }), {
      ...closed,
      maxProperties: 50,
      title: 'Headers',
      description: `${description} No credentials here: see \`auth\`.`,
    }),
  )

/** One operation of an `http` connector, as it stands in the config. */
export const HttpOperation = Type.Object(
  {
    title: Type.Optional(text('Title', 100, 'Name for people.')),
    description: Type.Optional(text('Description', 1000, 'What the operation does.')),
    method: Type.Enum(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE'], {
      title: 'Method',
      description: 'HTTP method.',
    }),
    path: Type.String({
      pattern: '^/',
      maxLength: 2000,
      title: 'Path',
      description: 'Path below `base_url`; `{id}` takes a value from the input: `/v1/customers/{id}`.',
    }),
    query: Type.Optional(
      Type.Record(Type.String({ minLength: 1 }), Type.String({ maxLength: 2000 }), {
        ...closed,
        maxProperties: 100,
        title: 'Query',
        description: `Query parameters. ${TEMPLATED} A missing value drops the parameter, a list repeats it.`,
      }),
    ),
    headers: Headers(`Headers. ${TEMPLATED} A missing value drops the header.`),
    body: Type.Optional(
      Type.Unknown({
        title: 'Body',
        description:
          'The body. `"{{input}}"` sends the whole input; a string that is one `{{…}}` becomes the value itself, ' +
          'and a missing value drops the member. Absent = no body.',
      }),
    ),
    body_type: Type.Optional(
      Type.Enum(['json', 'form', 'text'], {
        title: 'Body type',
        description:
          'How the body is written: as JSON, as a form (an object of texts and lists of texts), or as the text ' +
          'that it is. Absent = json.',
      }),
    ),
    input: JsonSchemaField('Input', 'What the operation takes; absent = anything.'),
    output: JsonSchemaField(
      'Output',
      'What the operation gives: the answer of the upstream, or what `response` makes of it; absent = anything.',
    ),
    response: Type.Optional(
      Type.Unknown({
        title: 'Response mapping',
        description:
          'What becomes of an answer, as JSON with `{{response.body.x}}`, `{{response.status}}`, ' +
          '`{{response.headers.x}}` and, with pagination, `{{response.items}}`. A value that the answer lacks ' +
          'drops its member, or fails the call if `output` requires it. Absent = the body as it is.',
      }),
    ),
    success_statuses: Statuses('Success statuses', 'Statuses that are a success. Absent = every 2xx.'),
    not_done_statuses: Statuses(
      'Not-done statuses',
      'Statuses by which this upstream says that it did not carry the request out, so that repeating does no harm.',
    ),
    retryable_statuses: Statuses(
      'Retryable statuses',
      'Statuses of a passing trouble, besides 408, 425, 429 and 5xx: repeated where repeating does no harm.',
    ),
    pagination: Type.Optional(HttpPagination),
    safe: Type.Optional(
      Type.Boolean({
        title: 'Safe',
        description:
          'It only reads: repeating the call does no harm, and its answer may be shared. Absent = true for GET ' +
          'and HEAD only.',
      }),
    ),
    idempotent: Type.Optional(
      Type.Boolean({
        title: 'Idempotent',
        description:
          'It has an effect, but a second call has no second one, as HTTP means PUT and DELETE. Absent = false: ' +
          'not every API keeps to it.',
      }),
    ),
    idempotency_key_header: Type.Optional(
      text(
        'Idempotency key header',
        100,
        'The header in which the upstream takes an idempotency key, e.g. `Idempotency-Key`. Absent = it takes none.',
      ),
    ),
  },
  { ...closed, title: 'Operation', description: 'One kind of request.' },
)
export type HttpOperation = Static<typeof HttpOperation>

export const HttpSettings = Type.Object(
  {
    base_url: Type.String({
      pattern: '^https?://',
      maxLength: 2000,
      title: 'Base URL',
      description: 'Where all paths start, e.g. `https://api.example.com/v1`. No query and no credentials.',
    }),
    auth: Type.Optional(HttpAuth),
    headers: Headers('Headers that every operation sends, as they stand.'),
    deadline_header: Type.Optional(
      text(
        'Deadline header',
        100,
        'The header that tells the upstream how many milliseconds are left. Absent = `x-orchestrator-deadline-ms`.',
      ),
    ),
    health: Type.Optional(
      Type.Object(
        {
          method: Type.Optional(
            Type.Enum(['GET', 'HEAD'], { title: 'Method', description: 'Absent = GET.' }),
          ),
          path: Type.String({
            pattern: '^/',
            maxLength: 2000,
            title: 'Path',
            description: 'Path below `base_url` that answers with a 2xx when all is well: `/health`.',
          }),
        },
        {
          ...closed,
          title: 'Health check',
          description:
            'The request by which the connector is tested. Absent = a HEAD of the base URL, which proves little.',
        },
      ),
    ),
    operations: Type.Record(Type.String(), HttpOperation, {
      ...closed,
      minProperties: 1,
      maxProperties: 100,
      title: 'Operations',
      description: 'The operations by name.',
    }),
  },
  closed,
)
export type HttpSettings = Static<typeof HttpSettings>
