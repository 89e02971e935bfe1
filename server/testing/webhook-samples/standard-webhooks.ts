import { Webhook } from 'standardwebhooks'
import type { WebhookSample } from '../webhook-sample.ts'

const ofFamily = (family: 'webhook' | 'svix', secrets: readonly [string, string]): WebhookSample => ({
  secrets,
  signature: { header: `${family}-signature` },
  toleranceMs: 300_000,
  severalSignatures: true,
  allBytesSigned: true,
  account: { no: 'The secret is of one endpoint and says whose event it is; the scheme knows no accounts.' },
  livemode: { no: 'The scheme does not know of test modes; a sender with one has an endpoint for each.' },
  body: ({ type = 'invoice.paid' } = {}) =>
    Buffer.from(
      JSON.stringify({ type, timestamp: '2026-11-21T11:59:58.5Z', data: { note: 'Käse ☕' } }, null, 2),
    ),
  sign: ({ event: { id = 'msg_2KWPBgLlAfxdpx2AI54pPJ85f4W' }, body, secrets: signing, atMs, url }) => ({
    body,
    url,
    headers: {
      'content-type': 'application/json',
      [`${family}-id`]: id,
      [`${family}-timestamp`]: String(Math.floor(atMs / 1_000)),
      [`${family}-signature`]: signing
        .map((secret) => new Webhook(secret).sign(id, new Date(atMs), body))
        .join(' '),
    },
  }),
})

export const standardWebhooks = ofFamily('webhook', [
  'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
  'whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD',
])

export const svix = ofFamily('svix', [
  'whsec_plJ3nmyCDGBKInavdOK15jsl',
  'whsec_6hc3GxVKNnXiWQnmUPyyBgLfyOWBPAhG',
])
