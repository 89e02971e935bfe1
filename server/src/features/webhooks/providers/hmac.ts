import { createHash, createHmac } from 'node:crypto'
import { pointedAt } from '../../../platform/json-pointer.ts'
import type { Secret } from '../../../platform/secret.ts'
import {
  defineProvider,
  type HeaderValues,
  type ProviderEvent,
  type SignedRequest,
  type Verdict,
} from '../provider.ts'
import { msOf, partsOf, timeOf } from '../provider-parts/hmac-headers.ts'
import { HmacSettings, type Place } from '../provider-parts/hmac-settings.ts'
import { signedText } from '../provider-parts/hmac-signed-text.ts'
import { momentOf, parseJsonOrForm } from '../provider-parts/request-body.ts'
import {
  refused,
  sameSignature,
  signedHeader,
  tellingHeader,
  verdictOf,
} from '../provider-parts/request-headers.ts'

const DEFAULT_TOLERANCE_SECONDS = 300
/** One per secret in force is sent, and each costs us a comparison per secret. */
const MAX_SIGNATURES = 10
const ALPHABETS = {
  hex: /^[0-9a-fA-F]+$/,
  base64: /^[A-Za-z0-9+/]+={0,2}$/,
  base64url: /^[A-Za-z0-9_-]+={0,2}$/,
} as const

/** Headers that senders commonly use: kept of requests of which no route, and so no settings, are known. */
const COMMON_HEADERS = [
  'signature',
  'signature-256',
  'hmac-sha256',
  'timestamp',
  'id',
  'event',
  'topic',
  'delivery',
].flatMap((name) => [`x-${name}`, `x-webhook-${name}`, `webhook-${name}`])

/** Undefined when the secret is not written as the settings say: nothing is signed with it. */
function keyOf(secret: Secret, { key = { encoding: 'utf8' } }: HmacSettings): Buffer | undefined {
  const text = secret.reveal()
  const prefix = key.prefix ?? ''
  if (!text.startsWith(prefix)) return undefined
  const written = text.slice(prefix.length)
  const bytes = Buffer.from(written, key.encoding)
  const same = key.encoding === 'hex' ? written.toLowerCase() : written
  return bytes.length > 0 && bytes.toString(key.encoding) === same ? bytes : undefined
}

/** As our own digest is written, so that they can be compared as text. */
function sameForm(given: string, encoding: HmacSettings['signature']['encoding']): string {
  if (encoding === 'hex') return given.toLowerCase()
  return encoding === 'base64url' ? given.replace(/=+$/, '') : given
}

function verify(
  { raw, headers, nowMs }: SignedRequest,
  secrets: readonly Secret[],
  settings: HmacSettings,
): Verdict {
  const { signature, algorithm, signed } = settings
  const parts = partsOf(headers, signature)
  if ('cause' in parts) return refused(parts.cause)
  const given = parts.values
    .filter((value) => ALPHABETS[signature.encoding].test(value))
    .slice(0, MAX_SIGNATURES)
    .map((value) => sameForm(value, signature.encoding))
  if (given.length === 0) return refused('signature_malformed')
  const time = timeOf(headers, settings)
  if (time && 'cause' in time) return refused(time.cause)
  const { event_id: eventId } = settings
  const text = signedText(signed, raw, (placeholder) => {
    if (placeholder === 'timestamp') return time?.text
    const name =
      placeholder === 'id'
        ? eventId && 'header' in eventId && eventId.header
        : placeholder.slice('header:'.length)
    const header = name ? signedHeader(headers, name) : undefined
    return header && 'value' in header ? header.value : undefined
  })
  if (!text) return refused('signature_malformed')
  const verdict = verdictOf(secrets, (secret) => {
    const key = keyOf(secret, settings)
    if (!key) return false
    const expected = text
      .reduce((hmac, part) => hmac.update(part), createHmac(algorithm, key))
      .digest(signature.encoding)
    return given.filter((value) => sameSignature(value, expected)).length > 0
  })
  const tolerance = (settings.timestamp?.tolerance_seconds ?? DEFAULT_TOLERANCE_SECONDS) * 1_000
  return verdict.verified && time && Math.abs(nowMs - time.ms) > tolerance
    ? refused('timestamp_outside_tolerance')
    : verdict
}

/** A text or a whole number of the request; undefined when it has none there. */
function textOf(place: Place | undefined, parsed: unknown, headers: HeaderValues): string | undefined {
  if (!place) return undefined
  const value = 'header' in place ? tellingHeader(headers, place.header) : pointedAt(parsed, place.pointer)
  if (typeof value === 'string') return value === '' ? undefined : value
  return Number.isSafeInteger(value) ? String(value) : undefined
}

function readEvent(
  parsed: unknown,
  { raw, headers, nowMs }: SignedRequest,
  settings: HmacSettings,
): ProviderEvent {
  const { type, account, occurred_at: occurred } = settings
  const said = occurred && textOf(occurred.from, parsed, headers)
  const time = timeOf(headers, settings)
  const ms =
    (said === undefined ? undefined : msOf(said, occurred?.unit ?? 'iso8601')) ??
    (time && 'ms' in time ? time.ms : nowMs)
  const accountId = textOf(account, parsed, headers)
  return {
    eventId:
      textOf(settings.event_id, parsed, headers) ??
      `sha256-${createHash('sha256').update(raw).digest('hex')}`,
    type: (type && ('value' in type ? type.value : textOf(type, parsed, headers))) ?? 'event',
    accounts: accountId === undefined ? [] : [accountId],
    livemode: null,
    occurredAt: momentOf(ms) ?? new Date(nowMs),
  }
}

/** The headers that the settings of a route name. */
function headersNamed({
  signature,
  timestamp,
  event_id,
  type,
  account,
  occurred_at,
  signed,
}: HmacSettings): string[] {
  const places = [signature, timestamp, event_id, type, account, occurred_at?.from]
  const inText = [...signed.matchAll(/\{header:([a-z0-9-]+)\}/g)].map(([, name = '']) => name)
  return [
    ...new Set([...places.flatMap((place) => (place && 'header' in place ? [place.header] : [])), ...inText]),
  ]
}

/**
 * Any sender that signs its body with an HMAC: the settings of a route say how, so that a new sender needs no code.
 * Without them nothing can be read, so it is best called at the address of the route.
 */
export const hmac = defineProvider<typeof HmacSettings>({
  name: 'hmac',
  title: 'HMAC by settings',
  keptHeaders: COMMON_HEADERS,
  headersNamed,
  settings: HmacSettings,
  readsBySettings: true,
  accounts: 'any',
  // By the settings it may be a header that nobody signs.
  accountIsSigned: false,
  parse: parseJsonOrForm,
  verify,
  events: (parsed, request, settings) => [readEvent(parsed, request, settings)],
})
