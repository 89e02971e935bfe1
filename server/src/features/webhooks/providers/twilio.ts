import { createHash, createHmac } from 'node:crypto'
import { parseJson } from '../../../platform/http/json-body.ts'
import { equalInConstantTime, type Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import {
  defineProvider,
  notAnEvent,
  type ProviderEvent,
  type SignedRequest,
  type Verdict,
} from '../provider.ts'
import { momentOf, objectOf } from '../request-body.ts'

const SIGNATURE_HEADER = 'x-twilio-signature'
/** Base64 of the 20 bytes of SHA-1. */
const SIGNATURE = /^[A-Za-z0-9+/]{27}=$/
const BODY_DIGEST = /[?&]bodySHA256=([0-9a-fA-F]{64})(?:[&#]|$)/
const ADDRESS = /^(https?:)(\/\/(?:\[[^\]]*\]|[^/?#:]*))(:\d+)?(.*)$/s
const JSON_START = /^\s*[{[]/
const ASCII = /^[\x20-\x7e]*$/

type Params = Readonly<Record<string, string | readonly string[]>>

const decoded = (text: string): string => decodeURIComponent(text.replaceAll('+', ' '))

/** The fields of a form. Undefined for what is none: percent signs that are no UTF-8 must not all read as the same. */
function readForm(raw: Buffer): Params | undefined {
  const text = raw.toString('latin1')
  if (!ASCII.test(text)) return undefined
  const params = new Map<string, string[]>()
  try {
    for (const field of text.split('&')) {
      if (field === '') continue
      const at = field.includes('=') ? field.indexOf('=') : field.length
      const name = decoded(field.slice(0, at))
      params.set(name, [...(params.get(name) ?? []), decoded(field.slice(at + 1))])
    }
  } catch {
    return undefined
  }
  return Object.fromEntries(
    [...params].map(([name, values]) => [name, values.length === 1 ? (values[0] ?? '') : values]),
  )
}

/** The fields behind the address: by name, and of a field that is there twice each value once. */
const signedFields = (params: Params): string =>
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

/** What is signed behind the address: nothing where the address has the digest of the body. Undefined when the body is neither. */
function behindAddress({ raw }: SignedRequest, url: string): string | undefined {
  const digest = BODY_DIGEST.exec(url)?.[1]
  if (digest === undefined) {
    const form = readForm(raw)
    return form && signedFields(form)
  }
  return equalInConstantTime(createHash('sha256').update(raw).digest('hex'), digest.toLowerCase())
    ? ''
    : undefined
}

const signs = (secret: Secret, texts: readonly string[], signature: string): boolean =>
  texts.filter((text) =>
    equalInConstantTime(createHmac('sha1', secret.reveal()).update(text).digest('base64'), signature),
  ).length > 0

function verify(request: SignedRequest, secrets: readonly Secret[]): Verdict {
  const [signature, ...more] = request.headers[SIGNATURE_HEADER] ?? []
  if (signature === undefined || signature === '') return { verified: false, cause: 'signature_missing' }
  if (more.length > 0 || !SIGNATURE.test(signature)) return { verified: false, cause: 'signature_malformed' }
  if (request.url === undefined) return { verified: false, cause: 'public_url_unknown' }
  const behind = behindAddress(request, request.url)
  if (behind === undefined) return { verified: false, cause: 'signature_mismatch' }
  const texts = addressesOf(request.url).map((address) => `${address}${behind}`)
  const secret = secrets.find((candidate) => signs(candidate, texts, signature))
  return secret ? { verified: true, secret } : { verified: false, cause: 'signature_mismatch' }
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
    // Several requests of one call have the same status, so the digest of all fields is part of it.
    eventId: [subject && textOf(subject.sid), subject && textOf(subject.status), digestOf(raw)]
      .filter(Boolean)
      .join('.'),
    type,
    accounts: [account],
    livemode: null,
    occurredAt: momentOf(said) ?? new Date(nowMs),
  }
}

const digestOf = (raw: Buffer): string => {
  const form = readForm(raw)
  return createHash('sha256')
    .update(form ? signedFields(form) : raw)
    .digest('hex')
    .slice(0, 32)
}

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
  // By the bytes alone, because the address is not kept with them: a form begins with the name of a field.
  parse: ({ raw }) => {
    if (JSON_START.test(raw.toString('latin1', 0, 100))) return parseJson(raw)
    const form = readForm(raw)
    if (!form) throw new Problem('malformed_body', 'The body is not a form.')
    // As JSON would be refused, so that no reader of the fields meets a poisoned name.
    return parseJson(Buffer.from(JSON.stringify(form)))
  },
  verify,
  events: (parsed, request) => [readEvent(parsed, request)],
})
