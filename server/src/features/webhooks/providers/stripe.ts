import { createHmac, timingSafeEqual } from 'node:crypto'
import type { Secret } from '../../../platform/secret.ts'
import { defineProvider, notAnEvent, type ProviderEvent } from '../provider.ts'
import { momentOf, objectOf } from '../provider-parts/request-body.ts'
import { refused, signedHeader, verdictOf } from '../provider-parts/request-headers.ts'

/** Stripe's own libraries accept 300 s of age; we also refuse what is as far in the future. */
const TOLERANCE_MS = 300_000
const SIGNATURE_HEADER = 'stripe-signature'
const TIMESTAMP = /^\d{1,11}$/
const SIGNATURE = /^[0-9a-f]{64}$/

interface SignatureHeader {
  readonly timestamp: string
  readonly signatures: readonly Buffer[]
}

/** Reads `t=<unix s>,v1=<hex>[,v1=<hex>]`. Other schemes are skipped: `v0` is for Stripe's test events only. */
function readHeader(header: string): SignatureHeader | undefined {
  const fields = header.split(',').map((field) => {
    const equals = field.indexOf('=')
    return { name: field.slice(0, equals), value: field.slice(equals + 1) }
  })
  const [timestamp, ...more] = fields.filter(({ name }) => name === 't').map(({ value }) => value)
  const signatures = fields
    .filter(({ name, value }) => name === 'v1' && SIGNATURE.test(value))
    .map(({ value }) => Buffer.from(value, 'hex'))
  if (timestamp === undefined || more.length > 0 || !TIMESTAMP.test(timestamp)) return undefined
  return signatures.length > 0 ? { timestamp, signatures } : undefined
}

/** The key is the whole `whsec_…` text; unlike in Standard Webhooks nothing is decoded. */
function signs(secret: Secret, raw: Buffer, { timestamp, signatures }: SignatureHeader): boolean {
  const key = secret.reveal()
  // A line break from a secret file: it would never match, and must not be taken for a forged event.
  if (/\s/.test(key)) return false
  const expected = createHmac('sha256', key).update(`${timestamp}.`).update(raw).digest()
  return signatures.filter((signature) => timingSafeEqual(signature, expected)).length > 0
}

/** Snapshot events carry seconds since the epoch, thin events an ISO 8601 text. */
function createdAt(created: unknown): Date | undefined {
  if (typeof created === 'number') return momentOf(Math.floor(created) * 1000)
  return typeof created === 'string' ? momentOf(Date.parse(created)) : undefined
}

/**
 * The connected account. `context` says it where `account` is missing (thin events, organizations); for an
 * account inside an organization it is a path whose last part is the account.
 */
function accountOf({ account, context }: Record<string, unknown>): string | null | undefined {
  const said = account ?? context ?? null
  if (said === null) return null
  return typeof said === 'string' ? said.slice(said.lastIndexOf('/') + 1) : undefined
}

function readEvent(parsed: unknown): ProviderEvent {
  const body = objectOf(parsed)
  const { object, id, type, livemode } = body
  const [account, occurredAt] = [accountOf(body), createdAt(body.created)]
  const fault = (name: string, message: string) => ({ path: `/body/${name}`, message })
  if (object !== 'event' && object !== 'v2.core.event')
    throw notAnEvent(fault('object', 'must be "event" or "v2.core.event"'))
  if (typeof id !== 'string') throw notAnEvent(fault('id', 'must be a text'))
  if (typeof type !== 'string') throw notAnEvent(fault('type', 'must be a text'))
  if (typeof livemode !== 'boolean') throw notAnEvent(fault('livemode', 'must be true or false'))
  if (account === undefined) throw notAnEvent(fault('account', 'must be a text when it is there'))
  if (!occurredAt) throw notAnEvent(fault('created', 'must be a time between 1970 and 2100'))
  return { eventId: id, type, accounts: account === null ? [] : [account], livemode, occurredAt }
}

/** Stripe: snapshot and thin events. Source: docs.stripe.com/webhooks/signature and /connect/webhooks. */
export const stripe = defineProvider({
  name: 'stripe',
  title: 'Stripe',
  keptHeaders: [SIGNATURE_HEADER],
  accounts: 'claimed',
  verify: ({ raw, headers, nowMs }, secrets) => {
    const value = signedHeader(headers, SIGNATURE_HEADER)
    if ('cause' in value) return refused(value.cause)
    const header = readHeader(value.value)
    if (!header) return refused('signature_malformed')
    const verdict = verdictOf(secrets, (secret) => signs(secret, raw, header))
    return verdict.verified && Math.abs(nowMs - Number(header.timestamp) * 1000) > TOLERANCE_MS
      ? refused('timestamp_outside_tolerance')
      : verdict
  },
  events: (parsed) => [readEvent(parsed)],
})
