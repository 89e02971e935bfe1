import { type Static, Type } from 'typebox'

const closed = { additionalProperties: false }
const text = (title: string, maxLength: number, description: string) =>
  Type.Optional(Type.String({ minLength: 1, maxLength, title, description }))

/**
 * What the signature covers by default: a receiver that checks it knows the moment, the target and the body of the
 * request.
 */
export const DEFAULT_SIGNED = '{{timestamp}}.{{method}}.{{path}}.{{body}}'

const HmacSettings = Type.Object(
  {
    algorithm: Type.Optional(
      Type.Enum(['sha256', 'sha512'], {
        title: 'Algorithm',
        description: 'Hash of the HMAC (RFC 2104). Absent = sha256.',
      }),
    ),
    encoding: Type.Optional(
      Type.Enum(['hex', 'base64'], {
        title: 'Encoding',
        description: 'How the signature is written. Absent = hex.',
      }),
    ),
    signature_header: Type.String({
      minLength: 1,
      maxLength: 100,
      title: 'Signature header',
      description: 'Where the signature stands, e.g. `x-signature`.',
    }),
    prefix: text('Prefix', 50, 'Text before the signature, e.g. `sha256=`.'),
    timestamp_header: text(
      'Timestamp header',
      100,
      'Where the time of the signature stands, e.g. `x-timestamp`. Needed when the time is signed.',
    ),
    timestamp_format: Type.Optional(
      Type.Enum(['seconds', 'milliseconds', 'iso8601'], {
        title: 'Timestamp format',
        description: 'Seconds or milliseconds since 1970, or `2026-01-31T12:00:00.000Z`. Absent = seconds.',
      }),
    ),
    signed: text(
      'What is signed',
      500,
      'Text with `{{timestamp}}`, `{{method}}`, `{{path}}` (path and query as they are sent), `{{host}}` and ' +
        `\`{{body}}\`. Absent = \`${DEFAULT_SIGNED}\`.`,
    ),
  },
  {
    ...closed,
    title: 'HMAC',
    description: 'For `hmac`: how requests are signed with the secret `signing_key`.',
  },
)
export type HmacSettings = Static<typeof HmacSettings>

const OauthSettings = Type.Object(
  {
    token_url: Type.String({
      pattern: '^https?://',
      maxLength: 2000,
      title: 'Token URL',
      description: 'The token endpoint of the authorization server.',
    }),
    client_id: Type.String({
      minLength: 1,
      maxLength: 500,
      title: 'Client ID',
      description: 'Who the hub is there. Its secret is the secret `client_secret`.',
    }),
    client_auth: Type.Optional(
      Type.Enum(['basic', 'post'], {
        title: 'Client authentication',
        description:
          'Where client id and secret stand: in a Basic header (client_secret_basic) or in the body ' +
          '(client_secret_post). Absent = basic.',
      }),
    ),
    scope: text('Scope', 1000, 'Scopes to ask for, with spaces between them.'),
    audience: text('Audience', 1000, 'The API that the token is for, where the server wants to be told.'),
  },
  {
    ...closed,
    title: 'OAuth 2',
    description: 'For `oauth2`: client credentials (RFC 6749 §4.4). The token is kept in memory only.',
  },
)
export type OauthSettings = Static<typeof OauthSettings>

export const HttpAuth = Type.Object(
  {
    type: Type.Enum(['none', 'bearer', 'basic', 'header', 'query', 'hmac', 'oauth2'], {
      title: 'Type',
      description:
        'How requests prove who they are from: not at all, by a bearer token, user name and password, a key in a ' +
        'header or in the query, an HMAC signature, or an OAuth 2 token of client credentials.',
    }),
    header: text('Header', 100, 'For `header`: the name of the header, e.g. `x-api-key`.'),
    parameter: text('Query parameter', 100, 'For `query`: the name of the parameter, e.g. `api_key`.'),
    username: text('User name', 200, 'For `basic`: the user name. The password is the secret `password`.'),
    hmac: Type.Optional(HmacSettings),
    oauth2: Type.Optional(OauthSettings),
  },
  { ...closed, title: 'Authentication', description: 'Absent = none.' },
)
export type HttpAuth = Static<typeof HttpAuth>

/** The secret that each type sends or uses. */
export const SECRET_OF = {
  none: undefined,
  bearer: 'token',
  header: 'token',
  query: 'token',
  basic: 'password',
  hmac: 'signing_key',
  oauth2: 'client_secret',
} as const satisfies Record<HttpAuth['type'], string | undefined>

/** The setting that each type cannot do without, and that no other type has. */
export const SETTING_OF = {
  header: 'header',
  query: 'parameter',
  basic: 'username',
  hmac: 'hmac',
  oauth2: 'oauth2',
} as const satisfies Partial<Record<HttpAuth['type'], keyof HttpAuth>>
