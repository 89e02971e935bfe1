import { constants, type KeyObject, verify as verifySignature } from 'node:crypto'
import { crc32 } from 'node:zlib'
import type { Secret } from '../../../platform/secret.ts'
import {
  defineProvider,
  notAnEvent,
  type ProviderEvent,
  type ProviderTools,
  type SignedRequest,
  type Verdict,
} from '../provider.ts'
import { certificateAddress, createPaypalCertificates } from '../provider-parts/paypal-certificates.ts'
import { momentOf, objectOf } from '../provider-parts/request-body.ts'
import { refused, signedHeader, tellingHeader, verdictOf } from '../provider-parts/request-headers.ts'

/**
 * PayPal repeats a request up to 25 times within 3 days and does not say that it signs each one anew: a shorter limit
 * could refuse the last of them. What is repeated within it is the same event, whose id is remembered far longer.
 */
const TOLERANCE_MS = 73 * 3_600_000
const SIGNATURE_HEADER = 'paypal-transmission-sig'
const HEADERS = {
  id: 'paypal-transmission-id',
  time: 'paypal-transmission-time',
  certificate: 'paypal-cert-url',
  algorithm: 'paypal-auth-algo',
} as const
/** PayPal's keys have 2,048 bits; one of 4,096 makes 684 characters. */
const SIGNATURE = /^(?=.{4,684}$)(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
const TRANSMISSION_ID = /^[\w-]{1,100}$/
const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?Z$/

const signs = (
  secret: Secret,
  [id, time]: readonly string[],
  raw: Buffer,
  key: KeyObject,
  signature: Buffer,
) =>
  verifySignature(
    'sha256',
    Buffer.from(`${id}|${time}|${secret.reveal()}|${crc32(raw)}`),
    { key, padding: constants.RSA_PKCS1_PADDING },
    signature,
  )

const keyAt = createPaypalCertificates()

async function verify(
  { raw, headers, nowMs }: SignedRequest,
  secrets: readonly Secret[],
  _settings: unknown,
  tools: ProviderTools,
): Promise<Verdict> {
  const given = signedHeader(headers, SIGNATURE_HEADER)
  if ('cause' in given) return refused(given.cause)
  const said = [HEADERS.id, HEADERS.time, HEADERS.certificate, HEADERS.algorithm].map((name) =>
    signedHeader(headers, name),
  )
  const [id = '', time = '', address = '', algorithm] = said.map((one) => ('value' in one ? one.value : ''))
  const at = certificateAddress(address)
  if (!at || algorithm !== 'SHA256withRSA') return refused('signature_malformed')
  const text = given.value
  const signature = Buffer.from(text, 'base64')
  // The last character of base64 has spare bits: there is one way to write a signature.
  if (!SIGNATURE.test(text) || signature.toString('base64') !== text) return refused('signature_malformed')
  const sentMs = Date.parse(time)
  if (!TRANSMISSION_ID.test(id) || !TIME.test(time) || Number.isNaN(sentMs))
    return refused('signature_malformed')
  const key = await keyAt(at, nowMs, tools)
  if (!key) return refused('signature_mismatch')
  const verdict = verdictOf(secrets, (secret) => signs(secret, [id, time], raw, key, signature))
  return verdict.verified && Math.abs(nowMs - sentMs) > TOLERANCE_MS
    ? refused('timestamp_outside_tolerance')
    : verdict
}

function readEvent(parsed: unknown, { headers }: SignedRequest): ProviderEvent {
  const { id, event_type: type, create_time: created } = objectOf(parsed)
  if (typeof id !== 'string') throw notAnEvent({ path: '/body/id', message: 'must be a text' })
  if (typeof type !== 'string') throw notAnEvent({ path: '/body/event_type', message: 'must be a text' })
  const occurredAt = typeof created === 'string' ? momentOf(Date.parse(created)) : undefined
  if (!occurredAt)
    throw notAnEvent({ path: '/body/create_time', message: 'must be a time between 1970 and 2100' })
  const certificate = certificateAddress(tellingHeader(headers, HEADERS.certificate) ?? '')
  return {
    eventId: id,
    type,
    // What is signed has the id of the webhook in it, so the secret of a route says whose event it is.
    accounts: [],
    livemode: certificate?.livemode ?? null,
    occurredAt,
  }
}

/**
 * PayPal: the secret of a route is the id of its webhook, which is what PayPal signs beside the body; the key is in a
 * certificate that PayPal serves, and its address says sandbox or live.
 * Source: developer.paypal.com/api/rest/webhooks/rest.
 */
export const paypal = defineProvider({
  name: 'paypal',
  title: 'PayPal',
  keptHeaders: [SIGNATURE_HEADER, ...Object.values(HEADERS)],
  accounts: 'claimed',
  verify,
  events: (parsed, request) => [readEvent(parsed, request)],
})
