import { createHmac, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import type { AnyProvider, SignedRequest } from '../provider.ts'
import { standardWebhooks, svix } from './standard-webhooks.ts'

const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
const request = (raw: string, headers: Record<string, string>, nowMs: number): SignedRequest => ({
  raw: Buffer.from(raw),
  headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
  url: undefined,
  nowMs,
})
const headersOf = (family: string, id: string, time: string, signature: string) => ({
  [`${family}-id`]: id,
  [`${family}-timestamp`]: time,
  [`${family}-signature`]: signature,
})
const causeOf = async (provider: AnyProvider, asked: SignedRequest, secret: string) => {
  const verdict = await provider.verify(asked, [new Secret(secret)], {}, tools)
  return verdict.verified ? 'verified' : verdict.cause
}

/** Of docs.svix.com (how-manual) and of the tests of the libraries of Standard Webhooks. */
const VECTORS = [
  {
    secret: 'whsec_plJ3nmyCDGBKInavdOK15jsl',
    id: 'msg_loFOjxBNrRLzqYUf',
    time: '1731705121',
    body: '{"event_type":"ping","data":{"success":true}}',
    signature: 'v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=',
  },
  {
    secret: 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw',
    id: 'msg_p5jXN8AQM9LWM0D4loKWxJek',
    time: '1614265330',
    body: '{"test": 2432232314}',
    signature: 'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  },
] as const

describe.each([standardWebhooks, svix])('$name', (provider) => {
  it.each(['webhook', 'svix'])('verifies the published vectors with the headers %s-*', async (family) => {
    for (const { secret, id, time, body, signature } of VECTORS) {
      const asked = request(body, headersOf(family, id, time, signature), Number(time) * 1_000)
      expect(await causeOf(provider, asked, secret)).toBe('verified')
      expect(await causeOf(provider, asked, secret.slice('whsec_'.length))).toBe('verified')
      expect(provider.events(provider.parse(asked.raw), asked, {})).toMatchObject([{ eventId: id }])
    }
  })
})

describe('the signature', () => {
  const { secret, id, time, body, signature } = VECTORS[1]
  const nowMs = Number(time) * 1_000
  const cause = (headers: Record<string, string>, key: string = secret) =>
    causeOf(standardWebhooks, request(body, headers, nowMs), key)

  it('is over the id and the time too', async () => {
    expect(await cause(headersOf('webhook', `${id}x`, time, signature))).toBe('signature_mismatch')
    expect(await cause(headersOf('webhook', id, `${Number(time) + 1}`, signature))).toBe('signature_mismatch')
  })

  it('never takes the id or the time of one family with the signature of the other', async () => {
    const own = headersOf('webhook', id, time, signature)
    expect(await cause({ ...own, 'svix-id': 'other', 'svix-signature': signature })).toBe('verified')
    const { 'webhook-id': _, ...without } = own
    expect(await cause({ ...without, 'svix-id': id })).toBe('signature_missing')
    const asked = request(body, { ...own, ...headersOf('svix', 'forged', time, 'v1,x') }, nowMs)
    expect(standardWebhooks.events(JSON.parse(body), asked, {})).toMatchObject([{ eventId: id }])
  })

  it('with an id that has a dot could be read in two ways', async () => {
    const key = Buffer.from(secret.slice('whsec_'.length), 'base64')
    const dotted = createHmac('sha256', key).update(`a.b.${time}.${body}`).digest('base64')
    expect(await cause(headersOf('webhook', 'a.b', time, `v1,${dotted}`))).toBe('signature_malformed')
  })

  it.each([
    ['unknown versions alone', 'v2,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=', 'signature_malformed'],
    ['unknown versions beside it', `v2,x v1,x ${signature}`, 'verified'],
    ['commas in place of spaces', `${signature},${signature}`, 'signature_malformed'],
    [
      'eleven of them, the eleventh right',
      `${`v1,${'A'.repeat(43)}= `.repeat(10)}${signature}`,
      'signature_mismatch',
    ],
  ])('may come with %s', async (_what, header, expected) => {
    expect(await cause(headersOf('webhook', id, time, header))).toBe(expected)
  })

  it.each([
    ['a short key', `whsec_${Buffer.alloc(15, 7).toString('base64')}`],
    ['no base64', 'whsec_not base64'],
    ['base64 without its padding', `whsec_${Buffer.alloc(32, 7).toString('base64').slice(0, -1)}`],
    ['a private key of the sender', `whsk_${secret.slice('whsec_'.length)}`],
    ['a public key that is none', `whpk_${Buffer.alloc(31).toString('base64')}`],
    ['a point that is on no curve', `whpk_${Buffer.alloc(32, 0xff).toString('base64')}`],
  ])('is not verified by %s, whatever is signed with it', async (_what, key) => {
    const bytes = Buffer.from(key.slice(key.indexOf('_') + 1), 'base64')
    const made = createHmac('sha256', bytes).update(`${id}.${time}.${body}`).digest('base64')
    const both = `v1,${made} v1a,${Buffer.alloc(64).toString('base64')}`
    expect(await cause(headersOf('webhook', id, time, both), key)).toBe('signature_mismatch')
  })

  it('with a public key is checked as ed25519, and never as a shared key that everybody knows', async () => {
    const pair = generateKeyPairSync('ed25519')
    const raw = Buffer.from(String(pair.publicKey.export({ format: 'jwk' }).x), 'base64url')
    const key = `whpk_${raw.toString('base64')}`
    const signed = Buffer.from(`${id}.${time}.${body}`)
    const good = `v1a,${sign(null, signed, pair.privateKey).toString('base64')}`
    expect(await cause(headersOf('webhook', id, time, good), key)).toBe('verified')
    expect(await cause(headersOf('webhook', id, time, `${signature} ${good}`), key)).toBe('verified')
    expect(await cause(headersOf('webhook', 'other', time, good), key)).toBe('signature_mismatch')
    const forged = `v1,${createHmac('sha256', raw).update(signed).digest('base64')}`
    expect(await cause(headersOf('webhook', id, time, forged), key)).toBe('signature_mismatch')
    await fc.assert(
      fc.asyncProperty(fc.nat(signed.length - 1), fc.integer({ min: 1, max: 255 }), async (at, change) => {
        const other = Buffer.from(signed)
        other.writeUInt8(other.readUInt8(at) ^ change, at)
        const wrong = `v1a,${sign(null, other, pair.privateKey).toString('base64')}`
        expect(await cause(headersOf('webhook', id, time, wrong), key)).toBe('signature_mismatch')
      }),
      { numRuns: 20 },
    )
  })
})

describe('the event', () => {
  const eventOf = (body: unknown) =>
    standardWebhooks.events(body, request('', headersOf('webhook', 'msg_1', '1731705121', 'v1,x'), 0), {})[0]

  it.each([
    [{ type: 'a.b', event_type: 'c' }, 'a.b'],
    [{ event_type: 'ping' }, 'ping'],
    [{ eventType: 'ping' }, 'ping'],
    [{ type: 7 }, 'event'],
    [{}, 'event'],
  ])('%j is of the type %s', (body, type) => {
    expect(eventOf(body)?.type).toBe(type)
  })

  it('is of the time that it says, else of the time when it was sent', () => {
    expect(eventOf({ timestamp: '2026-11-21T12:00:00Z' })?.occurredAt).toEqual(
      new Date('2026-11-21T12:00:00Z'),
    )
    for (const timestamp of [undefined, 'soon', 7, '0001-01-01T00:00:00Z'])
      expect(eventOf({ timestamp })?.occurredAt).toEqual(new Date(1_731_705_121_000))
  })

  it.each([null, [], 'text', 7, { type: 'two words' }])('is not %j', (body) => {
    expect(() => eventOf(body)).toThrow(Problem)
  })
})
