import type { HeaderValues, ProviderTools, SignedRequest } from '../src/features/webhooks/provider.ts'

/** What the tests choose of an event; the sample chooses the rest. */
export interface SampleEvent {
  readonly id?: string
  readonly type?: string
  /** Absent = the event names no account, where the provider has such events. */
  readonly account?: string
  readonly livemode?: boolean
}

/** True: the provider has it, and the contract test checks it. Else why there is nothing to check. */
export type Applies = true | { readonly no: string }

export interface Unsigned {
  readonly event: SampleEvent
  readonly body: Buffer
  /** The first one is the secret of the route; where a request may carry several signatures, one of each. */
  readonly secrets: readonly string[]
  readonly atMs: number
  /** The public address that the sender calls. */
  readonly url: string
}

/** Most senders change neither body nor address; some put the signature into one of them. */
export interface SignedSample {
  readonly body: Buffer
  readonly headers: Readonly<Record<string, string>>
  readonly url: string
}

/** Where the signature of a request is, so that the tests can damage it. */
export type SignaturePlace =
  | { readonly header: string }
  /** `write(body, undefined)` takes the signature out. */
  | {
      readonly read: (body: Buffer) => string
      readonly write: (body: Buffer, signature: string | undefined) => Buffer
    }

/** What the contract tests need to speak as a provider: signed by its own library, or by code that is not ours. */
export interface WebhookSample {
  /** Two values that the secret of a route may have. */
  readonly secrets: readonly [string, string]
  /** `settings` of the route. */
  readonly settings?: Readonly<Record<string, unknown>>
  /** Where the provider asks somebody else to verify a request. */
  readonly tools?: ProviderTools
  readonly signature: SignaturePlace
  /** How far the signed time may be from ours, in both directions; or why no time is checked. */
  readonly toleranceMs: number | { readonly no: string }
  /** A request may carry a signature for each of several secrets. */
  readonly severalSignatures: Applies
  /** Any change of the body's bytes is noticed, also one that leaves its meaning as it was. */
  readonly allBytesSigned: Applies
  /** The event names an account. */
  readonly account: Applies
  /** The event says whether it is live or a test. */
  readonly livemode: Applies
  /** Where the sender asks whether we are there: how, and what it wants to hear. */
  readonly question?: { readonly body: Buffer; readonly answer: string }
  /** An event, formatted so that parsing it and writing it again changes the bytes. */
  body(event?: SampleEvent): Buffer
  sign(unsigned: Unsigned): SignedSample
}

/** No test calls it: requests reach the hub at a random port, and signatures are over what the sender calls. */
export const PUBLIC_URL = 'https://hooks.example.com'

const noTools: ProviderTools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }

export const toolsOf = (sample: WebhookSample): ProviderTools => sample.tools ?? noTools

/** A request of the sample, signed with its first secret unless told otherwise. */
export function signedSample(
  sample: WebhookSample,
  { event = {}, ...rest }: { readonly event?: SampleEvent; readonly atMs: number } & Partial<Unsigned>,
): SignedSample {
  return sample.sign({
    event,
    body: sample.body(event),
    secrets: [sample.secrets[0]],
    url: `${PUBLIC_URL}/webhooks/sample`,
    ...rest,
  })
}

/** As the hub sees it. */
export const receivedSample = ({ body, headers, url }: SignedSample, nowMs: number): SignedRequest => ({
  raw: body,
  headers: Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name, [value]]),
  ) satisfies HeaderValues,
  url,
  nowMs,
})
