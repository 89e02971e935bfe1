import type { Static, TObject } from 'typebox'
import { parseJson } from '../../platform/http/json-body.ts'
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
  /** The signature is over the address that the sender called, and the hub does not know its own (`INGRESS_PUBLIC_URL`). */
  | 'public_url_unknown'

export type Verdict =
  | { readonly verified: true; readonly secret: Secret }
  | { readonly verified: false; readonly cause: VerifyFailure }

/** A request of a provider as it arrived: what signatures are over. */
export interface SignedRequest {
  readonly raw: Buffer
  readonly headers: HeaderValues
  /**
   * What the sender called: the public address of this ingress (`INGRESS_PUBLIC_URL`, never the Host header) with
   * the path and query of the request. Undefined when the hub does not know its public address.
   */
  readonly url: string | undefined
  readonly nowMs: number
}

/** What a provider may need beside the request. */
export interface ProviderTools {
  /**
   * GET over the guarded dial, at most 64 KiB; undefined = the server says that there is no such file. Errors: any
   * other failure; nobody can say then. Absent: nothing is asked for in this check, what is not known verifies nothing.
   */
  readonly fetch?: (url: string) => Promise<Buffer | undefined>
}

/** What the hub has to know of an event, whoever sent it. */
export interface ProviderEvent {
  /** The sender's id of the event, the same in every repetition. */
  readonly eventId: string
  readonly type: string
  /** The names under which a route may claim the event, the most telling first; none = the sender says no account. */
  readonly accounts: readonly string[]
  /** Null: the provider has no such thing; the event is of the route that verifies it. */
  readonly livemode: boolean | null
  readonly occurredAt: Date
  /** What is delivered to the product, and what is kept of the request: where one request has several events, of each only its own part. Absent = the body. */
  readonly part?: { readonly payload: unknown; readonly bytes: Buffer }
}

/** An answer in the words of the provider. */
export interface WebhookReply {
  readonly status: number
  readonly contentType: string
  readonly body: string
}

/** One sender of webhooks. Adding one = a file in `providers/` and a line in its registry. */
export interface WebhookProvider<Settings = Readonly<Record<string, unknown>>> {
  /** As in the path `/webhooks/:provider`. */
  readonly name: string
  readonly title: string
  /** Headers (lower case) stored beside the payload as evidence. Never cookies or authorization. */
  readonly keptHeaders: readonly string[]
  /** Kept too: the headers that the settings of a route name. */
  headersNamed?(settings: Settings): readonly string[]
  /** What a route of this provider says beside its secrets: `settings` of the route. Absent = nothing. */
  readonly settings?: TObject
  /**
   * True: without the settings of a route nothing can be read of a request, so every route of the provider is asked.
   */
  readonly readsBySettings?: boolean
  /**
   * `claimed`: an event that names an account goes only to the route that claims it. `any`: a route without an
   * account takes the events of all accounts that its secret verifies, unless another route claims theirs.
   */
  readonly accounts: 'claimed' | 'any'
  /** False: the account is read from what the signature does not cover, and is believed only when one workspace alone knows the secret. Default true. */
  readonly accountIsSigned?: boolean
  /**
   * The body as `events` reads it. From the bytes alone: a header that nobody signs must not decide what signed bytes
   * say. JSON in it is read by `readJson`. Absent = JSON. Errors: `malformed_body`.
   */
  parse?(raw: Buffer, readJson: ReadJson): unknown
  /** Checks the signature over the bytes as they arrived, in constant time, against each secret. */
  verify(
    request: SignedRequest,
    secrets: readonly Secret[],
    settings: Settings,
    tools: ProviderTools,
  ): Verdict | Promise<Verdict>
  /** The events of the request, at least one unless it is a handshake. Errors: `validation_error` that names the field. */
  events(parsed: unknown, request: SignedRequest, settings: Settings): readonly ProviderEvent[]
  /** The answer to a request that is no event but a question whether we are there. Asked before `events`; only a verified one is answered. */
  handshake?(parsed: unknown, request: SignedRequest): WebhookReply | undefined
  /** The answer to what was taken. Absent = the hub's own JSON. */
  readonly reply?: WebhookReply
}

/** Ids and types go into text columns, log lines and job inputs: printable ASCII only. */
const PLAIN_TEXT = /^[\x21-\x7e]{1,255}$/
/** More events in one request than any provider sends. */
const MAX_EVENTS = 100

/** The refusal of a body that is JSON but no event of its provider. */
export const notAnEvent = (...details: ProblemDetail[]): Problem =>
  new Problem('validation_error', 'The body is not an event of this provider.', { details })

/** A provider whose rules of settings are erased: routes hold settings that its schema has accepted. */
export type AnyProvider = WebhookProvider & {
  /** `readJson` absent: numbers as JavaScript has them. */
  parse(raw: Buffer, readJson?: ReadJson): unknown
}

/** Reads JSON bytes. Errors: `malformed_body`. */
export type ReadJson = (bytes: Buffer) => unknown

/**
 * Declares a provider. The rules that hold for all of them are added here, so that no provider can forget
 * one: an empty secret never verifies anything, and names that leave the provider's code are plain text.
 */
export function defineProvider<Schema extends TObject = TObject>(
  provider: Omit<WebhookProvider<Static<Schema>>, 'settings'> & { readonly settings?: Schema },
): AnyProvider {
  // The schema has accepted the settings of every route before the route was stored.
  const erased = provider as unknown as WebhookProvider
  return {
    ...erased,
    parse: (raw, readJson = parseJson) => (erased.parse ? erased.parse(raw, readJson) : readJson(raw)),
    verify: (request, secrets, settings, tools) => {
      const usable = secrets.filter((secret) => secret.reveal() !== '')
      if (usable.length === 0) return { verified: false, cause: 'no_usable_secret' }
      return erased.verify(request, usable, settings, tools)
    },
    events: (parsed, request, settings) => {
      const events = erased.events(parsed, request, settings)
      if (events.length === 0 || events.length > MAX_EVENTS)
        throw notAnEvent({ path: '/body', message: `must have 1 to ${MAX_EVENTS} events` })
      for (const event of events) requirePlainTexts(event)
      return events
    },
  }
}

function requirePlainTexts(event: ProviderEvent): void {
  const texts = [
    ['id', event.eventId],
    ['type', event.type],
    ...event.accounts.map((account) => ['account', account] as const),
  ] as const
  const faults = texts.filter(([, text]) => !PLAIN_TEXT.test(text))
  if (faults.length === 0) return
  throw notAnEvent(
    ...faults.map(([name]) => ({
      path: `/body/${name}`,
      message: 'must be 1 to 255 printable ASCII characters',
    })),
  )
}
