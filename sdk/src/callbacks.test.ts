import { createHmac } from 'node:crypto'
import { Webhook } from 'standardwebhooks'
import { describe, expect, test } from 'vitest'
import { CallbackRefused, verifyCallback } from './callbacks.ts'

const keyed = (byte: number) => `whsec_${Buffer.alloc(32, byte).toString('base64')}`
const SECRET = keyed(1)
const OTHER = keyed(2)
const BODY = '{"type":"invoice.paid","data":{"name":"Ünal"}}'
const AT = 1_731_705_121
const now = AT * 1_000

/** Headers as the reference library signs them. */
const signed = (body = BODY, secret = SECRET, at = AT, id = 'msg_1') => ({
  'webhook-id': id,
  'webhook-timestamp': String(at),
  'webhook-signature': new Webhook(secret).sign(id, new Date(at * 1_000), body),
})

const refusal = (run: () => unknown): string => {
  try {
    run()
  } catch (error) {
    if (error instanceof CallbackRefused) return error.reason
    throw error
  }
  return 'accepted'
}
const verdict = (
  headers: Record<string, string | string[] | undefined>,
  body: string | Uint8Array = BODY,
  secrets = [SECRET],
  at = now,
) => refusal(() => verifyCallback(body, headers, secrets, { now: at }))

describe('accepted', () => {
  test('what the reference library signs, as text and as bytes', () => {
    expect(verifyCallback(BODY, signed(), [SECRET], { now })).toEqual({
      id: 'msg_1',
      timestamp: new Date(now),
    })
    expect(verdict(signed(), Buffer.from(BODY))).toBe('accepted')
    expect(verdict(signed(), new Uint8Array(Buffer.from(BODY)))).toBe('accepted')
    expect(verdict(signed(''), '')).toBe('accepted')
  })

  test('the vector that Svix publishes', () => {
    const headers = {
      'webhook-id': 'msg_loFOjxBNrRLzqYUf',
      'webhook-timestamp': '1731705121',
      'webhook-signature': 'v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=',
    }
    const body = '{"event_type":"ping","data":{"success":true}}'
    expect(verdict(headers, body, ['whsec_plJ3nmyCDGBKInavdOK15jsl'])).toBe('accepted')
  })

  test('headers of fetch, of Node, and of a framework that keeps their case', () => {
    expect(refusal(() => verifyCallback(BODY, new Headers(signed()), [SECRET], { now }))).toBe('accepted')
    const cased = Object.fromEntries(
      Object.entries(signed()).map(([name, value]) => [name.toUpperCase(), value]),
    )
    expect(verdict(cased)).toBe('accepted')
  })

  test('during a rotation: either secret here, either signature there', () => {
    expect(verdict(signed(), BODY, [OTHER, SECRET])).toBe('accepted')
    const both = `v1a,ed25519isnotread ${signed(BODY, OTHER)['webhook-signature']} ${signed()['webhook-signature']}`
    expect(verdict({ ...signed(), 'webhook-signature': both })).toBe('accepted')
  })

  test('a secret without its prefix, as the reference library takes it', () => {
    expect(verdict(signed(), BODY, [SECRET.slice(6)])).toBe('accepted')
  })

  test.each([-300, -1, 0, 299, 300])('a clock that differs by %i s', (seconds) => {
    expect(verdict(signed(), BODY, [SECRET], now + seconds * 1_000)).toBe('accepted')
  })
})

describe('refused', () => {
  const good = signed()
  const signature = good['webhook-signature'].slice(3)
  const flipped = Buffer.from(signature, 'base64')
  flipped[0] = (flipped[0] ?? 0) ^ 1
  const urlAlphabet = signature.replaceAll('+', '-').replaceAll('/', '_')

  test.each([
    ['another secret', 'no_match', good, BODY, [OTHER]],
    ['one byte changed in the body', 'no_match', good, `${BODY} `, [SECRET]],
    ['the body serialised again', 'no_match', good, JSON.stringify(JSON.parse(BODY), null, 1), [SECRET]],
    ['another id', 'no_match', { ...good, 'webhook-id': 'msg_2' }, BODY, [SECRET]],
    ['another time', 'no_match', { ...good, 'webhook-timestamp': String(AT + 1) }, BODY, [SECRET]],
    [
      'one bit of the signature',
      'no_match',
      { ...good, 'webhook-signature': `v1,${flipped.toString('base64')}` },
      BODY,
      [SECRET],
    ],
    [
      'a cut signature',
      'no_match',
      { ...good, 'webhook-signature': `v1,${signature.slice(0, 20)}` },
      BODY,
      [SECRET],
    ],
    [
      'a longer signature',
      'no_match',
      { ...good, 'webhook-signature': `v1,AAAA${signature}` },
      BODY,
      [SECRET],
    ],
    ['another version', 'no_match', { ...good, 'webhook-signature': `v2,${signature}` }, BODY, [SECRET]],
    ['no version', 'no_match', { ...good, 'webhook-signature': signature }, BODY, [SECRET]],
    ['an empty signature', 'no_match', { ...good, 'webhook-signature': 'v1,' }, BODY, [SECRET]],
    ['garbage', 'no_match', { ...good, 'webhook-signature': 'v1,\u0000\ud800!!' }, BODY, [SECRET]],
    ['no signature', 'missing_header', { ...good, 'webhook-signature': undefined }, BODY, [SECRET]],
    ['no id', 'missing_header', { ...good, 'webhook-id': '' }, BODY, [SECRET]],
    ['no timestamp', 'missing_header', { ...good, 'webhook-timestamp': undefined }, BODY, [SECRET]],
    [
      'a header that came twice',
      'missing_header',
      { ...good, 'webhook-id': ['msg_1', 'msg_1'] },
      BODY,
      [SECRET],
    ],
    [
      'a timestamp that is no number',
      'bad_timestamp',
      { ...good, 'webhook-timestamp': '1e9' },
      BODY,
      [SECRET],
    ],
    ['a negative timestamp', 'bad_timestamp', { ...good, 'webhook-timestamp': '-5' }, BODY, [SECRET]],
    ['a date', 'bad_timestamp', { ...good, 'webhook-timestamp': '2024-11-15' }, BODY, [SECRET]],
    ['no secrets', 'bad_secret', good, BODY, []],
    ['an empty secret', 'bad_secret', good, BODY, ['']],
    ['an empty secret behind its prefix', 'bad_secret', good, BODY, ['whsec_']],
    ['a secret that is no base64', 'bad_secret', good, BODY, ['whsec_not base64!']],
    ['a bad secret beside a good one', 'bad_secret', good, BODY, [SECRET, 'whsec_']],
  ] as const)('%s', (_name, reason, headers, body, secrets) => {
    expect(verdict(headers as Record<string, string>, body, [...secrets])).toBe(reason)
  })

  test('an empty key is never used, although its signature could be made by anyone', () => {
    const forged = createHmac('sha256', '').update(`msg_1.${AT}.${BODY}`).digest('base64')
    expect(verdict({ ...good, 'webhook-signature': `v1,${forged}` }, BODY, ['whsec_'])).toBe('bad_secret')
  })

  test.each([
    [301, 'too_old'],
    [86_400, 'too_old'],
    [-301, 'too_new'],
  ])('a clock that differs by %i s', (seconds, reason) => {
    expect(verdict(good, BODY, [SECRET], now + seconds * 1_000)).toBe(reason)
  })

  test('a tolerance that would switch the check off', () => {
    for (const toleranceSeconds of [0, -1, Number.NaN, Number.POSITIVE_INFINITY])
      expect(() => verifyCallback(BODY, good, [SECRET], { now, toleranceSeconds })).toThrow(RangeError)
    expect(
      refusal(() => verifyCallback(BODY, good, [SECRET], { now: now + 11_000, toleranceSeconds: 10 })),
    ).toBe('too_old')
  })

  test('ten thousand signatures without the right one', () => {
    const many = Array.from({ length: 10_000 }, () => `v1,${flipped.toString('base64')}`).join(' ')
    expect(verdict({ ...good, 'webhook-signature': many })).toBe('no_match')
  })

  test('the alphabet of the encoding makes no difference to what it says', () => {
    expect(verdict({ ...good, 'webhook-signature': `v1,${urlAlphabet}` })).toBe('accepted')
  })
})

test('the reference library accepts and refuses the same', () => {
  const at = Math.floor(Date.now() / 1_000)
  const cases = [
    { headers: signed(BODY, SECRET, at), body: BODY },
    { headers: signed(BODY, OTHER, at), body: BODY },
    { headers: signed(BODY, SECRET, at), body: `${BODY}x` },
    { headers: signed(BODY, SECRET, at - 400), body: BODY },
    { headers: signed(BODY, SECRET, at + 400), body: BODY },
  ]
  const reference = cases.map(({ headers, body }) => {
    try {
      new Webhook(SECRET).verify(body, headers, { jsonParse: false })
      return true
    } catch {
      return false
    }
  })
  const ours = cases.map(
    ({ headers, body }) => refusal(() => verifyCallback(body, headers, [SECRET])) === 'accepted',
  )
  expect(ours).toEqual(reference)
  expect(ours).toEqual([true, false, false, false, false])
})
