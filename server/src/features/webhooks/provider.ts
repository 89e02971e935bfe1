import type { Secret } from '../../platform/secret.ts'
import { Problem, type ProblemDetail } from '../../problems.ts'

/** Request headers with every value apart (names in lower case): a header sent twice must stay visible. */
export type HeaderValues = Readonly<Record<string, readonly string[] | undefined>>

/** Why a signature was not accepted: for the log and the metric, never for the sender. */
export type VerifyFailure =
  | 'signature_missing'
  | 'signature_malformed'
  | 'signature_mismatch'
  | 'timestamp_outside_tolerance'
  | 'no_usable_secret'

export type Verdict =
  | { readonly verified: true; readonly secret: Secret }
  | { readonly verified: false; readonly cause: VerifyFailure }

/** What the hub has to know of an event, whoever sent it. */
export interface ProviderEvent {
  /** The sender's id of the event, the same in every repetition. */
  readonly eventId: string
  readonly type: string
  /** The account of the sender that the event belongs to; null = the sender says no account. */
  readonly account: string | null
  readonly livemode: boolean
  readonly occurredAt: Date
}

/** One sender of webhooks. Adding one = a file in `providers/` and a line in its registry. */
export interface WebhookProvider {
  /** As in the path `/webhooks/:provider`. */
  readonly name: string
  readonly title: string
  /** Headers (lower case) stored beside the payload as evidence. Never cookies or authorization. */
  readonly keptHeaders: readonly string[]
  /** Checks the signature over the bytes as they arrived, in constant time, against each secret. */
  verify(raw: Buffer, headers: HeaderValues, secrets: readonly Secret[], nowMs: number): Verdict
  /** Reads an event out of the parsed body. Errors: `validation_error` that names the field. */
  event(parsed: unknown): ProviderEvent
}

/** Ids and types go into text columns, log lines and job inputs: printable ASCII only. */
const PLAIN_TEXT = /^[\x21-\x7e]{1,255}$/

/** The refusal of a body that is JSON but no event of its provider. */
export const notAnEvent = (...details: ProblemDetail[]): Problem =>
  new Problem('validation_error', 'The body is not an event of this provider.', { details })

/**
 * Declares a provider. The rules that hold for all of them are added here, so that no provider can forget
 * one: an empty secret never verifies anything, and names that leave the provider's code are plain text.
 */
export function defineProvider(provider: WebhookProvider): WebhookProvider {
  return {
    ...provider,
    verify: (raw, headers, secrets, nowMs) => {
      const usable = secrets.filter((secret) => secret.reveal() !== '')
      if (usable.length === 0) return { verified: false, cause: 'no_usable_secret' }
      return provider.verify(raw, headers, usable, nowMs)
    },
    event: (parsed) => {
      const event = provider.event(parsed)
      const texts = { id: event.eventId, type: event.type, account: event.account ?? 'none' }
      const faults = Object.entries(texts).filter(([, text]) => !PLAIN_TEXT.test(text))
      if (faults.length === 0) return event
      throw notAnEvent(
        ...faults.map(([name]) => ({
          path: `/body/${name}`,
          message: 'must be 1 to 255 printable ASCII characters',
        })),
      )
    },
  }
}
