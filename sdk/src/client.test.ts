import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { createClient, NoAnswerError, OrchestratorError } from './client.ts'

interface Seen {
  readonly line: string
  readonly headers: IncomingHttpHeaders
  readonly body: string
}

let seen: Seen[] = []
let answers: { status?: number; type?: string; headers?: Record<string, string>; body: string }[] = []
const server = createServer(async (request, response) => {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  seen.push({
    line: `${request.method} ${request.url}`,
    headers: request.headers,
    body: Buffer.concat(chunks).toString(),
  })
  const { status = 200, type = 'application/json', headers = {}, body } = answers.shift() ?? { body: '{}' }
  response.writeHead(status, { 'content-type': type, ...headers }).end(body)
})
let baseUrl: string

beforeAll(async () => {
  await once(server.listen(0, '127.0.0.1'), 'listening')
  baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/hub`
})
beforeEach(() => {
  seen = []
  answers = []
})
afterAll(() => {
  server.closeAllConnections()
  server.close()
})

const PROBLEM = {
  type: '/problems/input_invalid',
  title: 'The input does not fit the operation',
  status: 422,
  detail: '/body/input/amount must be an integer.',
  code: 'input_invalid',
  retryable: false,
  details: [{ path: '/body/input/amount', message: 'must be an integer' }],
  request_id: 'r',
  trace_id: 't',
}
const problem = (status: number, headers = {}) => ({
  status,
  type: 'application/problem+json; charset=utf-8',
  headers,
  body: JSON.stringify({ ...PROBLEM, status }),
})

test('execute: method, path below the base, token, headers, body and answer', async () => {
  answers = [{ body: '{"status":"ok","output":{"id":"ch_1"}}' }]
  const client = createClient({ baseUrl, token: 'secret-token' })
  const request = {
    connector: 'stripe',
    operation: 'charge',
    input: { amount: 5 },
    options: { timeout_ms: 900 },
  }
  const result = await client.execute<{ id: string }>(request, {
    idempotencyKey: 'order-7',
    correlationId: 'c-1',
    traceparent: '00-1-2-01',
  })
  expect(result.output.id).toBe('ch_1')
  expect(seen[0]?.line).toBe('POST /hub/execute')
  expect(JSON.parse(seen[0]?.body ?? '')).toEqual(request)
  expect(seen[0]?.headers).toMatchObject({
    authorization: 'Bearer secret-token',
    'content-type': 'application/json',
    'idempotency-key': 'order-7',
    'x-correlation-id': 'c-1',
    traceparent: '00-1-2-01',
  })
})

test('execute: a key of its own for every call, and a wait for one that runs', async () => {
  const client = createClient({ baseUrl, token: 't' })
  const request = { connector: 'a', operation: 'b', input: 1 }
  await client.execute(request)
  await client.execute(request, { waitSeconds: 5 })
  const keys = seen.map(({ headers }) => headers['idempotency-key'])
  expect(keys).toEqual([expect.stringMatching(/^[0-9a-f-]{36}$/), expect.stringMatching(/^[0-9a-f-]{36}$/)])
  expect(keys[0]).not.toBe(keys[1])
  expect(seen.map(({ headers }) => headers.prefer)).toEqual([undefined, 'wait=5'])
})

test('jobs and events', async () => {
  const client = createClient({ baseUrl: `${baseUrl}/`, token: 't' })
  await client.createJob({ connector: 'a', operation: 'b', input: 1, queue: 'low' })
  await client.getJob('../execute')
  await client.listEvents({ type: 'job.done', limit: 5 })
  await client.listEvents()
  expect(seen.map(({ line }) => line)).toEqual([
    'POST /hub/jobs',
    'GET /hub/jobs/..%2Fexecute',
    'GET /hub/events?type=job.done&limit=5',
    'GET /hub/events?',
  ])
  expect(seen[1]?.headers['content-type']).toBeUndefined()
})

test('a problem is an OrchestratorError that carries the document', async () => {
  answers = [problem(422), problem(429, { 'retry-after': '7' })]
  const client = createClient({ baseUrl, token: 't' })
  const request = { connector: 'a', operation: 'b', input: {} }
  const error = (await client.execute(request).catch((reason: unknown) => reason)) as OrchestratorError
  expect(error).toBeInstanceOf(OrchestratorError)
  expect(error).toMatchObject({ status: 422, code: 'input_invalid', problem: { details: PROBLEM.details } })
  expect(error.message).toContain('must be an integer')
  await expect(client.execute(request)).rejects.toMatchObject({ status: 429, retryAfterSeconds: 7 })
  expect(seen).toHaveLength(2)
})

test('an answer that is not the hub’s is an OrchestratorError without a document', async () => {
  answers = [
    { status: 502, type: 'text/html', body: '<h1>Bad gateway</h1>' },
    { status: 500, type: 'application/problem+json', body: 'broken' },
  ]
  const client = createClient({ baseUrl, token: 't' })
  await expect(client.getJob('1')).rejects.toMatchObject({ code: 'http_502', problem: undefined })
  await expect(client.getJob('1')).rejects.toMatchObject({ code: 'http_500', problem: undefined })
})

test('a refused token is refreshed once, and the call made once more with the same key', async () => {
  const asked: boolean[] = []
  const client = createClient({
    baseUrl,
    getToken: async (refresh) => {
      asked.push(refresh)
      return refresh ? 'new' : 'old'
    },
  })
  answers = [problem(401), { body: '{"job_id":"1"}' }]
  const request = { connector: 'a', operation: 'b', input: 1 }
  expect((await client.createJob(request, { idempotencyKey: 'k' })).job_id).toBe('1')
  expect(seen.map(({ headers }) => [headers.authorization, headers['idempotency-key']])).toEqual([
    ['Bearer old', 'k'],
    ['Bearer new', 'k'],
  ])
  answers = [problem(401), problem(401)]
  await expect(client.createJob(request)).rejects.toMatchObject({ status: 401 })
  expect(asked).toEqual([false, true, false, true])
})

test('a fixed token is not sent twice', async () => {
  answers = [problem(401), { body: '{}' }]
  await expect(createClient({ baseUrl, token: 't' }).getJob('1')).rejects.toMatchObject({ status: 401 })
  expect(seen).toHaveLength(1)
})

test('a redirect is not followed: it would take the token along', async () => {
  answers = [{ status: 307, headers: { location: `${baseUrl}/elsewhere` }, body: '' }]
  await expect(createClient({ baseUrl, token: 't' }).getJob('1')).rejects.toMatchObject({
    name: 'NoAnswerError',
    cause: expect.any(TypeError),
  })
  expect(seen).toHaveLength(1)
})

test('the caller can give up, and so does the time limit', async () => {
  const never: typeof fetch = (_url, init) =>
    new Promise((_resolve, reject) => {
      const giveUp = () => reject(init?.signal?.reason)
      if (init?.signal?.aborted) giveUp()
      else init?.signal?.addEventListener('abort', giveUp)
    })
  const controller = new AbortController()
  const call = createClient({ baseUrl, token: 't', fetch: never }).getJob('1', { signal: controller.signal })
  controller.abort(new Error('given up'))
  await expect(call).rejects.toThrow('given up')
  const limited = createClient({ baseUrl, token: 't', fetch: never, timeoutMs: 20 })
  await expect(limited.getJob('1')).rejects.toMatchObject({ cause: { name: 'TimeoutError' } })
})

test('every failure of a call says under which key it was made, so that it can be repeated', async () => {
  const request = { connector: 'a', operation: 'b', input: 1 }
  const failing = (of: Promise<unknown>) => of.catch((error: unknown) => error)
  answers = [problem(422), { body: 'no json' }]
  const client = createClient({ baseUrl, token: 't' })
  const failures = [await failing(client.execute(request)), await failing(client.execute(request))]
  expect(failures).toEqual([expect.any(OrchestratorError), expect.any(NoAnswerError)])
  expect(failures).toMatchObject(seen.map(({ headers }) => ({ idempotencyKey: headers['idempotency-key'] })))

  // Two calls that are given up for the same reason have a key of their own each.
  const controller = new AbortController()
  controller.abort(Object.freeze(new Error('given up')))
  const { signal } = controller
  const given = await Promise.all([
    failing(client.execute(request, { signal, idempotencyKey: 'k-1' })),
    failing(client.execute(request, { signal })),
  ])
  expect(given).toMatchObject([
    { idempotencyKey: 'k-1' },
    { idempotencyKey: expect.stringMatching(/^[0-9a-f-]{36}$/) },
  ])
})

test('a client without a token or an address is refused when it is made', () => {
  expect(() => createClient({ baseUrl })).toThrow(/token/)
  expect(() => createClient({ baseUrl: 'hub', token: 't' })).toThrow(TypeError)
})
