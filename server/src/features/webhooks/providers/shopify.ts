import { createHmac } from 'node:crypto'
import { defineProvider, type ProviderEvent, type SignedRequest } from '../provider.ts'
import { momentOf } from '../provider-parts/request-body.ts'
import {
  refused,
  requiredHeader,
  sameSignature,
  signedHeader,
  tellingHeader,
  verdictOf,
} from '../provider-parts/request-headers.ts'

const SIGNATURE_HEADER = 'x-shopify-hmac-sha256'
const SHOP_HEADER = 'x-shopify-shop-domain'
const TOPIC_HEADER = 'x-shopify-topic'
const ID_HEADER = 'x-shopify-webhook-id'
const TIME_HEADER = 'x-shopify-triggered-at'
/** Base64 of 32 bytes. */
const SIGNATURE = /^[A-Za-z0-9+/]{43}=$/

function readEvent({ headers, nowMs }: SignedRequest): ProviderEvent {
  const triggered = Date.parse(tellingHeader(headers, TIME_HEADER) ?? '')
  const shop = tellingHeader(headers, SHOP_HEADER)
  return {
    // The same in every attempt.
    eventId: requiredHeader(headers, ID_HEADER),
    type: requiredHeader(headers, TOPIC_HEADER),
    accounts: shop === undefined ? [] : [shop],
    livemode: null,
    occurredAt: momentOf(triggered) ?? new Date(nowMs),
  }
}

/**
 * Shopify: one secret signs for all shops of an app, and only the body is signed; the shop, the topic and the id are
 * headers. Source: shopify.dev/docs/apps/build/webhooks (verify deliveries; headers).
 */
export const shopify = defineProvider({
  name: 'shopify',
  title: 'Shopify',
  keptHeaders: [
    SIGNATURE_HEADER,
    SHOP_HEADER,
    TOPIC_HEADER,
    ID_HEADER,
    TIME_HEADER,
    'x-shopify-event-id',
    'x-shopify-api-version',
  ],
  accounts: 'any',
  accountIsSigned: false,
  verify: ({ raw, headers }, secrets) => {
    const header = signedHeader(headers, SIGNATURE_HEADER)
    if ('cause' in header) return refused(header.cause)
    if (!SIGNATURE.test(header.value)) return refused('signature_malformed')
    return verdictOf(secrets, (secret) =>
      sameSignature(header.value, createHmac('sha256', secret.reveal()).update(raw).digest('base64')),
    )
  },
  events: (_parsed, request) => [readEvent(request)],
})
