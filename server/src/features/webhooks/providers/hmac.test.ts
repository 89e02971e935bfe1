import { createHmac } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { hmac as sample } from '../../../../testing/webhook-samples/hmac.ts'
import { Secret } from '../../../platform/secret.ts'
import { Problem } from '../../../problems.ts'
import { providerFaults } from '../check-settings.ts'
import type { SignedRequest } from '../provider.ts'
import type { HmacSettings } from '../provider-parts/hmac-settings.ts'
import { hmac } from './hmac.ts'

const NOW = Date.parse('2026-11-21T12:00:00Z')
const tools = { fetch: () => Promise.reject(new Error('nothing is fetched')) }
const request = (raw: string, headers: Record<string, string>, nowMs = NOW): SignedRequest => ({
  raw: Buffer.from(raw),
  headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, [value]])),
  url: undefined,
  nowMs,
})
const causeOf = async (settings: HmacSettings, asked: SignedRequest, secret: string): Promise<string> => {
  expect(providerFaults('hmac', settings)).toEqual([])
  const verdict = await hmac.verify(asked, [new Secret(secret)], settings, tools)
  return verdict.verified ? 'verified' : verdict.cause
}

const body = { signed: '{body}', algorithm: 'sha256' } as const

/** Published vectors of senders that have a provider of their own: what the settings can say is enough for each of them. */
const SENDERS: Record<
  string,
  { settings: HmacSettings; secret: string; raw: string; headers: Record<string, string>; atMs?: number }
> = {
  GitHub: {
    settings: {
      ...body,
      signature: { header: 'x-hub-signature-256', prefix: 'sha256=', encoding: 'hex' },
      event_id: { header: 'x-github-delivery' },
      type: { header: 'x-github-event' },
    },
    secret: "It's a Secret to Everybody",
    raw: 'Hello, World!',
    headers: {
      'x-hub-signature-256': 'sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17',
    },
  },
  Shopify: {
    settings: {
      ...body,
      signature: { header: 'x-shopify-hmac-sha256', encoding: 'base64' },
      event_id: { header: 'x-shopify-webhook-id' },
      type: { header: 'x-shopify-topic' },
      account: { header: 'x-shopify-shop-domain' },
    },
    secret: 'test-webhook-secret',
    raw: '{"id":1234567890,"email":"customer@example.com","total_price":"123.45"}',
    headers: { 'x-shopify-hmac-sha256': 'QNyObTlKbMx2qDlPF/ZOZcBqg5OgPg+2oky3zldc0Gw=' },
  },
  Slack: {
    settings: {
      algorithm: 'sha256',
      signed: 'v0:{timestamp}:{body}',
      signature: { header: 'x-slack-signature', prefix: 'v0=', encoding: 'hex' },
      timestamp: { header: 'x-slack-request-timestamp', unit: 'seconds' },
      event_id: { pointer: '/event_id' },
    },
    secret: '8f742231b10e8888abcd99yyyzzz85a5',
    raw: 'token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c',
    headers: {
      'x-slack-request-timestamp': '1531420618',
      'x-slack-signature': 'v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503',
    },
    atMs: 1_531_420_618_000,
  },
  Stripe: {
    settings: {
      algorithm: 'sha256',
      signed: '{timestamp}.{body}',
      signature: { header: 'stripe-signature', separator: ',', prefix: 'v1=', encoding: 'hex' },
      timestamp: { header: 'stripe-signature', separator: ',', prefix: 't=', unit: 'seconds' },
      event_id: { pointer: '/id' },
    },
    secret: 'whsec_test_secret',
    raw: '{\n  "id": "evt_test_webhook",\n  "object": "event"\n}',
    headers: {
      'stripe-signature':
        't=1492774577,v1=c2f890decbc5ede7c5060bb9a6d31e0626a4342bacb9aeae2adb1bcea72f9812,v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39',
    },
    atMs: 1_492_774_577_000,
  },
  Svix: {
    settings: {
      algorithm: 'sha256',
      signed: '{id}.{timestamp}.{body}',
      signature: { header: 'svix-signature', separator: ' ', prefix: 'v1,', encoding: 'base64' },
      key: { prefix: 'whsec_', encoding: 'base64' },
      timestamp: { header: 'svix-timestamp', unit: 'seconds' },
      event_id: { header: 'svix-id' },
    },
    secret: 'whsec_plJ3nmyCDGBKInavdOK15jsl',
    raw: '{"event_type":"ping","data":{"success":true}}',
    headers: {
      'svix-id': 'msg_loFOjxBNrRLzqYUf',
      'svix-timestamp': '1731705121',
      'svix-signature': 'v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=',
    },
    atMs: 1_731_705_121_000,
  },
  'HMAC-SHA-1 of RFC 2202, test case 2': {
    settings: {
      signed: '{body}',
      algorithm: 'sha1',
      signature: { header: 'x-signature', encoding: 'hex' },
    },
    secret: 'Jefe',
    raw: 'what do ya want for nothing?',
    headers: { 'x-signature': 'EFFCDF6AE5EB2FA2D27416D5F184DF9C259A7C79' },
  },
  'HMAC-SHA-512 of RFC 4231, test case 1': {
    settings: {
      signed: '{body}',
      algorithm: 'sha512',
      signature: { header: 'x-signature', encoding: 'hex' },
      key: { encoding: 'hex' },
    },
    secret: '0b'.repeat(20),
    raw: 'Hi There',
    headers: {
      'x-signature':
        '87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854',
    },
  },
}

describe.each(Object.entries(SENDERS))('%s', (_name, { settings, secret, raw, headers, atMs = NOW }) => {
  it('is verified by settings alone', async () => {
    expect(await causeOf(settings, request(raw, headers, atMs), secret)).toBe('verified')
  })

  it('is refused with another body, another secret or another time', async () => {
    expect(await causeOf(settings, request(`${raw} `, headers, atMs), secret)).toBe('signature_mismatch')
    expect(await causeOf(settings, request(raw, headers, atMs), `${secret.slice(0, -4)}0000`)).toBe(
      'signature_mismatch',
    )
    if (settings.timestamp)
      expect(await causeOf(settings, request(raw, headers, atMs + 301_000), secret)).toBe(
        'timestamp_outside_tolerance',
      )
  })
})

describe('settings', () => {
  const whole = sample.settings as HmacSettings
  const fits = (settings: Readonly<Record<string, unknown>>): boolean =>
    providerFaults('hmac', settings).length === 0
  const check = (change: object): boolean => fits({ ...whole, ...change })

  it('fit the schema', () => {
    expect(check({})).toBe(true)
  })

  it.each([
    '{body}',
    'v0:{timestamp}:{body}',
    '{timestamp}{body}',
    '{header:x-a}|{timestamp}|{id}|{body}',
    '{body}.{id}',
    '{body}.{timestamp}.',
  ])('may say that %s is signed', (signed) => {
    const { timestamp: _, ...untimed } = whole
    const timed = signed.includes('{timestamp}')
    expect(fits({ ...(timed ? whole : untimed), signed })).toBe(true)
    // The other way round: a time that is not signed, and a signed one that nobody finds.
    expect(fits({ ...(timed ? untimed : whole), signed })).toBe(false)
  })

  it.each([
    '',
    'nothing',
    '{timestamp}',
    '{timestamp}.{id}',
    '{timestamp}.{body}.{body}',
    '{timestamp}.{Body}',
    '{timestamp}.{{body}}',
    '{timestamp}.{body',
    '{timestamp}.{unknown}.{body}',
    '{timestamp}.{header:X-Upper}.{body}',
    // Something could be moved from one into the other.
    '{timestamp}{id}{body}',
    '{timestamp}{header:x-a}{body}',
    '{timestamp}{body}{id}',
  ])('may not say that %j is signed', (signed) => {
    expect(check({ signed })).toBe(false)
  })

  it.each([
    ['an id that is signed but stands in the body', { event_id: { pointer: '/id' } }],
    ['an id that is signed but nowhere', { event_id: undefined }],
    ['a header of upper case', { signature: { ...whole.signature, header: 'X-Signature' } }],
    ['cookies as evidence', { event_id: { header: 'cookie' } }],
    ['the authorization as evidence', { signature: { ...whole.signature, header: 'authorization' } }],
    ['an unknown hash', { algorithm: 'md5' }],
    ['no tolerance', { timestamp: { ...whole.timestamp, tolerance_seconds: 0 } }],
    ['a tolerance of a day', { timestamp: { ...whole.timestamp, tolerance_seconds: 86_400 } }],
    ['a pointer that is none', { type: { pointer: 'event/kind' } }],
    ['two places of the type', { type: { pointer: '/a', header: 'x-type' } }],
    ['what it does not know', { signatures: [] }],
  ])('may not have %s', (_what, change) => {
    const settings = Object.fromEntries(
      Object.entries({ ...whole, ...change }).filter(([, value]) => value !== undefined),
    )
    expect(fits(settings)).toBe(false)
  })

  it('are told what is wrong with one field because of another', () => {
    const { timestamp: _, ...untimed } = whole
    expect(providerFaults('hmac', untimed)).toEqual([{ path: '/settings/timestamp', message: 'is missing' }])
    expect(providerFaults('hmac', { ...whole, event_id: { pointer: '/id' } })).toEqual([
      { path: '/settings/event_id/header', message: 'is missing' },
    ])
  })

  it('with a long template are checked without trying every way to read it', () => {
    for (const signed of ['{id}'.repeat(75), 'a'.repeat(299), `${'{timestamp}'.repeat(27)}{`])
      expect(check({ signed })).toBe(false)
  })
})

describe('the signed text', () => {
  const settings: HmacSettings = {
    algorithm: 'sha256',
    signed: '{id}.{body}',
    signature: { header: 'x-signature', encoding: 'hex' },
    event_id: { header: 'x-id' },
  }
  const sign = (text: string) => createHmac('sha256', 'k').update(text).digest('hex')

  it('cannot be cut in another place', async () => {
    const signature = sign('1.a=1&b=2.c=3')
    expect(
      await causeOf(settings, request('a=1&b=2.c=3', { 'x-id': '1', 'x-signature': signature }), 'k'),
    ).toBe('verified')
    expect(
      await causeOf(settings, request('c=3', { 'x-id': '1.a=1&b=2', 'x-signature': signature }), 'k'),
    ).toBe('signature_malformed')
  })

  it('is never made of a missing value', async () => {
    expect(await causeOf(settings, request('x', { 'x-signature': sign('.x') }), 'k')).toBe(
      'signature_malformed',
    )
    expect(await causeOf(settings, request('x', { 'x-id': '', 'x-signature': sign('.x') }), 'k')).toBe(
      'signature_malformed',
    )
  })

  it('takes a body with braces and dollars as it is', async () => {
    const raw = '{id} {body} $& $1 {{timestamp}}'
    const headers = { 'x-id': '$&', 'x-signature': sign(`$&.${raw}`) }
    expect(await causeOf(settings, request(raw, headers), 'k')).toBe('verified')
  })
})

describe('the key', () => {
  const signature = { header: 'x-signature', encoding: 'hex' } as const
  const cause = (key: NonNullable<HmacSettings['key']>, secret: string, bytes: Buffer) => {
    const made = createHmac('sha256', bytes).update('x').digest('hex')
    return causeOf({ ...body, signature, key }, request('x', { 'x-signature': made }), secret)
  }

  it.each([
    [{ encoding: 'hex' }, 'DEADbeef', Buffer.from('deadbeef', 'hex')],
    [{ encoding: 'base64', prefix: 'k_' }, 'k_3q2+7w==', Buffer.from('deadbeef', 'hex')],
    [{ encoding: 'utf8', prefix: 'k_' }, 'k_käse', Buffer.from('käse')],
  ] as const)('of %j is read from %s', async (key, secret, bytes) => {
    expect(await cause(key, secret, bytes)).toBe('verified')
  })

  it.each([
    ['half hex', { encoding: 'hex' }, 'deadbeefzz', Buffer.from('deadbeef', 'hex')],
    ['a half byte', { encoding: 'hex' }, 'deadbeef0', Buffer.from('deadbeef', 'hex')],
    ['nothing', { encoding: 'base64', prefix: 'k_' }, 'k_', Buffer.alloc(0)],
    ['a secret without its prefix', { encoding: 'utf8', prefix: 'k_' }, 'k', Buffer.from('k')],
    ['sloppy base64', { encoding: 'base64' }, '3q2+7w', Buffer.from('deadbeef', 'hex')],
  ] as const)('is never made of %s', async (_what, key, secret, bytes) => {
    expect(await cause(key, secret, bytes)).toBe('signature_mismatch')
  })
})

describe('the event', () => {
  const plain: HmacSettings = { ...body, signature: { header: 'x-signature', encoding: 'hex' } }
  const eventOf = (settings: Partial<HmacSettings>, parsed: unknown, headers: Record<string, string> = {}) =>
    hmac.events(parsed, request('{}', headers), { ...plain, ...settings })[0]

  it('without settings for it is told by the content of the body', () => {
    expect(eventOf({}, {})).toEqual({
      eventId: 'sha256-44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a',
      type: 'event',
      accounts: [],
      livemode: null,
      occurredAt: new Date(NOW),
    })
  })

  it('is read where the settings say', () => {
    const settings: Partial<HmacSettings> = {
      event_id: { pointer: '/items/0/id' },
      type: { value: 'order' },
      account: { header: 'x-shop' },
      occurred_at: { from: { pointer: '/at' }, unit: 'milliseconds' },
    }
    expect(eventOf(settings, { items: [{ id: 42 }], at: NOW - 5_000 }, { 'x-shop': 'cheese' })).toEqual({
      eventId: '42',
      type: 'order',
      accounts: ['cheese'],
      livemode: null,
      occurredAt: new Date(NOW - 5_000),
    })
  })

  it.each([{}, { id: {} }, { id: null }, { id: '' }, { id: 1.5 }, { id: true }, [], 'text', null, 7])(
    'of %j has no id where the settings say, and is told by its content',
    (parsed) => {
      expect(eventOf({ event_id: { pointer: '/id' } }, parsed)?.eventId).toMatch(/^sha256-/)
    },
  )

  it.each(['/constructor/name', '/__proto__/x', '/length', '/items/length', '/items/-1', '/items/00'])(
    'has nothing at %s',
    (pointer) => {
      expect(eventOf({ type: { pointer } }, { items: [1] })?.type).toBe('event')
    },
  )

  it('is refused when its id could not be stored', () => {
    expect(() => eventOf({ event_id: { pointer: '/id' } }, { id: 'two words' })).toThrow(Problem)
  })

  it('keeps the headers that its settings name', () => {
    expect(hmac.headersNamed?.(sample.settings ?? {})).toEqual([
      'x-acme-signature',
      'x-acme-time',
      'x-acme-id',
      'x-acme-version',
    ])
  })
})
