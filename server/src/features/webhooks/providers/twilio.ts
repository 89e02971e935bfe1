import { createHash, createHmac } from 'node:crypto'
import { equalInConstantTime, type Secret } from '../../../platform/secret.ts'
import {
  defineProvider,
  notAnEvent,
  type ProviderEvent,
  type SignedRequest,
  type Verdict,
} from '../provider.ts'
import { formFields, isJson, momentOf, objectOf } from '../provider-parts/request-body.ts'
import { refused, sameSignature, signedHeader, verdictOf } from '../provider-parts/request-headers.ts'

const SIGNATURE_HEADER = 'x-twilio-signature'
/** Base64 of the 20 bytes of SHA-1. */
const SIGNATURE = /^[A-Za-z0-9+/]{27}=$/
const BODY_DIGEST = /[?&]bodySHA256=([0-9a-fA-F]{64})(?:[&#]|$)/
const ADDRESS = /^(https?:)(\/\/(?:\[[^\]]*\]|[^/?#:]*))(:\d+)?(.*)$/s

/** The fields behind the address: by name, and of a field that is there twice each value once. */
const signedFields = (params: ReturnType<typeof formFields>): string =>
  Object.keys(params)
    .sort()
    .flatMap((name) => [...new Set([params[name] ?? ''].flat())].sort().map((value) => `${name}${value}`))
    .join('')

/** Twilio signs the address with or without the port, whatever was configured. */
function addressesOf(url: string): readonly string[] {
  const [, scheme, host, port, rest] = ADDRESS.exec(url) ?? []
  if (scheme === undefined) return [url]
  const usual = scheme === 'https:' ? ':443' : ':80'
  return [`${scheme}${host}${rest}`, `${scheme}${host}${port ?? usual}${rest}`]
}

/**
 * What is signed behind the address: nothing where the address has the digest of the body, else the fields of a form.
 * Undefined when the body is neither: what is signed as a form must not be read as JSON.
 */
function behindAddress({ raw }: SignedRequest, url: string): string | undefined {
  const digest = BODY_DIGEST.exec(url)?.[1]
  if (digest === undefined) return isJson(raw) && raw.length > 0 ? undefined : signedForm(raw)
  return equalInConstantTime(createHash('sha256').update(raw).digest('hex'), digest.toLowerCase())
    ? ''
    : undefined
}

/** Undefined when the body is no form: percent signs that are no UTF-8 must not all read as the same. */
function signedForm(raw: Buffer): string | undefined {
  try {
    return signedFields(formFields(raw))
  } catch {
    return undefined
  }
}

const signs = (secret: Secret, texts: readonly string[], signature: string): boolean =>
  texts.filter((text) =>
    sameSignature(signature, createHmac('sha1', secret.reveal()).update(text).digest('base64')),
  ).length > 0

function verify(request: SignedRequest, secrets: readonly Secret[]): Verdict {
  const signature = signedHeader(request.headers, SIGNATURE_HEADER)
  if ('cause' in signature) return refused(signature.cause)
  if (!SIGNATURE.test(signature.value)) return refused('signature_malformed')
  if (request.url === undefined) return refused('public_url_unknown')
  const behind = behindAddress(request, request.url)
  if (behind === undefined) return refused('signature_mismatch')
  const texts = addressesOf(request.url).map((address) => `${address}${behind}`)
  return verdictOf(secrets, (secret) => signs(secret, texts, signature.value))
}

/** What the callback is about, and where Twilio says how that is going. The first that is there counts. */
const SUBJECTS = [
  { kind: 'recording', sid: ['RecordingSid'], status: ['RecordingStatus'] },
  { kind: 'transcription', sid: ['TranscriptionSid'], status: ['TranscriptionStatus'] },
  { kind: 'message', sid: ['MessageSid', 'SmsSid'], status: ['MessageStatus', 'SmsStatus'] },
  { kind: 'call', sid: ['CallSid'], status: ['CallStatus'] },
] as const

const EVENT_TYPES = ['EventType', 'StatusCallbackEvent'] as const

function readEvent(parsed: unknown, { raw, nowMs }: SignedRequest): ProviderEvent {
  const fields = objectOf(parsed)
  const textOf = (names: readonly string[]): string | undefined =>
    names
      .map((name) => fields[name])
      .find((value): value is string => typeof value === 'string' && value !== '')
  const account = textOf(['AccountSid'])
  if (account === undefined) throw notAnEvent({ path: '/body/AccountSid', message: 'must be a text' })
  const subject = SUBJECTS.find(({ sid, status }) => textOf(sid) && textOf(status))
  const type = subject ? `${subject.kind}.${textOf(subject.status)}` : (textOf(EVENT_TYPES) ?? 'callback')
  const said = Date.parse(textOf(['Timestamp']) ?? '')
  return {
    // By what is signed alone: Twilio's own token of a request is a header that anybody who repeats it can change.
    // And by the whole of it: names and values are signed as one text, which can be cut into other fields.
    eventId: digestOf(raw),
    type,
    accounts: [account],
    livemode: null,
    occurredAt: momentOf(said) ?? new Date(nowMs),
  }
}

/** Of the signed text, however it is cut into fields: each status of a message or a call has another one. */
const digestOf = (raw: Buffer): string =>
  `sha256-${createHash('sha256')
    .update(isJson(raw) ? raw : signedFields(formFields(raw)))
    .digest('hex')}`

/**
 * Twilio: forms, and JSON whose digest is in the address. The secret is the auth token of the account. What is signed
 * has no time in it, so a repetition is told by its content. Source: twilio.com/docs/usage/webhooks/webhooks-security.
 */
export const twilio = defineProvider({
  name: 'twilio',
  title: 'Twilio',
  keptHeaders: [SIGNATURE_HEADER],
  // Each account has its own token, so a secret that verifies stands for the account.
  accounts: 'any',
  parse: (raw, readJson) => (isJson(raw) ? readJson(raw) : formFields(raw)),
  verify,
  events: (parsed, request) => [readEvent(parsed, request)],
})
