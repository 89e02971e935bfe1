import { createHash, createPrivateKey } from 'node:crypto'
import type { Secret } from '../../../../platform/secret.ts'
import { Problem } from '../../../../problems.ts'
import { domainOf, type Mailbox, parseMailbox } from './address.ts'
import { type MailInput, mailFaults } from './input.ts'
import type { SmtpSettings } from './settings.ts'

/** A message as it goes over the wire. */
export interface Mail {
  readonly from: string
  /** Everyone who gets it, each once. */
  readonly recipients: readonly string[]
  readonly messageId: string
  readonly bytes: Buffer
}

/**
 * Writes a message down. `now` is in epoch ms. Errors: `input_invalid` for what cannot be written. The message id is
 * made from the idempotency key and the recipients: a receiver that gets a repetition knows it again.
 */
export async function writeMail(
  settings: SmtpSettings,
  input: MailInput,
  idempotencyKey: string,
  now: number,
): Promise<Mail> {
  const details = mailFaults(settings, input)
  const from = parseMailbox(input.from ?? settings.from ?? '')
  if (details.length > 0 || !from)
    throw new Problem('input_invalid', 'The input cannot be sent to the upstream.', { details })
  const [to, cc, bcc] = [mailboxes(input.to), mailboxes(input.cc), mailboxes(input.bcc)]
  const recipients = [...new Set([...to, ...cc, ...bcc].map(({ address }) => address))]
  const digest = createHash('sha256').update(JSON.stringify([idempotencyKey, from.address, recipients]))
  const messageId = `<${digest.digest('hex').slice(0, 40)}@${domainOf(from)}>`
  const [replyTo] = mailboxes(input.reply_to === undefined ? [] : [input.reply_to])
  const { default: MailComposer } = await import('nodemailer/lib/mail-composer')
  const composer = new MailComposer({
    from: asAddress(from),
    to: to.map(asAddress),
    cc: cc.map(asAddress),
    ...(replyTo && { replyTo: asAddress(replyTo) }),
    subject: input.subject,
    ...(input.text !== undefined && { text: input.text }),
    ...(input.html !== undefined && { html: input.html }),
    attachments: (input.attachments ?? []).map(({ filename, content_base64, content_type }) => ({
      filename,
      content: Buffer.from(content_base64, 'base64'),
      contentDisposition: 'attachment',
      ...(content_type !== undefined && { contentType: content_type }),
    })),
    headers: { ...input.headers },
    messageId,
    date: new Date(now),
    newline: '\r\n',
    disableFileAccess: true,
    disableUrlAccess: true,
  })
  return { from: from.address, recipients, messageId, bytes: await composer.compile().build() }
}

const mailboxes = (texts: readonly string[] = []): Mailbox[] =>
  texts.flatMap((text) => parseMailbox(text) ?? [])

const asAddress = ({ name, address }: Mailbox) => ({ name, address })

/** The message with a DKIM signature (RFC 6376). Errors: `secret_unresolved` for a key that cannot sign. */
export async function signMail(settings: SmtpSettings, mail: Mail, key: Secret | undefined): Promise<Mail> {
  if (!settings.dkim) return mail
  const privateKey = signingKey(key)
  const { default: Dkim } = await import('nodemailer/lib/dkim')
  const { domain: domainName, selector: keySelector } = settings.dkim
  const chunks: Buffer[] = []
  for await (const chunk of new Dkim({ domainName, keySelector, privateKey }).sign(mail.bytes))
    chunks.push(chunk as Buffer)
  const bytes = Buffer.concat(chunks)
  // The library sends a message that it could not sign as it is: it would arrive as a forgery.
  if (!bytes.subarray(0, 15).equals(Buffer.from('DKIM-Signature:'))) throw badKey()
  return { ...mail, bytes }
}

/** Errors: `secret_unresolved`. */
export function signingKey(key: Secret | undefined): string {
  try {
    const privateKey = createPrivateKey(key?.reveal() ?? '')
    if (privateKey.asymmetricKeyType === 'rsa')
      return privateKey.export({ format: 'pem', type: 'pkcs8' }).toString()
  } catch {
    // What is wrong with it may quote it.
  }
  throw badKey()
}

const badKey = (): Problem =>
  new Problem('secret_unresolved', 'The value of the secret dkim_private_key is no RSA private key in PEM.')
