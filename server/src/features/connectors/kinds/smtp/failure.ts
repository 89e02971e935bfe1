import type SmtpConnection from 'nodemailer/lib/smtp-connection'
import type { Secret } from '../../../../platform/secret.ts'
import { Problem } from '../../../../problems.ts'
import { type CallEffect, CallFailure, type FailureClass } from '../../../../resilience/failure.ts'
import { scrubValue } from '../../scrub.ts'
import type { Reached } from './session.ts'

/** The words of a server that stand in a message; the rest is noise. */
const MAX_WORDS = 300

/** What nodemailer says of an error, as far as it is used here. */
interface SmtpError {
  readonly code?: string
  readonly responseCode?: number
  readonly response?: string
  readonly command?: string
}

/**
 * The failure of a session. An answer decides by its first digit (RFC 5321 §4.2.1): 4 means "not taken, try again
 * later", 5 "not taken, do not", at whatever point it comes. Without an answer it counts how far the message was.
 */
export function failureOfSmtp(
  cause: unknown,
  reached: Reached,
  connection: Pick<SmtpConnection, 'upgrading'>,
  context: { readonly signal: AbortSignal; readonly secrets: Readonly<Record<string, Secret>> },
): Error {
  if (cause instanceof Problem || cause instanceof CallFailure) return cause
  const failure = (failureClass: FailureClass, kind: string, message: string, said?: CallEffect) =>
    new CallFailure({
      class: failureClass,
      // A server drops what it has of a message that did not come to its end.
      effect: said ?? (failureClass === 'outcome_unknown' ? 'unknown' : 'not_sent'),
      kind,
      message,
      cause: withoutWords(cause),
    })
  if (context.signal.aborted) {
    const timedOut = context.signal.reason instanceof Error && context.signal.reason.name === 'TimeoutError'
    return timedOut
      ? failure(unanswered(reached), 'timeout', 'The mail server did not answer in time.')
      : failure(unanswered(reached), 'aborted', 'The request was given up.')
  }
  const { code, responseCode, response, command } = cause as SmtpError
  if (responseCode !== undefined && responseCode >= 400 && responseCode < 600) {
    const permanent = responseCode >= 500
    const words = wordsOf(response, Object.values(context.secrets))
    const place = command === undefined || command === 'CONN' ? 'the connection' : command
    return failure(
      permanent ? 'permanent' : reached === 'greeting' ? 'never_sent' : 'safe_to_repeat',
      permanent && code === 'EAUTH' ? 'auth_failed' : `smtp_${permanent ? 5 : 4}xx`,
      `The mail server answered ${place} with ${words}`,
      reached === 'greeting' ? 'not_sent' : permanent ? 'refused' : 'put_off',
    )
  }
  if (code === 'EAUTH')
    return failure('permanent', 'auth_failed', 'The mail server offers no login that the hub can use.')
  if (code === 'EMESSAGE')
    return failure('permanent', 'message_too_large', 'The message is larger than the mail server takes.')
  if (code === 'ETLS' || connection.upgrading === true)
    return failure(
      'never_sent',
      'tls',
      'No secure connection to the mail server: its certificate or its TLS is not acceptable.',
    )
  if (code === 'EPROTOCOL')
    return failure(unanswered(reached), 'protocol', 'The mail server does not speak proper SMTP.')
  return failure(unanswered(reached), 'reset', 'The mail server closed the connection.')
}

/** Until the dot that ends it a message is not a message: a server drops what it has of one. */
const unanswered = (reached: Reached): FailureClass =>
  reached === 'greeting' ? 'never_sent' : reached === 'ended' ? 'outcome_unknown' : 'safe_to_repeat'

/** An answer of a server on one line, without our secrets, which some echo. */
export function wordsOf(response: string | undefined, secrets: readonly Secret[]): string {
  const line = (response ?? '')
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is taken out
    .replaceAll(/[\u0000-\u001f\u007f-\u009f]+/g, ' ')
    .trim()
    .slice(0, MAX_WORDS)
  return String(scrubValue(line, secrets))
}

/** Nodemailer's errors carry whole answers; what of them is fit to be kept stands in our message. */
const withoutWords = (cause: unknown): { readonly code?: string; readonly name?: string } => {
  const { code, name } = cause as { readonly code?: unknown; readonly name?: unknown }
  return {
    ...(typeof code === 'string' && { code }),
    ...(typeof name === 'string' && { name }),
  }
}
