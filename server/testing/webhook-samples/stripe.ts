import Stripe from 'stripe'
import type { WebhookSample } from '../webhook-sample.ts'

const stripeApi = new Stripe('sk_test_only_for_signing')

/** The value of `stripe-signature`: one signature per secret, in their order. */
export function stripeSignature(body: Buffer, secrets: readonly string[], atMs: number): string {
  const timestamp = Math.floor(atMs / 1000)
  const [first = '', ...more] = secrets.map((secret) =>
    stripeApi.webhooks.generateTestHeaderString({ payload: body.toString('utf8'), secret, timestamp }),
  )
  return [first, ...more.map((header) => header.slice(header.indexOf('v1=')))].join(',')
}

export const stripe: WebhookSample = {
  secrets: ['whsec_sample_one_4eC39HqLyjWDarjtT1zdp7dc', 'whsec_sample_two_BQokikJOvBiI2HlWgH4olfQ2'],
  signature: { header: 'stripe-signature' },
  toleranceMs: 300_000,
  severalSignatures: true,
  allBytesSigned: true,
  account: true,
  livemode: true,
  body: ({ id = 'evt_sample_1', type = 'invoice.paid', account, livemode = false } = {}) =>
    Buffer.from(
      JSON.stringify(
        {
          id,
          object: 'event',
          api_version: '2026-10-28',
          ...(account !== undefined && { account, context: account }),
          created: 1_795_262_400,
          data: { object: { id: 'in_1', object: 'invoice', description: 'Käse ☕', amount_paid: 2_000 } },
          livemode,
          pending_webhooks: 1,
          request: { id: null, idempotency_key: null },
          type,
        },
        null,
        2,
      ),
    ),
  sign: ({ body, secrets, atMs, url }) => ({
    body,
    headers: {
      'content-type': 'application/json; charset=utf-8',
      'stripe-signature': stripeSignature(body, secrets, atMs),
    },
    url,
  }),
}
