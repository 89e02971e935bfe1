import { createHmac } from 'node:crypto'
import type { HmacSettings } from '../../src/features/webhooks/provider-parts/hmac-settings.ts'
import type { WebhookSample } from '../webhook-sample.ts'

/** Uses every kind of thing that the settings can say. */
const settings: HmacSettings = {
  signature: { header: 'x-acme-signature', separator: ',', prefix: 'v1=', encoding: 'base64url' },
  algorithm: 'sha512',
  signed: '{timestamp}.{id}.{header:x-acme-version}.{body}',
  key: { prefix: 'acme_', encoding: 'hex' },
  timestamp: { header: 'x-acme-time', unit: 'milliseconds', tolerance_seconds: 120 },
  event_id: { header: 'x-acme-id' },
  type: { pointer: '/event/kind' },
  account: { pointer: '/event/shop~1account' },
  occurred_at: { from: { pointer: '/event/at' }, unit: 'iso8601' },
}

export const hmac: WebhookSample = {
  secrets: [`acme_${'0123456789abcdef'.repeat(4)}`, `acme_${'fedcba9876543210'.repeat(4)}`],
  settings,
  signature: { header: 'x-acme-signature' },
  toleranceMs: 120_000,
  severalSignatures: true,
  allBytesSigned: true,
  account: true,
  livemode: { no: 'The settings cannot say where a sender writes it; the route says which one it is.' },
  body: ({ type = 'order.paid', account } = {}) =>
    Buffer.from(
      JSON.stringify(
        {
          event: {
            kind: type,
            at: '2026-11-21T11:59:59+00:00',
            ...(account !== undefined && { 'shop/account': account }),
          },
          note: 'Käse ☕',
        },
        null,
        2,
      ),
    ),
  sign: ({ event: { id = 'd-1' }, body, secrets, atMs, url }) => {
    const sign = (secret: string) =>
      createHmac('sha512', Buffer.from(secret.slice('acme_'.length), 'hex'))
        .update(Buffer.concat([Buffer.from(`${atMs}.${id}.7.`), body]))
        .digest('base64url')
    return {
      body,
      url,
      headers: {
        'content-type': 'application/json',
        'x-acme-id': id,
        'x-acme-time': String(atMs),
        'x-acme-version': '7',
        'x-acme-signature': secrets.map((secret) => `v1=${sign(secret)}`).join(', '),
      },
    }
  },
}
