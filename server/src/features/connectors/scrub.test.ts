import { expect, test } from 'vitest'
import type { Dial } from '../../platform/dial/dial.ts'
import { Secret } from '../../platform/secret.ts'
import { scrubbing, scrubValue } from './scrub.ts'

const answering = (body: string, headers: Record<string, string> = {}): Dial => ({
  request: async () => ({ status: 200, headers, body: Buffer.from(body) }),
  refusal: () => undefined,
  connect: () => expect.unreachable('nobody connects'),
  close: async () => undefined,
})
const request = {
  method: 'GET',
  url: 'http://x/',
  headers: {},
  signal: new AbortController().signal,
  connectTimeoutMs: 1,
  maxResponseBytes: 1,
} as const

test.each([
  ['as it is', 'sk_live_0123456789', 'you sent sk_live_0123456789!', 'you sent [secret]!'],
  ['several times', 'sk_live_0123456789', 'sk_live_0123456789 sk_live_0123456789', '[secret] [secret]'],
  ['in JSON', 'quote"back\\slash', JSON.stringify({ got: 'quote"back\\slash' }), '{"got":"[secret]"}'],
  ['in JSON with escaped slashes', 'abc/def/ghi', '{"got":"abc\\/def\\/ghi"}', '{"got":"[secret]"}'],
  ['in a URL', 'p@ss word&more', 'https://x/?key=p%40ss%20word%26more', 'https://x/?key=[secret]'],
  ['beyond ASCII', 'schlüssel-ü', 'got schlüssel-ü ü', 'got [secret] ü'],
])('a secret that an upstream echoes is taken out: %s', async (_name, value, body, expected) => {
  const { body: scrubbed } = await scrubbing(answering(body), [new Secret(value)]).request(request)
  expect(scrubbed.toString()).toBe(expected)
})

test('headers are scrubbed as well', async () => {
  const dial = answering('', { 'www-authenticate': 'Bearer token="sk_live_0123456789"' })
  const { headers } = await scrubbing(dial, [new Secret('sk_live_0123456789')]).request(request)
  expect(headers).toEqual({ 'www-authenticate': 'Bearer token="[secret]"' })
})

test('without a secret in it a body stays the same bytes, also when it is no text', async () => {
  const bytes = Buffer.from([0xff, 0, 0xfe, 0x80])
  const dial = { ...answering(''), request: async () => ({ status: 200, headers: {}, body: bytes }) }
  expect((await scrubbing(dial, [new Secret('sk_live_0123456789')]).request(request)).body).toBe(bytes)
})

test('a value that is too short to be meant is left alone', async () => {
  const { body } = await scrubbing(answering('tests and testing'), [new Secret('test')]).request(request)
  expect(body.toString()).toBe('tests and testing')
})

test('plain JSON is rid of secrets in texts and names, however deep and however they are spelled', () => {
  const value = 'k/ey "1" ünd+mehr'
  const before = {
    [`x-${value}`]: [`a ${value} b`, { url: `https://x/?k=${encodeURIComponent(value)}` }],
    text: JSON.stringify({ value }),
    plain: ['nothing', 1, true, null],
  }
  expect(scrubValue(before, [new Secret(value)])).toEqual({
    'x-[secret]': ['a [secret] b', { url: 'https://x/?k=[secret]' }],
    text: '{"value":"[secret]"}',
    plain: ['nothing', 1, true, null],
  })
  expect(scrubValue(before, [])).toBe(before)
})
