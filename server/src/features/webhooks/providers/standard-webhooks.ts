import { createHmac, createPublicKey, type KeyObject, verify as verifySignature } from 'node:crypto'
import type { Secret } from '../../../platform/secret.ts'
import {
  type AnyProvider,
  defineProvider,
  type HeaderValues,
  type ProviderEvent,
  type SignedRequest,
  type Verdict,
  type VerifyFailure,
} from '../provider.ts'
import { momentOf, objectOf, textAt } from '../provider-parts/request-body.ts'
import {
  refused,
  requiredHeader,
  sameSignature,
  secondsToMs,
  signedHeader,
  tellingHeader,
  verdictOf,
} from '../provider-parts/request-headers.ts'

type Family = 'webhook' | 'svix'

const TOLERANCE_MS = 300_000
/** No dot: the signed text is joined with dots, and must be readable in one way only. */
const ID = /^[\x21-\x2d\x2f-\x7e]{1,255}$/
const HMAC_SIGNATURE = /^v1,[A-Za-z0-9+/]{43}=$/
const ED25519_SIGNATURE = /^v1a,[A-Za-z0-9+/]{86}==$/
/** Of each kind. Senders make one per key in force, and each costs us a check per secret. */
const MAX_SIGNATURES = 10
const BASE64 = /^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$/
/** The specification asks for 24 to 64 bytes, the keys of Svix itself have 18. */
const [MIN_KEY_BYTES, MAX_KEY_BYTES] = [16, 128]
const PUBLIC_KEY_BYTES = 32

interface Signed {
  /** What is signed before the body. */
  readonly start: string
  readonly sentMs: number
  readonly hmacs: readonly string[]
  readonly ed25519s: readonly string[]
}

/** The family of its own name, else the other: many senders on Svix use both, some only the one we do not expect. */
function familyOf(own: Family, headers: HeaderValues): Family {
  const other = own === 'svix' ? 'webhook' : 'svix'
  return headers[`${own}-signature`] === undefined && headers[`${other}-signature`] ? other : own
}

function readHeaders(family: Family, headers: HeaderValues): Signed | { readonly cause: VerifyFailure } {
  const header = signedHeader(headers, `${family}-signature`)
  if ('cause' in header) return header
  const id = signedHeader(headers, `${family}-id`)
  if ('cause' in id) return id
  const time = signedHeader(headers, `${family}-timestamp`)
  if ('cause' in time) return time
  const sentMs = secondsToMs(time.value)
  const signatures = header.value.split(' ')
  const hmacs = signatures.filter((text) => HMAC_SIGNATURE.test(text)).slice(0, MAX_SIGNATURES)
  const ed25519s = signatures.filter((text) => ED25519_SIGNATURE.test(text)).slice(0, MAX_SIGNATURES)
  return sentMs === undefined || !ID.test(id.value) || hmacs.length + ed25519s.length === 0
    ? { cause: 'signature_malformed' }
    : { start: `${id.value}.${time.value}.`, sentMs, hmacs, ed25519s }
}

/** Undefined for what is no base64 in the one way to write it. */
function bytesOf(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64')
  return BASE64.test(text) && bytes.toString('base64') === text ? bytes : undefined
}

function publicKey(bytes: Buffer): KeyObject | undefined {
  if (bytes.length !== PUBLIC_KEY_BYTES) return undefined
  try {
    const jwk = { kty: 'OKP', crv: 'Ed25519', x: bytes.toString('base64url') }
    return createPublicKey({ key: jwk, format: 'jwk' })
  } catch {
    return undefined
  }
}

/** `whpk_` is the public key of the sender; everything else is a shared key. A private key (`whsk_`) is not ours to have. */
function signs(secret: Secret, raw: Buffer, { start, hmacs, ed25519s }: Signed): boolean {
  const [, prefix = '', text = ''] = /^(wh[a-z]+_)?(.*)$/s.exec(secret.reveal()) ?? []
  const bytes = bytesOf(text)
  if (!bytes) return false
  if (prefix === 'whpk_') {
    const key = publicKey(bytes)
    const signed = Buffer.concat([Buffer.from(start), raw])
    return key !== undefined && ed25519s.some((given) => fitsKey(given.slice('v1a,'.length), key, signed))
  }
  if ((prefix !== '' && prefix !== 'whsec_') || bytes.length < MIN_KEY_BYTES || bytes.length > MAX_KEY_BYTES)
    return false
  const expected = `v1,${createHmac('sha256', bytes).update(start).update(raw).digest('base64')}`
  return hmacs.filter((given) => sameSignature(given, expected)).length > 0
}

function fitsKey(text: string, key: KeyObject, signed: Buffer): boolean {
  const signature = bytesOf(text)
  return signature !== undefined && verifySignature(null, signed, key, signature)
}

function verify(own: Family, { raw, headers, nowMs }: SignedRequest, secrets: readonly Secret[]): Verdict {
  const signed = readHeaders(familyOf(own, headers), headers)
  if ('cause' in signed) return refused(signed.cause)
  const verdict = verdictOf(secrets, (secret) => signs(secret, raw, signed))
  return verdict.verified && Math.abs(nowMs - signed.sentMs) > TOLERANCE_MS
    ? refused('timestamp_outside_tolerance')
    : verdict
}

function readEvent(own: Family, parsed: unknown, { headers, nowMs }: SignedRequest): ProviderEvent {
  const body = objectOf(parsed)
  const family = familyOf(own, headers)
  const sentMs = secondsToMs(tellingHeader(headers, `${family}-timestamp`) ?? '')
  return {
    // Signed, and the same in every attempt.
    eventId: requiredHeader(headers, `${family}-id`),
    // The specification only recommends `type`; Svix's own examples have the others.
    type: textAt(body, 'type') ?? textAt(body, 'event_type') ?? textAt(body, 'eventType') ?? 'event',
    accounts: [],
    livemode: null,
    occurredAt:
      momentOf(Date.parse(textAt(body, 'timestamp') ?? '')) ?? momentOf(sentMs ?? nowMs) ?? new Date(nowMs),
  }
}

const ofFamily = (own: Family, name: string, title: string): AnyProvider =>
  defineProvider({
    name,
    title,
    keptHeaders: (['webhook', 'svix'] as const).flatMap((family) =>
      ['id', 'timestamp', 'signature'].map((part) => `${family}-${part}`),
    ),
    // The secret belongs to one endpoint, and says whose event it is.
    accounts: 'claimed',
    verify: (request, secrets) => verify(own, request, secrets),
    events: (parsed, request) => [readEvent(own, parsed, request)],
  })

/**
 * Whoever signs as Standard Webhooks 1.0.0 says, with a shared key (`v1`) or with ed25519 (`v1a`).
 * Source: github.com/standard-webhooks/standard-webhooks (spec/standard-webhooks.md).
 */
export const standardWebhooks = ofFamily('webhook', 'standard-webhooks', 'Standard Webhooks')

/** The same scheme under the header names of Svix. Source: docs.svix.com/receiving/verifying-payloads/how-manual. */
export const svix = ofFamily('svix', 'svix', 'Svix')
