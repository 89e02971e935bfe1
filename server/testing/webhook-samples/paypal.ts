import { createSign } from 'node:crypto'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import { crc32 } from 'node:zlib'
import { throwAwayAuthority } from '../self-signed.ts'
import type { WebhookSample } from '../webhook-sample.ts'

const authority = throwAwayAuthority('The authority over what PayPal signs with')
setDefaultCACertificates([...getCACertificates('default'), authority.cert])

const PLACES = {
  true: {
    url: 'https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5a000001',
    ...authority.issue('messageverificationcerts.paypal.com', undefined, 'rsa'),
  },
  false: {
    url: 'https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5a000002',
    ...authority.issue('messageverificationcerts.sandbox.paypal.com', undefined, 'rsa'),
  },
}

/** What PayPal sends beside the body, as developer.paypal.com/api/rest/webhooks/rest says it. */
export function paypalHeaders(
  body: Buffer,
  webhookId: string,
  atMs: number,
  place: { readonly url: string; readonly key: string } = PLACES.false,
): Record<string, string> {
  const id = '69cd13f0-d67a-11e5-baa3-778b53f4ae55'
  const time = new Date(atMs).toISOString().replace(/\.\d+Z$/, 'Z')
  const signed = createSign('RSA-SHA256').update([id, time, webhookId, crc32(body)].join('|'))
  return {
    'content-type': 'application/json',
    'paypal-transmission-id': id,
    'paypal-transmission-time': time,
    'paypal-transmission-sig': signed.sign(place.key, 'base64'),
    'paypal-cert-url': place.url,
    'paypal-auth-algo': 'SHA256withRSA',
  }
}

export const paypal: WebhookSample = {
  secrets: ['1JE4291016473214C', '8PT597110X687430L'],
  tools: {
    fetch: async (url) => {
      const place = Object.values(PLACES).find((one) => one.url === url)
      if (!place) throw new Error('there is no such certificate')
      return Buffer.from(place.cert)
    },
  },
  signature: { header: 'paypal-transmission-sig' },
  toleranceMs: 73 * 3_600_000,
  severalSignatures: { no: 'a request has one signature, of one webhook' },
  allBytesSigned: true,
  livemode: true,
  account: { no: 'the id of the webhook says whose it is, and is signed but not sent' },
  body: ({ id = 'WH-SAMPLE-1', type = 'PAYMENT.CAPTURE.COMPLETED', livemode = false } = {}) =>
    Buffer.from(
      JSON.stringify(
        {
          id,
          event_version: '1.0',
          create_time: '2026-11-21T11:59:58.000Z',
          resource_type: 'capture',
          event_type: type,
          summary: 'Käse ☕',
          resource: { id: '42311647XV020574X', amount: { currency_code: 'EUR', value: '10.00' } },
          links: [
            {
              href: `https://api.${livemode ? '' : 'sandbox.'}paypal.com/v1/notifications/webhooks-events/${id}`,
              rel: 'self',
              method: 'GET',
            },
          ],
        },
        null,
        2,
      ),
    ),
  sign: ({ event: { livemode = false }, body, secrets: [webhookId = ''], atMs, url }) => ({
    body,
    headers: paypalHeaders(body, webhookId, atMs, PLACES[`${livemode}`]),
    url,
  }),
}
