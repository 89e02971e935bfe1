import {
  type DryRunContext,
  defineConnector,
  type Health,
  type HealthContext,
  type InvokeContext,
  type InvokeResult,
} from '../define-connector.ts'
import { failureOfSmtp, wordsOf } from './smtp/failure.ts'
import { MAIL_INPUT, MAIL_OUTPUT, type MailInput, mailFaults } from './smtp/input.ts'
import { signingKey, signMail, writeMail } from './smtp/message.ts'
import { inSession, type Session } from './smtp/session.ts'
import { SmtpSettings, serverOf, smtpFaults } from './smtp/settings.ts'

/** Of a message that a dry run shows. */
const SHOWN_BYTES = 32 * 1024

/** Mail through a server of the workspace's own. One connection per attempt: a session has the secrets of one workspace. */
export const smtp = defineConnector({
  kind: 'smtp',
  title: 'Mail (SMTP)',
  description: 'Sends mail through an SMTP server: text, HTML, attachments, DKIM.',
  settings: SmtpSettings,
  secrets: {
    username: {
      title: 'User name',
      description: 'For the login. Absent, like the password = no login.',
      required: false,
    },
    password: { title: 'Password', description: 'For the login.', required: false },
    dkim_private_key: {
      title: 'DKIM private key',
      description: 'RSA private key in PEM that signs the messages; for the settings `dkim`.',
      required: false,
    },
  },
  // Mail servers make strangers wait on purpose, before their greeting and before they take a message.
  policy: { timeouts: { attempt_ms: 30_000, total_ms: 60_000 } },
  check: smtpFaults,
  targets: (settings) => [{ path: '/settings/host', ...serverOf(settings) }],
  operations: (settings) => ({
    send: {
      title: 'Send a message',
      description:
        'Hands one message to the mail server. Done when the server has taken it for at least one recipient.',
      input: MAIL_INPUT,
      output: MAIL_OUTPUT,
      safe: false,
      // Receivers may know the message id again, but no server promises to.
      takesIdempotencyKey: false,
      checkInput: (input) => mailFaults(settings, input as MailInput),
      invoke: (context) => send(settings, context),
      dryRun: (context) => preview(settings, context),
    },
  }),
  checkHealth,
})

async function send(settings: SmtpSettings, context: InvokeContext): Promise<InvokeResult> {
  const written = await writeMail(
    settings,
    context.input as MailInput,
    context.idempotencyKey,
    context.clock.now(),
  )
  const mail = await signMail(settings, written, context.secrets.dkim_private_key)
  const info = await session(settings, context, ({ send }) => send(mail))
  const secrets = Object.values(context.secrets)
  const refusals = new Map(
    (info.rejectedErrors ?? []).map(({ recipient, response }) => [recipient, wordsOf(response, secrets)]),
  )
  return {
    output: {
      message_id: mail.messageId,
      accepted: info.accepted,
      rejected: info.rejected.map((address) => ({ address, response: refusals.get(address) ?? '' })),
      response: wordsOf(info.response, secrets),
    },
    httpStatus: null,
  }
}

const session = <Result>(
  settings: SmtpSettings,
  context: HealthContext,
  use: (session: Session) => Promise<Result>,
): Promise<Result> =>
  inSession(settings, context, use, (error, reached, connection) =>
    failureOfSmtp(error, reached, connection, context),
  )

async function preview(settings: SmtpSettings, context: DryRunContext): Promise<unknown> {
  const mail = await writeMail(
    settings,
    context.input as MailInput,
    context.idempotencyKey,
    context.clock.now(),
  )
  if (settings.dkim) signingKey(context.secrets.dkim_private_key)
  return {
    server: { ...serverOf(settings), tls: settings.tls, login: context.secrets.password !== undefined },
    envelope: { from: mail.from, to: mail.recipients },
    message_id: mail.messageId,
    bytes: mail.bytes.length,
    ...(settings.dkim && { dkim: settings.dkim }),
    message: mail.bytes.subarray(0, SHOWN_BYTES).toString('utf8'),
  }
}

async function checkHealth(settings: SmtpSettings, context: HealthContext): Promise<Health> {
  if (settings.dkim) signingKey(context.secrets.dkim_private_key)
  const { tlsVersion, login } = await session(settings, context, async ({ tlsVersion, connection }) => ({
    tlsVersion,
    login: connection.authenticated,
  }))
  return {
    healthy: true,
    message: login
      ? 'The mail server takes the login.'
      : 'The mail server answers; there is no login to try.',
    details: { tls: tlsVersion ?? 'none', login },
  }
}
