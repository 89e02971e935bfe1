import { describe, expect, it } from 'vitest'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import type { HeaderValues } from '../provider.ts'
import { shopify } from './shopify.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')
const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
const request = (headers: HeaderValues, raw = '') => ({
  raw: Buffer.from(raw),
  headers,
  url: undefined,
  nowMs: NOW,
})

describe('the signature', () => {
  // Of the tests of sqlpage (sqlpage.hmac, webhook of Shopify), made by an implementation that is not ours.
  const body = '{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}'
  const published = 'QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw='
  const verify = (signature: string) =>
    shopify.verify(
      request({ 'x-shopify-hmac-sha256': [signature] }, body),
      [new Secret('test-webhook-secret')],
      {},
      tools,
    )

  it('fits a published vector', async () => {
    expect(await verify(published)).toMatchObject({ verified: true })
  })

  it.each([
    ['as hex', '40dc8e6d394a6ccc76a8394f17f64e65c06a8393a03e0fb6a24cb7ce575cd06c', 'signature_malformed'],
    ['without padding', published.slice(0, -1), 'signature_malformed'],
    ['in the alphabet of URLs', published.replaceAll('/', '_').replaceAll('+', '-'), 'signature_malformed'],
    // The same bytes to a lenient decoder: the last character has two spare bits.
    ['with spare bits', published.replace('w=', 'x='), 'signature_mismatch'],
  ])('is refused %s', async (_what, signature, cause) => {
    expect(await verify(signature)).toEqual({ verified: false, cause })
  })
})

describe('the event', () => {
  const headers = {
    'x-shopify-topic': ['orders/create'],
    'x-shopify-webhook-id': ['b54557e4'],
    'x-shopify-shop-domain': ['cheese.myshopify.com'],
    'x-shopify-triggered-at': ['2026-11-21T11:59:58.123456789Z'],
  }

  it('is what the headers say', () => {
    expect(shopify.events({}, request(headers), {})).toEqual([
      {
        eventId: 'b54557e4',
        type: 'orders/create',
        accounts: ['cheese.myshopify.com'],
        livemode: null,
        occurredAt: new Date('2026-11-21T11:59:58.123Z'),
      },
    ])
  })

  it('does not let its account be believed by the signature alone', () => {
    expect(shopify.accountIsSigned).toBe(false)
  })

  it.each([undefined, 'yesterday', '1900-01-01T00:00:00Z', '9999-01-01T00:00:00Z'])(
    'is of now when it was triggered at %s',
    (time) => {
      const changed = { ...headers, 'x-shopify-triggered-at': time === undefined ? undefined : [time] }
      expect(shopify.events({}, request(changed), {})).toMatchObject([{ occurredAt: new Date(NOW) }])
    },
  )

  it.each([
    ['x-shopify-topic', undefined],
    ['x-shopify-webhook-id', undefined],
    ['x-shopify-shop-domain', ['a.myshopify.com', 'b.myshopify.com']],
    ['x-shopify-shop-domain', ['a b']],
    ['x-shopify-topic', ['x'.repeat(256)]],
  ])('is refused with %s of %j', (name, values) => {
    expect(() => shopify.events({}, request({ ...headers, [name]: values }), {})).toThrow(Problem)
  })
})
