import type { ProblemDetail } from '../../../../problems.ts'
import type { JsonSchema } from '../../define-connector.ts'

/** What one call carries; larger objects go by a presigned URL. */
export const MAX_PUT_BYTES = 5 * 1024 * 1024
export const MAX_GET_BYTES = 1024 * 1024
/** S3: bytes in UTF-8. */
const MAX_KEY_BYTES = 1024
export const MAX_EXPIRES_S = 3_600

const KEY: JsonSchema = {
  type: 'string',
  title: 'Key',
  description: 'The name of the object, e.g. `invoices/2026/11.pdf`.',
  minLength: 1,
  maxLength: MAX_KEY_BYTES,
}
const CONTENT_TYPE: JsonSchema = {
  type: 'string',
  title: 'Type',
  description: 'E.g. `application/pdf`.',
  pattern: '^[!-~]([ -~]*[!-~])?$',
  maxLength: 200,
}
const VERSION: JsonSchema = {
  type: 'string',
  title: 'Version',
  description: 'Of a bucket that keeps versions; absent = the newest.',
  minLength: 1,
  maxLength: 1024,
}

const input = (
  properties: Readonly<Record<string, JsonSchema>>,
  required: readonly string[],
): JsonSchema => ({
  type: 'object',
  properties,
  required,
  additionalProperties: false,
})
const output = input

const text = (description: string): JsonSchema => ({ type: 'string', description })
const bytes: JsonSchema = { type: 'integer', description: 'Size in bytes.' }
const FACTS: Readonly<Record<string, JsonSchema>> = {
  key: text('The key.'),
  bytes,
  content_type: text('Type of the content.'),
  etag: text('Changes with the content.'),
  last_modified: text('When it was stored (ISO 8601).'),
  version_id: text('Version, of a bucket that keeps them.'),
  metadata: { type: 'object', description: 'Its metadata.', additionalProperties: { type: 'string' } },
}

export const S3_SCHEMAS = {
  put: {
    input: input(
      {
        key: KEY,
        content_text: {
          type: 'string',
          title: 'Text',
          description: 'The content as text; or `content_base64`.',
        },
        content_base64: {
          type: 'string',
          title: 'Bytes',
          description: 'The content in base64; or `content_text`.',
          contentEncoding: 'base64',
        },
        content_type: CONTENT_TYPE,
        metadata: {
          type: 'object',
          title: 'Metadata',
          description: 'Texts of your own, in ASCII: at most 2 KB together.',
          maxProperties: 50,
          propertyNames: { pattern: '^[a-z0-9-]+$', maxLength: 100 },
          additionalProperties: { type: 'string', pattern: '^([!-~]([ -~]*[!-~])?)?$', maxLength: 2_000 },
        },
        if_none_match: {
          type: 'boolean',
          title: 'Only if new',
          description: 'Fails where there is an object with this key already.',
        },
      },
      ['key'],
    ),
    output: output(
      { key: text('The key.'), bytes, etag: FACTS.etag ?? {}, version_id: FACTS.version_id ?? {} },
      ['key', 'bytes'],
    ),
  },
  get: {
    input: input(
      {
        key: KEY,
        as: {
          type: 'string',
          title: 'As',
          enum: ['text', 'base64'],
          default: 'text',
          description: 'How the content is answered. Absent = `text`.',
        },
        range: {
          type: 'object',
          title: 'Part',
          description: 'Only these bytes; absent = all of it, at most 1 MiB.',
          properties: {
            start: { type: 'integer', title: 'From', description: 'First byte, from 0.', minimum: 0 },
            end: { type: 'integer', title: 'To', description: 'Last byte; absent = to the end.', minimum: 0 },
          },
          required: ['start'],
          additionalProperties: false,
        },
        version_id: VERSION,
      },
      ['key'],
    ),
    output: output(
      {
        ...FACTS,
        content_text: text('The content, for `text`.'),
        content_base64: text('The content, for `base64`.'),
        content_range: text('Which part of how much, for a `range`.'),
      },
      ['key', 'bytes'],
    ),
  },
  head: { input: input({ key: KEY, version_id: VERSION }, ['key']), output: output(FACTS, ['key', 'bytes']) },
  delete: {
    input: input({ key: KEY, version_id: VERSION }, ['key']),
    output: output(
      {
        key: text('The key.'),
        version_id: text('Of the version that is gone, or of the mark that hides it.'),
      },
      ['key'],
    ),
  },
  list: {
    input: input(
      {
        prefix: {
          type: 'string',
          title: 'Prefix',
          description: 'Only keys that begin so.',
          maxLength: MAX_KEY_BYTES,
        },
        delimiter: {
          type: 'string',
          title: 'Delimiter',
          description: 'Mostly `/`: keys that go on behind it are answered as one of `prefixes`.',
          minLength: 1,
          maxLength: 10,
        },
        cursor: {
          type: 'string',
          title: 'Cursor',
          description: '`next_cursor` of the page before.',
          maxLength: 4_096,
        },
        limit: {
          type: 'integer',
          title: 'Limit',
          description: 'How many at most; 100 when absent.',
          minimum: 1,
          maximum: 1_000,
        },
      },
      [],
    ),
    output: output(
      {
        objects: {
          type: 'array',
          description: 'In the order of their keys.',
          items: output(
            {
              key: text('The key.'),
              bytes,
              etag: text('Changes with the content.'),
              last_modified: text('When it was stored (ISO 8601).'),
            },
            ['key', 'bytes'],
          ),
        },
        prefixes: { type: 'array', description: 'For a `delimiter`.', items: { type: 'string' } },
        next_cursor: { type: ['string', 'null'], description: 'Null on the last page.' },
      },
      ['objects', 'prefixes', 'next_cursor'],
    ),
  },
  presign: {
    input: input(
      {
        key: KEY,
        method: {
          type: 'string',
          title: 'Method',
          enum: ['get', 'put'],
          description: '`get` to download the object, `put` to store it.',
        },
        expires_s: {
          type: 'integer',
          title: 'Seconds',
          description: 'How long the URL is good for; 900 when absent.',
          minimum: 1,
          maximum: MAX_EXPIRES_S,
        },
        content_type: { ...CONTENT_TYPE, description: 'For `put`: what must be sent as `content-type`.' },
      },
      ['key', 'method'],
    ),
    output: output(
      {
        url: text('Whoever has it may use it until it expires.'),
        method: text('The HTTP method that it is for.'),
        headers: {
          type: 'object',
          description: 'Headers that must be sent with it.',
          additionalProperties: { type: 'string' },
        },
        expires_at: text('When it expires (ISO 8601).'),
      },
      ['url', 'method', 'headers', 'expires_at'],
    ),
  },
} as const

export interface S3Input {
  readonly key: string
  readonly content_text?: string
  readonly content_base64?: string
  readonly content_type?: string
  readonly metadata?: Readonly<Record<string, string>>
  readonly if_none_match?: boolean
  readonly as?: 'text' | 'base64'
  readonly range?: { readonly start: number; readonly end?: number }
  readonly version_id?: string
  readonly prefix?: string
  readonly delimiter?: string
  readonly cursor?: string
  readonly limit?: number
  readonly method?: 'get' | 'put'
  readonly expires_s?: number
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/

/** What the schemas cannot say; paths are relative to the input. */
export function s3InputFaults(operation: keyof typeof S3_SCHEMAS, input: S3Input): ProblemDetail[] {
  const faults: ProblemDetail[] = []
  const fault = (path: string, message: string) => faults.push({ path, message })
  for (const field of ['key', 'prefix', 'delimiter', 'cursor', 'version_id'] as const) {
    const value = input[field]
    if (value === undefined) continue
    if (CONTROL.test(value) || !value.isWellFormed())
      fault(`/${field}`, 'must have no control characters and no broken Unicode')
    else if (Buffer.byteLength(value) > (field === 'cursor' ? 4_096 : MAX_KEY_BYTES))
      fault(`/${field}`, `has more than ${MAX_KEY_BYTES} bytes`)
  }
  // They would be taken out of the URL, and the rest would be another key, or another bucket.
  if (input.key?.split('/').some((segment) => segment === '.' || segment === '..'))
    fault('/key', 'must have no segment "." or ".."')
  const { range } = input
  if (range?.end !== undefined && range.end < range.start) fault('/range/end', 'is before start')
  if (operation === 'presign' && input.method === 'get' && input.content_type !== undefined)
    fault('/content_type', 'belongs to the method `put` only')
  return operation === 'put' ? [...faults, ...contentFaults(input)] : faults
}

function contentFaults({ content_text: text, content_base64: base64 }: S3Input): ProblemDetail[] {
  if ((text === undefined) === (base64 === undefined))
    return [{ path: '', message: 'needs exactly one of content_text and content_base64' }]
  const path = text === undefined ? '/content_base64' : '/content_text'
  if (text?.isWellFormed() === false) return [{ path, message: 'has broken Unicode' }]
  if (base64 !== undefined && Buffer.from(base64, 'base64').toString('base64') !== base64)
    return [{ path, message: 'is not base64' }]
  const size = contentOf({ content_text: text, content_base64: base64 }).length
  return size > MAX_PUT_BYTES
    ? [{ path, message: `has ${size} bytes, at most ${MAX_PUT_BYTES} are allowed: presign a URL for more` }]
    : []
}

export const contentOf = (of: {
  readonly content_text?: string | undefined
  readonly content_base64?: string | undefined
}): Buffer =>
  of.content_text === undefined
    ? Buffer.from(of.content_base64 ?? '', 'base64')
    : Buffer.from(of.content_text)
