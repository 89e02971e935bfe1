import { afterAll, beforeAll, expect, test } from 'vitest'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import type { HttpServer } from './http-server.ts'
import { fingerprintOf, idempotencyKeyOf } from './idempotency-key.ts'
import { createHttpServer } from './server.ts'

let app: HttpServer

beforeAll(async () => {
  app = await createHttpServer({
    log: createLog('test', 'silent'),
    metrics: createMetrics('test', false),
    trustedProxies: [],
    bodyLimitBytes: 10_000,
    handlerTimeoutMs: 5_000,
    checks: [],
  })
  for (const url of ['/a', '/b'])
    app.post(url, { config: { access: 'public' } }, async (request) => ({
      key: idempotencyKeyOf(request) ?? null,
      fingerprint: fingerprintOf(request).toString('hex'),
    }))
})

afterAll(() => app.close())

const post = async (payload: string, key?: string, url = '/a') =>
  (
    await app.inject({
      method: 'POST',
      url,
      payload,
      headers: { 'content-type': 'application/json', ...(key !== undefined && { 'idempotency-key': key }) },
    })
  ).json()

test.each([
  ['bare', 'order-7', 'order-7'],
  ['quoted as in the IETF draft', '"order-7"', 'order-7'],
  ['quoted with an escape', '"a\\"b"', 'a"b'],
  ['255 characters', 'k'.repeat(255), 'k'.repeat(255)],
])('%s is a key', async (_name, header, key) => {
  expect((await post('{}', header)).key).toBe(key)
})

test.each([
  ['empty', ''],
  ['256 characters', 'k'.repeat(256)],
  ['a space', 'a b'],
  ['two headers, joined', 'a, b'],
  ['an empty quoted text', '""'],
])('%s is refused by name', async (_name, header) => {
  expect(await post('{}', header)).toMatchObject({
    code: 'idempotency_key_invalid',
    details: [{ path: '/headers/idempotency-key' }],
  })
})

test('the fingerprint is of the bytes and the route: what JSON.parse would hide makes a difference', async () => {
  const { fingerprint } = await post('{"n":0.12345678901234567890}')
  expect((await post('{"n":0.12345678901234567890}')).fingerprint).toBe(fingerprint)
  expect((await post('{"n":0.12345678901234567891}')).fingerprint).not.toBe(fingerprint)
  expect((await post('{"n": 0.12345678901234567890}')).fingerprint).not.toBe(fingerprint)
  expect((await post('{"n":1,"n":0.12345678901234567890}')).fingerprint).not.toBe(fingerprint)
  expect((await post('{"n":0.12345678901234567890}', undefined, '/b')).fingerprint).not.toBe(fingerprint)
})

test('the fingerprint knows the query, but not its order', async () => {
  const of = async (url: string) => (await post('{}', undefined, url)).fingerprint
  const plain = await of('/a')
  expect(await of('/a?')).toBe(plain)
  expect(await of('/a?x=1&y=2')).toBe(await of('/a?y=2&x=1'))
  expect(
    new Set([plain, await of('/a?x=1'), await of('/a?x=2'), await of('/a?x=1&x=2'), await of('/a?x=2&x=1')])
      .size,
  ).toBe(5)
})
