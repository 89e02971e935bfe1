import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { PassThrough, Writable } from 'node:stream'
import { Type } from 'typebox'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { Problem } from '../../problems.ts'
import type { Principal } from '../auth/principal.ts'
import { createLog } from '../log.ts'
import { createMetrics } from '../metrics.ts'
import { startTracing } from '../telemetry/tracing.ts'
import { createHttpServer, type HttpServer } from './server.ts'

const TIME_LIMIT_MS = 400

const lines: string[] = []
const sink = new Writable({
  write(chunk, _encoding, done) {
    lines.push(String(chunk))
    done()
  },
})

const principal: Principal = {
  subject: 'svc:test',
  tenantId: '01900000-0000-7000-8000-000000000001',
  scopes: new Set(['read']),
  roles: new Set(),
  tokenId: 't',
  issuedAt: Date.now(),
  expiresAt: Date.now() + 60_000,
}

async function server(): Promise<HttpServer> {
  return createHttpServer({
    log: createLog('test', 'info', sink),
    metrics: createMetrics('test', false),
    trustedProxies: [],
    bodyLimitBytes: 10_000,
    handlerTimeoutMs: TIME_LIMIT_MS,
    checks: [
      { name: 'good', check: async () => 1 },
      { name: 'bad', check: async () => Promise.reject(new Error('postgres://user:hunter2@db')) },
    ],
    access: {
      authenticate: async ({ headers: { authorization } }) => {
        if (authorization !== 'Bearer good')
          throw new Problem('auth_required', 'A valid bearer token is required.')
        return principal
      },
      authorization: {
        knows: (permission) => ['read', 'write'].includes(permission),
        refusal: ({ scopes }, permission) =>
          scopes.has(permission) ? undefined : `This needs the scope ${permission}.`,
        needs: (permission) => `Needs ${permission}.`,
      },
    },
    openApi: { title: 'test', description: 'test', version: '1' },
  })
}

let app: HttpServer
let stopTracing: () => Promise<void>

beforeAll(async () => {
  stopTracing = startTracing({ serviceName: 'test' })
  app = await server()
  const Body = Type.Object(
    { amount: Type.Integer({ minimum: 1 }), note: Type.Optional(Type.String()) },
    { additionalProperties: false },
  )
  app.post('/echo', { config: { access: 'public' }, schema: { body: Body } }, async (request) => ({
    body: request.body,
    call: request.call,
  }))
  app.get(
    '/list',
    {
      config: { access: 'public' },
      schema: { querystring: Type.Object({ limit: Type.Integer() }, { additionalProperties: false }) },
    },
    async (request) => request.query,
  )
  app.delete('/thing', { config: { access: 'public' } }, async ({ body }) => ({ body: body ?? null }))
  app.get('/bug', { config: { access: 'public' } }, async () => {
    throw new Error('select * from secret_table')
  })
  app.get('/slow', { config: { access: 'public' } }, () => new Promise(() => undefined))
  app.post('/slow', { config: { access: 'public' } }, () => new Promise(() => undefined))
  app.get('/endless', { config: { access: 'public' } }, async (_request, reply) => {
    const stream = new PassThrough()
    stream.write('the beginning')
    return reply.send(stream)
  })
  app.get('/taken-over', { config: { access: 'public' } }, async (_request, reply) => {
    reply.hijack()
    reply.raw.write('the beginning')
    setTimeout(() => reply.raw.end(' and the end'), 2 * TIME_LIMIT_MS)
  })
  app.get('/read', { config: { access: { permission: 'read' } } }, async (request) => ({
    who: request.principal.subject,
  }))
  app.get('/write', { config: { access: { permission: 'write' } } }, async () => ({}))
  await app.listen({ host: '127.0.0.1', port: 0 })
})

afterAll(async () => {
  await app.close()
  await stopTracing()
})

test('an empty body with a type is none where no body belongs', async () => {
  const headers = { 'content-type': 'application/json' }
  for (const more of [{}, { 'content-length': '0' }])
    expect(
      await app.inject({ method: 'DELETE', url: '/thing', headers: { ...headers, ...more } }),
    ).toMatchObject({ statusCode: 200, body: '{"body":null}' })
  expect((await app.inject({ method: 'DELETE', url: '/thing', headers, payload: '{' })).statusCode).toBe(400)
})

const post = (payload: string | Buffer, headers: Record<string, string> = {}) =>
  app.inject({
    method: 'POST',
    url: '/echo',
    payload,
    headers: { 'content-type': 'application/json', ...headers },
  })

/** Sends raw bytes and resolves with everything the server answered until it closed. */
const raw = (bytes: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const { port } = app.server.address() as { port: number }
    const socket = connect(port, '127.0.0.1', () => socket.write(bytes))
    let answer = ''
    socket.on('data', (chunk) => {
      answer += chunk
    })
    socket.on('close', () => resolve(answer))
    socket.on('error', reject)
  })

describe('bad bodies get a problem that names the fault, never a 500', () => {
  const nested = (depth: number) => `{"amount":1,"note":${'['.repeat(depth)}${']'.repeat(depth)}}`
  test.each([
    ['not JSON', 'amount=1', 'malformed_body', 400],
    ['empty', '', 'malformed_body', 400],
    ['1,000 levels', nested(1_000), 'malformed_body', 400],
    ['9,999 levels, never closed', '['.repeat(9_999), 'malformed_body', 400],
    ['broken UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), 'malformed_body', 400],
    ['__proto__', '{"amount":1,"__proto__":{"x":1}}', 'malformed_body', 400],
    ['constructor.prototype', '{"amount":1,"constructor":{"prototype":{}}}', 'malformed_body', 400],
    ['U+0000', '{"amount":1,"note":"a\\u0000b"}', 'malformed_body', 400],
    ['too large', `{"note":"${'x'.repeat(20_000)}"}`, 'body_too_large', 413],
  ])('%s', async (_name, payload, code, status) => {
    const answer = await post(payload)
    expect(answer.statusCode).toBe(status)
    expect(answer.headers['content-type']).toMatch(/^application\/problem\+json/)
    expect(answer.json()).toMatchObject({ code, status, type: `/problems/${code}` })
  })

  test('an escaped backslash before u0000 is an ordinary text', async () => {
    expect((await post('{"amount":1,"note":"\\\\u0000"}')).statusCode).toBe(200)
  })

  test('wrong type, missing and unknown fields are all listed with their paths; nothing is coerced or dropped', async () => {
    const answer = await post('{"amount":"1","extra":true}')
    expect(answer.statusCode).toBe(400)
    expect(answer.json().details).toEqual(
      expect.arrayContaining([
        { path: '/body/amount', message: 'must be an integer' },
        { path: '/body/extra', message: 'is not a known field' },
      ]),
    )
  })

  test('a brace inside a string does not count as depth', async () => {
    expect((await post(JSON.stringify({ amount: 1, note: '{['.repeat(200) }))).statusCode).toBe(200)
  })

  test.each([
    ['another type', { 'content-type': 'text/plain' }],
    ['an encoded body', { 'content-encoding': 'gzip' }],
  ])('%s answers 415', async (_name, headers) => {
    expect((await post('{"amount":1}', headers)).json()).toMatchObject({
      code: 'unsupported_media_type',
      status: 415,
    })
  })
})

describe('queries and paths', () => {
  test('numbers are read from the text of a query; unknown parameters are refused', async () => {
    expect((await app.inject('/list?limit=5')).json()).toEqual({ limit: 5 })
    expect((await app.inject('/list?limit=x')).json().details[0].path).toBe('/query/limit')
    expect((await app.inject('/list?limit=1&page=2')).json().details[0].path).toBe('/query/page')
  })

  test.each(['/nothing', '/%zz', '/list?limit=%00'])('%s is refused as a problem', async (url) => {
    const answer = await app.inject(url)
    expect(answer.statusCode).toBeGreaterThanOrEqual(400)
    expect(answer.statusCode).toBeLessThan(500)
    expect(answer.json().request_id).toBe(answer.headers['x-request-id'] ?? answer.json().request_id)
  })
})

test.each(['/list?limit=1', '/bug', '/nowhere'])(
  'every answer says what a browser may do with it: %s',
  async (url) => {
    const { headers } = await app.inject(url)
    expect(headers).toMatchObject({
      'content-security-policy': "default-src 'none';frame-ancestors 'none'",
      'cross-origin-opener-policy': 'same-origin',
      'cross-origin-resource-policy': 'same-origin',
      'origin-agent-cluster': '?1',
      'referrer-policy': 'no-referrer',
      'x-content-type-options': 'nosniff',
      'x-dns-prefetch-control': 'off',
      'x-download-options': 'noopen',
      'x-frame-options': 'SAMEORIGIN',
      'x-permitted-cross-domain-policies': 'none',
      'x-xss-protection': '0',
    })
    expect(headers).not.toHaveProperty('strict-transport-security')
  },
)

describe('failures inside', () => {
  test('a bug shows nothing of itself and is logged with the request id', async () => {
    const answer = await app.inject({ url: '/bug', headers: { 'x-request-id': 'bug-1' } })
    expect(answer.statusCode).toBe(500)
    expect(answer.body).not.toContain('secret_table')
    expect(answer.json()).toMatchObject({ code: 'internal_error', request_id: 'bug-1' })
    const line = lines.findLast((text) => text.includes('secret_table')) ?? ''
    expect(JSON.parse(line)).toMatchObject({
      request_id: 'bug-1',
      correlation_id: 'bug-1',
      trace_id: expect.stringMatching(/^[0-9a-f]{32}$/),
    })
  })

  test.each([
    ['GET', {}],
    ['POST', { body: '{"amount":1}', headers: { 'content-type': 'application/json' } }],
  ])('a handler that hangs is ended: %s', async (method, rest) => {
    // Over a socket: the end of a body closes a real request, and must not take its time limit along.
    const { port } = app.server.address() as { port: number }
    const answer = await fetch(`http://127.0.0.1:${port}/slow`, { method, ...rest })
    expect(await answer.json()).toMatchObject({ code: 'hub_timeout', status: 503, retryable: true })
  })

  test('an answer that has begun and does not end is cut off', async () => {
    const answer = await raw('GET /endless HTTP/1.1\r\nhost: x\r\n\r\n')
    expect(answer).toContain('the beginning')
    expect(answer).not.toMatch(/\r\n0\r\n\r\n$/)
  })

  test('an answer that its route has taken over may take longer', async () => {
    expect(await raw('GET /taken-over HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n')).toContain(
      'and the end',
    )
  })
})

describe('ids of a request', () => {
  const trace = '0af7651916cd43dd8448eb211c80319c'

  test('request id, correlation id and trace come in, go out and stand in the log line', async () => {
    const answer = await post('{"amount":1}', {
      'x-request-id': 'req-7',
      'x-correlation-id': 'order-9',
      traceparent: `00-${trace}-b7ad6b7169203331-01`,
    })
    expect(answer.headers).toMatchObject({ 'x-request-id': 'req-7', 'x-correlation-id': 'order-9' })
    expect(answer.headers.traceparent).toMatch(new RegExp(`^00-${trace}-(?!b7ad6b7169203331)[0-9a-f]{16}-`))
    expect(answer.json().call).toMatchObject({ requestId: 'req-7', correlationId: 'order-9', traceId: trace })
    const line = lines.map((text) => JSON.parse(text)).find((entry) => entry.request_id === 'req-7')
    expect(line).toMatchObject({ correlation_id: 'order-9', trace_id: trace, route: '/echo', status: 200 })
  })

  test.each([['a b'], ['x'.repeat(129)], ['{"a":1}']])(
    'an id that could harm a log is replaced: %s',
    async (id) => {
      const answer = await post('{"amount":1}', { 'x-request-id': id })
      expect(answer.headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/)
    },
  )

  test('a broken traceparent starts a new trace', async () => {
    const answer = await post('{"amount":1}', { traceparent: '00-zz-zz-01' })
    expect(answer.json().call.traceId).toMatch(/^(?!0{32})[0-9a-f]{32}$/)
  })
})

describe('access', () => {
  const get = (url: string, token?: string) =>
    app.inject({ url, headers: token ? { authorization: `Bearer ${token}` } : {} })

  test('without a valid token 401, without the permission 403 that says why, with it the principal', async () => {
    expect((await get('/read')).json().code).toBe('auth_required')
    expect((await get('/read', 'bad')).headers['www-authenticate']).toBe('Bearer')
    expect((await get('/write', 'good')).json()).toMatchObject({
      code: 'forbidden',
      detail: 'This needs the scope write.',
    })
    expect((await get('/read', 'good')).json()).toEqual({ who: 'svc:test' })
  })

  test('a server with a route that does not say who may call it does not start', async () => {
    const careless = await server()
    careless.get('/open', async () => ({}))
    await expect(careless.ready()).rejects.toThrow('GET /open does not declare config.access')
    await careless.close()
  })
})

describe('probes', () => {
  test('readiness names each dependency and hides why one fails', async () => {
    const answer = await app.inject('/ready')
    expect(answer.statusCode).toBe(503)
    expect(answer.json()).toEqual({
      ready: false,
      checks: [
        { name: 'good', ok: true },
        { name: 'bad', ok: false, detail: 'not usable' },
      ],
    })
    expect((await app.inject('/health')).json()).toEqual({ status: 'ok' })
    expect((await app.inject('/metrics')).body).toContain('orchestrator_http_request_seconds')
  })
})

test('a body far over the limit gets its answer also from a client that writes all of it first', async () => {
  const { port } = app.server.address() as { port: number }
  for (let round = 0; round < 5; round += 1)
    for (const path of ['/echo', '/read']) {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
        method: path === '/echo' ? 'POST' : 'PUT',
        headers: { 'content-type': 'application/json' },
        body: Buffer.alloc(6_000_000, 'x'),
      })
      expect(answer.headers.get('content-type')).toMatch(/^application\/problem\+json/)
      expect([413, 404]).toContain(answer.status)
    }
})

describe('raw sockets', () => {
  test('bytes that are not HTTP get a problem and the connection is closed', async () => {
    expect(await raw('nonsense\r\n\r\n')).toMatch(/^HTTP\/1.1 400 [\s\S]*"code":"malformed_request"/)
  })

  test('two Host headers are refused', async () => {
    expect(await raw('GET /health HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n')).toContain(
      'malformed_request',
    )
  })

  test('a missing Host header is refused, but not of HTTP/1.0', async () => {
    expect(await raw('GET /health HTTP/1.1\r\nconnection: close\r\n\r\n')).toMatch(
      /^HTTP\/1.1 400 [\s\S]*"code":"malformed_request"/,
    )
    expect(await raw('GET /health HTTP/1.0\r\n\r\n')).toMatch(/^HTTP\/1.1 200 /)
  })

  test('an expectation that nobody knows is ignored', async () => {
    const head = 'GET /health HTTP/1.1\r\nhost: a\r\nexpect: nonsense\r\nconnection: close\r\n\r\n'
    expect(await raw(head)).toMatch(/^HTTP\/1.1 200 /)
  })

  test('headers beyond the limit are refused', async () => {
    expect(await raw(`GET /health HTTP/1.1\r\nhost: a\r\nx: ${'y'.repeat(20_000)}\r\n\r\n`)).toContain(
      'headers_too_large',
    )
  })
})

test('a published schema lists problems and who may call', async () => {
  const document = (await app.inject('/openapi.json')).json()
  expect(document.openapi).toBe('3.1.0')
  expect(document.paths['/read'].get.security).toEqual([{ bearer: [] }])
  expect(document.paths['/read'].get.description).toContain('Needs read.')
  expect(document.paths['/echo'].post.responses.default.content).toHaveProperty('application/problem+json')
  expect((await app.inject('/docs')).body).toContain('swagger-ui')
})

test('an answer that ends while the server stops does not keep it, although its client keeps the connection', async () => {
  const stopping = await server()
  const body = new PassThrough()
  stopping.get('/begun', { config: { access: 'public' } }, () => body)
  await stopping.listen({ host: '127.0.0.1', port: 0 })
  const { port } = stopping.server.address() as { port: number }
  body.write('first ')
  const answer = await fetch(`http://127.0.0.1:${port}/begun`)
  const closing = stopping.close()
  await vi.waitFor(() => expect(stopping.server.listening).toBe(false))
  body.end('last')
  expect(await answer.text()).toBe('first last')
  // Without our doing, the connection and with it the server would end at the keep-alive time-out.
  await closing
})

test('a connection on which nothing was ever asked does not keep a server that stops', async () => {
  const stoppable = await server()
  await stoppable.listen({ host: '127.0.0.1', port: 0 })
  const socket = connect((stoppable.server.address() as { port: number }).port, '127.0.0.1')
  const accepted = once(stoppable.server, 'connection')
  const closed = once(socket, 'close')
  await accepted
  // Node would wait for its headers for a minute, longer than this test may take.
  await stoppable.close()
  await closed
})

test('a stopping server says so to requests that were on their way', async () => {
  const stopping = await server()
  const stopped = Promise.withResolvers<void>()
  stopping.addHook('preClose', async () => stopped.resolve())
  await stopping.listen({ host: '127.0.0.1', port: 0 })
  const { port } = stopping.server.address() as { port: number }
  const arrived = once(stopping.server, 'connection')
  const socket = connect(port, '127.0.0.1')
  let answer = ''
  socket.on('data', (chunk) => {
    answer += chunk
  })
  socket.write('GET /health HTTP/1.1\r\nhost: a\r\n')
  const [accepted] = (await arrived) as [Socket]
  await vi.waitFor(() => expect(accepted.bytesRead).toBeGreaterThan(0))
  const closing = stopping.close()
  await stopped.promise
  socket.write('\r\n')
  await once(socket, 'close')
  await closing
  expect(answer).toContain('"code":"shutting_down"')
  expect(answer.toLowerCase()).toContain('retry-after: 1')
})
