import { expect, test } from 'vitest'
import { checkConnector } from './connectors.ts'

const paths = (config: unknown) => checkConnector('api', config).map(({ path }) => path)

test('every setting that does not fit the schema is named, not only the first', () => {
  const found = paths({
    kind: 'http',
    settings: {
      base_url: 'ftp://x',
      proxy: 'http://x',
      auth: { type: 'magic', hmac: { algorithm: 'md5' } },
      health: { path: 'health', method: 'POST' },
      operations: {
        a: { method: 'TRACE', path: '/', success_statuses: [99, 200, 200], body_type: 'xml', timeout_ms: 1 },
        b: { path: 7, pagination: { type: 'cursor', max_pages: 101 }, response: 1 },
      },
    },
    secrets: { password: 'a', wallet: 'b' },
  })
  expect(found.sort()).toEqual([
    '/secrets/wallet',
    '/settings/auth/hmac/algorithm',
    '/settings/auth/hmac/signature_header',
    '/settings/auth/type',
    '/settings/base_url',
    '/settings/health/method',
    '/settings/health/path',
    '/settings/operations/a/body_type',
    '/settings/operations/a/method',
    '/settings/operations/a/success_statuses',
    '/settings/operations/a/success_statuses/0',
    '/settings/operations/a/timeout_ms',
    '/settings/operations/b/method',
    '/settings/operations/b/pagination/max_pages',
    '/settings/operations/b/path',
    '/settings/proxy',
  ])
})

test('every setting that fits the schema and still means nothing is named as well', () => {
  const found = paths({
    kind: 'http',
    settings: {
      base_url: 'https://me:pw@api.example/?a=b',
      auth: { type: 'basic', header: 'x' },
      headers: { cookie: 'a=b', 'x-a': 'b\r\nc: d' },
      deadline_header: 'content-type',
      health: { path: '/health/{id}' },
      operations: {
        a: {
          method: 'POST',
          path: '/{id}/../x',
          query: { q: '{{input.none}}', r: '{{output.x}}' },
          headers: { Authorization: 'Bearer x', 'x-a': '{{input.object}}' },
          body: { deep: ['{{input.none}}', 'for {{input.note}}'] },
          input: { type: 'object', properties: { id: {}, note: {}, object: { type: 'object' } } },
          output: { type: 'object', properties: {}, additionalProperties: false },
          response: { a: '{{response.cookie}}', b: 1 },
          success_statuses: [409],
          retryable_statuses: [409],
          pagination: { type: 'page' },
          idempotency_key_header: 'accept',
        },
      },
    },
    secrets: { token: 'a' },
  })
  const operation = '/settings/operations/a'
  expect([...new Set(found)].sort()).toEqual(
    [
      '/secrets/password',
      '/secrets/token',
      '/settings/auth/header',
      '/settings/auth/username',
      '/settings/base_url',
      '/settings/deadline_header',
      '/settings/headers/cookie',
      '/settings/headers/x-a',
      '/settings/health/path',
      `${operation}/body/deep/0`,
      `${operation}/body/deep/1`,
      `${operation}/headers/Authorization`,
      `${operation}/headers/x-a`,
      `${operation}/idempotency_key_header`,
      `${operation}/pagination`,
      `${operation}/pagination/parameter`,
      `${operation}/path`,
      `${operation}/query/q`,
      `${operation}/query/r`,
      `${operation}/response/a`,
      `${operation}/response/b`,
      `${operation}/retryable_statuses/0`,
    ].sort(),
  )
})
