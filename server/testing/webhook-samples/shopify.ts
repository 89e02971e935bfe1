import { createHmac } from 'node:crypto'
import type { WebhookSample } from '../webhook-sample.ts'

export const shopify: WebhookSample = {
  secrets: ['hush', 'shpss_another_secret_of_the_app'],
  signature: { header: 'x-shopify-hmac-sha256' },
  toleranceMs: { no: 'Shopify signs the body alone; the time is a header that anybody can change.' },
  severalSignatures: { no: 'Shopify signs with one secret, the old one for up to an hour after a rotation.' },
  allBytesSigned: true,
  account: true,
  livemode: { no: 'A development shop has a domain of its own; an event does not say what it is.' },
  body: ({ id = 'b54557e4', type = 'orders/create' } = {}) =>
    Buffer.from(
      JSON.stringify(
        { id: 820982911, admin_graphql_api_id: `gid://${type}/${id}`, note: 'Käse ☕' },
        null,
        2,
      ),
    ),
  sign: ({
    event: { id = 'b54557e4-bdd9-4b37-8a5f-bf7d70bcd043', type = 'orders/create', account },
    body,
    secrets: [secret = ''],
    url,
  }) => ({
    body,
    url,
    headers: {
      'content-type': 'application/json',
      'x-shopify-api-version': '2026-10',
      'x-shopify-topic': type,
      'x-shopify-triggered-at': '2026-11-21T12:00:00.123456789Z',
      'x-shopify-webhook-id': id,
      ...(account !== undefined && { 'x-shopify-shop-domain': account }),
      'x-shopify-hmac-sha256': createHmac('sha256', secret).update(body).digest('base64'),
    },
  }),
}
