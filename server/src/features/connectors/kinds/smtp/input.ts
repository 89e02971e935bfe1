import type { ProblemDetail } from '../../../../problems.ts'
import type { JsonSchema } from '../../define-connector.ts'
import { isLine, parseMailbox } from './address.ts'
import type { SmtpSettings } from './settings.ts'

const MAX_RECIPIENTS = 100
const MAX_ATTACHMENTS = 20
/** All attachments together, decoded: most servers take 10 to 25 MiB with the third that base64 adds. */
const MAX_ATTACHED_BYTES = 7 * 1024 * 1024
const MAX_TEXT = 1024 * 1024
/** RFC 5322 §2.1.1. */
const MAX_LINE = 998

/** One message, as callers send it. */
export interface MailInput {
  readonly from?: string
  readonly to?: readonly string[]
  readonly cc?: readonly string[]
  readonly bcc?: readonly string[]
  readonly reply_to?: string
  readonly subject: string
  readonly text?: string
  readonly html?: string
  readonly attachments?: readonly {
    readonly filename: string
    readonly content_base64: string
    readonly content_type?: string
  }[]
  readonly headers?: Readonly<Record<string, string>>
}

const address = (title: string, description: string): JsonSchema => ({
  type: 'string',
  title,
  description: `${description} \`ada@example.com\` or \`Ada Lovelace <ada@example.com>\`.`,
  minLength: 3,
  maxLength: 500,
})
const addresses = (title: string, description: string): JsonSchema => ({
  type: 'array',
  title,
  description,
  maxItems: MAX_RECIPIENTS,
  items: address('Address', 'Name and address.'),
})

/**
 * What a caller may set: its own `x-` headers and those that mailing lists, threads and automatic mail need. All
 * others are made by the hub.
 */
const HEADER =
  '^([xX]-[A-Za-z0-9-]+|List-Unsubscribe|List-Unsubscribe-Post|List-Id|In-Reply-To|References|Auto-Submitted|Precedence)$'

export const MAIL_INPUT: JsonSchema = {
  type: 'object',
  properties: {
    from: address('From', 'Absent = the sender of the settings.'),
    to: addresses('To', 'Recipients.'),
    cc: addresses('Cc', 'Recipients of a copy.'),
    bcc: addresses('Bcc', 'Recipients whom the others do not see.'),
    reply_to: address('Reply to', 'Where answers go.'),
    subject: { type: 'string', title: 'Subject', description: 'One line.', maxLength: MAX_LINE },
    text: { type: 'string', title: 'Text', description: 'The message as plain text.', maxLength: MAX_TEXT },
    html: { type: 'string', title: 'HTML', description: 'The message as HTML.', maxLength: MAX_TEXT },
    attachments: {
      type: 'array',
      title: 'Attachments',
      description: `At most ${MAX_ATTACHMENTS}, together at most 7 MiB.`,
      maxItems: MAX_ATTACHMENTS,
      items: {
        type: 'object',
        title: 'Attachment',
        properties: {
          filename: {
            type: 'string',
            title: 'File name',
            description: 'Without folders.',
            minLength: 1,
            maxLength: 255,
          },
          content_base64: {
            type: 'string',
            title: 'Content',
            description: 'The bytes in base64.',
            contentEncoding: 'base64',
          },
          content_type: {
            type: 'string',
            title: 'Type',
            description: 'E.g. `application/pdf`; absent = by the end of the file name.',
            pattern: '^[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+$',
            maxLength: 200,
          },
        },
        required: ['filename', 'content_base64'],
        additionalProperties: false,
      },
    },
    headers: {
      type: 'object',
      title: 'Headers',
      description:
        'Headers of your own (`X-…`), `List-Unsubscribe`, `List-Unsubscribe-Post`, `List-Id`, `In-Reply-To`, `References`, `Auto-Submitted`, `Precedence`.',
      maxProperties: 20,
      propertyNames: { pattern: HEADER, maxLength: 76 },
      additionalProperties: { type: 'string', minLength: 1, maxLength: MAX_LINE },
    },
  },
  required: ['subject'],
  additionalProperties: false,
}

export const MAIL_OUTPUT: JsonSchema = {
  type: 'object',
  properties: {
    message_id: { type: 'string', description: '`Message-ID` of the message: the same on every attempt.' },
    accepted: {
      type: 'array',
      description: 'Recipients for whom the server took the message.',
      items: { type: 'string' },
    },
    rejected: {
      type: 'array',
      description: 'Recipients whom it refused, with its words. They are not tried again by themselves.',
      items: {
        type: 'object',
        properties: {
          address: { type: 'string', description: 'Whom.' },
          response: { type: 'string', description: 'The answer of the server.' },
        },
        required: ['address', 'response'],
        additionalProperties: false,
      },
    },
    response: { type: 'string', description: 'The last answer of the server.' },
  },
  required: ['message_id', 'accepted', 'rejected', 'response'],
  additionalProperties: false,
}

/** What the schema cannot say about an input that fits it; paths are relative to the input. */
export function mailFaults(settings: SmtpSettings, input: MailInput): ProblemDetail[] {
  const faults: ProblemDetail[] = []
  const fault = (path: string, message: string) => faults.push({ path, message })
  const mailbox = (path: string, text: string | undefined) => {
    if (text !== undefined && !parseMailbox(text)) fault(path, 'is not an address such as ada@example.com')
  }
  if (input.from === undefined && settings.from === undefined)
    fault('/from', 'is missing, and the settings of the connector name no sender')
  mailbox('/from', input.from)
  mailbox('/reply_to', input.reply_to)
  let recipients = 0
  for (const field of ['to', 'cc', 'bcc'] as const)
    for (const [at, text] of (input[field] ?? []).entries()) {
      recipients += 1
      mailbox(`/${field}/${at}`, text)
    }
  if (recipients === 0) fault('/to', 'is missing: there is no recipient at all')
  if (recipients > MAX_RECIPIENTS)
    fault('', `has ${recipients} recipients, at most ${MAX_RECIPIENTS} are allowed`)
  if (input.text === undefined && input.html === undefined) fault('/text', 'is missing, and so is html')
  for (const field of ['text', 'html'] as const)
    if (input[field]?.isWellFormed() === false) fault(`/${field}`, 'has broken Unicode')
  if (!isLine(input.subject)) fault('/subject', 'must be one line of printable characters')
  for (const [name, value] of Object.entries(input.headers ?? {}))
    if (!isLine(value)) fault(`/headers/${name}`, 'must be one line of printable characters')
  return [...faults, ...attachmentFaults(input.attachments ?? [])]
}

function attachmentFaults(attachments: NonNullable<MailInput['attachments']>): ProblemDetail[] {
  const faults: ProblemDetail[] = []
  let bytes = 0
  for (const [at, { filename, content_base64: content, content_type: type }] of attachments.entries()) {
    const path = `/attachments/${at}`
    if (!isLine(filename) || /[/\\]/.test(filename))
      faults.push({ path: `${path}/filename`, message: 'must be a plain name without folders' })
    if (type !== undefined && /^(multipart|message)\//i.test(type))
      faults.push({ path: `${path}/content_type`, message: 'must be a type of files' })
    bytes += Buffer.byteLength(content, 'base64')
    if (Buffer.from(content, 'base64').toString('base64') !== content)
      faults.push({ path: `${path}/content_base64`, message: 'is not base64' })
  }
  if (bytes > MAX_ATTACHED_BYTES)
    faults.push({
      path: '/attachments',
      message: `have ${bytes} bytes together, at most ${MAX_ATTACHED_BYTES} are allowed`,
    })
  return faults
}
