import { type Static, Type } from 'typebox'

const HEADER_NAME = '[a-z0-9][a-z0-9-]{0,99}'

const Header = Type.String({
  // What is named here is kept beside the event as evidence: never what opens a door.
  pattern: `^(?!(?:cookie|set-cookie|authorization|proxy-authorization)$)${HEADER_NAME}$`,
  description: 'Name of a request header, in lower case.',
})

const Pointer = Type.String({
  pattern: '^(?:/(?:[^~/]|~[01])*)+$',
  maxLength: 200,
  description: 'JSON pointer into the body, e.g. `/data/id`. Of a form: `/` and the name of the field.',
})

/** Several values may be in one header: `t=1,v1=a,v1=b` has the parts `1` of the prefix `t=` and `a`, `b` of `v1=`. */
const headerPart = {
  header: Header,
  separator: Type.Optional(
    Type.String({ minLength: 1, maxLength: 3, description: 'What stands between the parts of the header.' }),
  ),
  prefix: Type.Optional(
    Type.String({
      maxLength: 50,
      description: 'What stands before the value; parts without it do not count.',
    }),
  ),
}

const closed = { additionalProperties: false }
const FromHeader = Type.Object({ header: Header }, closed)
const FromBody = Type.Object({ pointer: Pointer }, closed)
const Unit = Type.Enum(['seconds', 'milliseconds', 'iso8601'], {
  description: 'How the sender writes a time.',
})

/**
 * The placeholders of `signed`. The body is in it exactly once. Between the body, headers and the id there is other
 * text, so that nothing can be moved from one into the next without changing what is signed; times are digits or ISO.
 */
const TEXT = '[^{}]'
const TIME = '\\{timestamp\\}'
const NAMED = `\\{(?:id|header:${HEADER_NAME})\\}`
const SIGNED = `^(?:${TEXT}|${TIME}|${NAMED}${TEXT})*\\{body\\}(?:${TEXT}(?:${TEXT}|${TIME}|${NAMED}(?=${TEXT}|$))*)?$`

/** What one field says of another: a time that is not signed proves nothing, and what is signed must be known. */
const signedHas = (pattern: string) => ({
  type: 'object',
  properties: { signed: { type: 'string', pattern } },
  required: ['signed'],
})
const TOGETHER = [
  {
    if: { type: 'object', required: ['timestamp'] },
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON schema.
    then: { type: 'object', properties: { signed: { type: 'string', pattern: '\\{timestamp\\}' } } },
  },
  {
    if: signedHas('\\{timestamp\\}'),
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON schema.
    then: { type: 'object', required: ['timestamp'] },
  },
  {
    if: signedHas('\\{id\\}'),
    // biome-ignore lint/suspicious/noThenProperty: a keyword of JSON schema.
    then: {
      type: 'object',
      properties: { event_id: { type: 'object', properties: { header: {} }, required: ['header'] } },
      required: ['event_id'],
    },
  },
]

export const HmacSettings = Type.Object(
  {
    signature: Type.Object(
      {
        ...headerPart,
        encoding: Type.Enum(['hex', 'base64', 'base64url'], {
          description: 'How the sender writes the bytes of the signature.',
        }),
      },
      { ...closed, description: 'Where the signature is. One of several is enough.' },
    ),
    algorithm: Type.Enum(['sha256', 'sha1', 'sha512'], { description: 'Hash of the HMAC.' }),
    signed: Type.String({
      pattern: SIGNED,
      maxLength: 300,
      description:
        'What is signed, with the body as it arrived: text with `{body}` once and, where the sender signs them, `{timestamp}`, `{id}` (the header of `event_id`) and `{header:name}`, e.g. `{timestamp}.{body}`.',
    }),
    key: Type.Optional(
      Type.Object(
        {
          prefix: Type.Optional(
            Type.String({ maxLength: 20, description: 'Start of the secret that is not part of the key.' }),
          ),
          encoding: Type.Enum(['utf8', 'hex', 'base64'], {
            description: 'How the bytes of the key are written in the secret.',
          }),
        },
        { ...closed, description: 'How the secret becomes the key. Absent = its text as it is.' },
      ),
    ),
    timestamp: Type.Optional(
      Type.Object(
        {
          ...headerPart,
          unit: Unit,
          tolerance_seconds: Type.Optional(
            Type.Integer({
              minimum: 1,
              maximum: 3_600,
              description: 'How far the time may be from ours, in both directions. Default 300.',
            }),
          ),
        },
        { ...closed, description: 'The time that is signed.' },
      ),
    ),
    event_id: Type.Optional(
      Type.Union([FromHeader, FromBody], {
        description:
          'The id of the event, the same when it is sent again. Absent, also in a request: the SHA-256 of the body.',
      }),
    ),
    type: Type.Optional(
      Type.Union(
        [
          FromHeader,
          FromBody,
          Type.Object({ value: Type.String({ pattern: '^[\\x21-\\x7e]{1,255}$' }) }, closed),
        ],
        {
          description: 'The type of the event. Absent, also in a request: `event`.',
        },
      ),
    ),
    account: Type.Optional(
      Type.Union([FromHeader, FromBody], { description: 'The account by which routes are told apart.' }),
    ),
    occurred_at: Type.Optional(
      Type.Object(
        {
          from: Type.Union([FromHeader, FromBody], { description: 'Where it stands.' }),
          unit: Unit,
        },
        { ...closed, description: 'When it happened. Absent: the signed time, else when it arrived.' },
      ),
    ),
  },
  { ...closed, allOf: TOGETHER },
)
export type HmacSettings = Static<typeof HmacSettings>
export type HeaderPart = Pick<HmacSettings['signature'], 'header' | 'separator' | 'prefix'>
export type Place = NonNullable<HmacSettings['account']>
