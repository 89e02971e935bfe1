import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { executionKeys } from '../../../testing/execution-keys.ts'
import { UNLIMITED } from '../../../testing/unlimited.ts'
import { json, oneAfterTheOther, silence } from '../../../testing/upstream.ts'
import type { PolicyDocument } from '../policies/policies.ts'
import { executeExec } from './execute.exec.ts'
import { createExecutor, createRequestLog, type ExecutionKeys, type RequestLog } from './execute.ts'

/** What each rule of a policy does to a call, through HTTP. Every test has a connector, and so memory, of its own. */
let hub: CallingHub
let call: CallServer
let token: string
let requestLog: RequestLog
let keys: ExecutionKeys
let number = 0

interface Result {
  readonly output: unknown
  readonly served_from: string
  readonly age_ms?: number
  readonly attempts: number
  readonly request_id: string
  readonly code: string
  readonly detail: string
  readonly outcome: string
}

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const { platform } = hub.database
  requestLog = createRequestLog(platform)
  keys = executionKeys(platform)
  call = await hub.serve((app) => executeExec(app, createExecutor({ ...hub, platform, requestLog, keys })))
  token = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.execute'] })
})
beforeEach(() => {
  hub.upstream.reset(json(200, { n: 1 }))
  hub.wouldHave.length = 0
})
afterAll(async () => {
  await keys.close()
  await requestLog.close()
  await hub.close()
})

const operations = {
  get: {
    method: 'GET',
    path: '/items/{id}',
    input: { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] },
  },
  search: { method: 'GET', path: '/items' },
  charge: { method: 'POST', path: '/charges', idempotency_key_header: 'Idempotency-Key' },
}

/** Makes a connector with this policy; gives the function that calls it. */
async function connectorWith(
  policy: PolicyDocument,
  more: { url?: string; operation?: PolicyDocument } = {},
) {
  number += 1
  const name = `api-${number}`
  const settings = { base_url: more.url ?? hub.upstream.url, operations }
  await hub.configure({
    policies: {
      default: { ...UNLIMITED, retry: { base_ms: 1, cap_ms: 5 } },
      own: policy,
      ...(more.operation && { operation: more.operation }),
    },
    connectors: {
      [name]: {
        kind: 'http',
        settings,
        policy: 'own',
        ...(more.operation && { operation_policies: { search: 'operation' } }),
      },
    },
  })
  return (operation = 'get', options: object = {}, input: object = { id: '7' }) =>
    call<Result>('POST', '/execute', token, {
      body: { connector: name, operation, input: operation === 'get' ? input : {}, options },
      ...(operation === 'charge' && { headers: { 'idempotency-key': `key-${crypto.randomUUID()}` } }),
    })
}
const times = async <T>(count: number, work: () => Promise<T>): Promise<T[]> => {
  const done: T[] = []
  for (let n = 0; n < count; n += 1) done.push(await work())
  return done
}
const statuses = (answers: readonly { status: number }[]) => answers.map(({ status }) => status)
const requests = () => hub.upstream.requests
const eventOf = (requestId: string) =>
  vi.waitFor(async () => {
    const [event] = await hub.query<{ message: string; data: Record<string, unknown> }>(
      `select message, data from event where request_id = $1 and type ~ '^execution'`,
      [requestId],
    )
    expect(event).toBeDefined()
    return event
  })
const limit = (permits: number, more: object = {}) => ({
  permits,
  period_ms: 60_000,
  burst: permits,
  ...more,
})

describe('a rate limit', () => {
  test('lets its burst through, then answers 429 with the exact wait, and says the pace in headers', async () => {
    const execute = await connectorWith({ rate_limits: { connector: limit(2) } })
    const answers = await times(3, () => execute())
    expect(statuses(answers)).toEqual([200, 200, 429])
    expect(answers[0]?.headers).toMatchObject({
      ratelimit: '"connector";r=1;t=30',
      'ratelimit-policy': '"connector";q=2;w=60',
    })
    const refused = answers[2]
    expect(refused?.body).toMatchObject({ code: 'rate_limited', outcome: 'not_sent', retryable: true })
    expect(Number(refused?.headers['retry-after'])).toBeGreaterThan(25)
    expect(refused?.headers.ratelimit).toMatch(/^"connector";r=0;t=/)
    expect(requests()).toHaveLength(2)
  })

  test('of an operation, of the connector and of a caller count apart, and all must have room', async () => {
    const execute = await connectorWith(
      { rate_limits: { connector: limit(4), caller: limit(1) } },
      { operation: { rate_limits: { operation: limit(1) } } },
    )
    const by = (rate_limit_key: string) => execute('get', { rate_limit_key })
    expect(statuses([await by('ada'), await by('ada'), await by('bob')])).toEqual([200, 429, 200])
    expect(statuses([await execute('search'), await execute('search')])).toEqual([200, 429])
    // The refused calls have charged nothing: one permit of four is left.
    expect(statuses([await execute(), await execute()])).toEqual([200, 429])
  })

  test('counts the cost of a call, which a request may raise and not lower', async () => {
    // Two of twelve are left to jobs.
    const execute = await connectorWith({ rate_limits: { connector: limit(12), cost: 4 } })
    expect(statuses([await execute(), await execute('get', { cost: 6 }), await execute()])).toEqual([
      200, 200, 429,
    ])
    expect((await execute('get', { cost: 1 })).body.code).toBe('policy_violation')
  })

  test('counts repetitions: one that finds no room is not made', async () => {
    hub.upstream.reset(json(503, {}))
    const execute = await connectorWith({
      rate_limits: { connector: limit(3) },
      retry: { max_attempts: 4, base_ms: 1, cap_ms: 5 },
    })
    const { body } = await execute()
    expect([body.code, body.attempts, requests().length]).toEqual(['upstream_error', 3, 3])
  })

  test('that refuses burns no idempotency key', async () => {
    const execute = await connectorWith({ rate_limits: { connector: limit(1) } })
    await execute()
    const headers = { 'idempotency-key': 'limited-once' }
    const again = () =>
      call<Result>('POST', '/execute', token, {
        body: { connector: `api-${number}`, operation: 'charge', input: {} },
        headers,
      })
    expect((await again()).status).toBe(429)
    expect(await hub.query('select from execution_key where key = $1', ['limited-once'])).toEqual([])
  })

  test('in shadow mode refuses nothing, says nothing to the caller, and shows in the event', async () => {
    const execute = await connectorWith({ rate_limits: { connector: limit(1, { mode: 'shadow' }) } })
    const [, second] = await times(2, () => execute())
    expect(second?.status).toBe(200)
    expect(second?.headers.ratelimit).toBeUndefined()
    expect(hub.wouldHave).toEqual(['rate_limits.connector'])
    expect((await eventOf(second?.body.request_id ?? ''))?.data).toMatchObject({
      would_have: ['rate_limits.connector'],
    })
  })
})

describe('a breaker', () => {
  test('that opened refuses calls, sends nothing, and says for how long', async () => {
    const execute = await connectorWith(
      { breaker: { mode: 'enforce', consecutive_failures: 2, open_ms: 60_000 }, retry: { max_attempts: 1 } },
      { url: 'http://127.0.0.1:1' },
    )
    expect(statuses(await times(2, () => execute()))).toEqual([502, 502])
    const refused = await execute()
    expect(refused).toMatchObject({ status: 503, body: { code: 'circuit_open', outcome: 'not_sent' } })
    expect(Number(refused.headers['retry-after'])).toBeGreaterThan(40)
  })

  test.each([
    ['an operation that may take less than the others', {}, { timeouts: { attempt_ms: 150 } }],
    ['a total time that is shorter than an attempt', { timeouts: { total_ms: 150 } }, undefined],
  ])('opens when an upstream hangs, with %s', async (_what, timeouts, operation) => {
    hub.upstream.reset(silence)
    const execute = await connectorWith(
      { breaker: { mode: 'enforce', consecutive_failures: 2 }, retry: { max_attempts: 1 }, ...timeouts },
      operation && { operation },
    )
    const answers = await times(3, () => execute('search'))
    expect(answers.map(({ body }) => body.code)).toEqual([
      'upstream_timeout',
      'upstream_timeout',
      'circuit_open',
    ])
  })

  test('does not take the usual duration of a slow operation for a fault', async () => {
    hub.upstream.reset((...asked) => setTimeout(() => json(200, {})(...asked), 150))
    const execute = await connectorWith(
      {
        breaker: { mode: 'enforce', min_calls: 2, window_ms: 30_000 },
        timeouts: { attempt_ms: 150 },
      },
      { operation: { timeouts: { attempt_ms: 10_000 } } },
    )
    expect(statuses(await times(3, () => execute('search')))).toEqual([200, 200, 200])
  })

  test('that opens while a call repeats ends its repetitions', async () => {
    hub.upstream.reset((response) => response.destroy())
    const execute = await connectorWith({
      breaker: { mode: 'enforce', consecutive_failures: 2 },
      retry: { max_attempts: 5 },
    })
    const { body } = await execute()
    expect([body.code, body.attempts, requests().length]).toEqual(['circuit_open', 2, 2])
  })
})

test('a bulkhead refuses what does not get a place in time, and lets the rest through', async () => {
  const waiting: (() => void)[] = []
  hub.upstream.reset((response) => waiting.push(() => json(200, {})(response, requests()[0] as never, 1)))
  const execute = await connectorWith({ bulkhead: { max_in_flight: 1, max_waiting: 1, wait_ms: 50 } })
  const first = execute()
  await vi.waitFor(() => expect(waiting).toHaveLength(1))
  const refused = await execute()
  expect(refused).toMatchObject({ status: 429, body: { code: 'concurrency_limited', outcome: 'not_sent' } })
  waiting[0]?.()
  expect((await first).status).toBe(200)
})

test('a retry budget that is used up lets each call be tried once', async () => {
  hub.upstream.reset(json(500, {}))
  const execute = await connectorWith({
    retry_budget: { mode: 'enforce', tokens: 14, max_ratio: 1, min_concurrent: 10 },
    retry: { max_attempts: 2 },
  })
  const answers = await times(2, () => execute())
  expect(answers.map(({ body }) => body.attempts)).toEqual([2, 1])
})

describe('for safe operations', () => {
  test('a cache answers equal calls from memory, and says how old the answer is', async () => {
    const execute = await connectorWith({ cache: { ttl_ms: 60_000 } })
    expect((await execute()).body).toMatchObject({ served_from: 'upstream', attempts: 1, output: { n: 1 } })
    expect((await execute()).body).toMatchObject({
      served_from: 'cache',
      age_ms: expect.any(Number),
      attempts: 0,
      output: { n: 1 },
    })
    expect((await execute('get', {}, { id: '8' })).body.served_from).toBe('upstream')
    expect(requests()).toHaveLength(2)
  })

  test('coalescing makes one call of equal ones at the same time', async () => {
    hub.upstream.reset((response, request, count) =>
      setTimeout(() => json(200, { n: count })(response, request, count), 50),
    )
    const execute = await connectorWith({ coalesce: { enabled: true } })
    const answers = await Promise.all([execute(), execute(), execute()])
    expect(answers.map(({ body }) => body.output)).toEqual([{ n: 1 }, { n: 1 }, { n: 1 }])
    expect(answers.map(({ body }) => body.served_from).sort()).toEqual(['coalesced', 'coalesced', 'upstream'])
  })

  test('a fallback gives the last good answer, and the event says why', async () => {
    const execute = await connectorWith({
      fallback: { type: 'stale', max_stale_ms: 60_000 },
      retry: { max_attempts: 1 },
    })
    await execute()
    hub.upstream.reset(json(503, {}))
    const stale = await execute()
    expect(stale).toMatchObject({ status: 200, body: { served_from: 'stale', output: { n: 1 } } })
    expect(await eventOf(stale.body.request_id)).toMatchObject({
      message: 'Answered by the fallback with the last good answer: The upstream answered with HTTP 503.',
      data: { served_from: 'stale' },
    })
    expect((await execute('get', {}, { id: 'never seen' })).status).toBe(502)
  })

  test('a fallback gives the answer of the policy, but never for what the upstream rejects', async () => {
    hub.upstream.reset(oneAfterTheOther(json(500, {}), json(422, {})))
    const execute = await connectorWith({
      fallback: { type: 'static', output: { n: 0 } },
      retry: { max_attempts: 1 },
    })
    expect((await execute()).body).toMatchObject({ served_from: 'static', output: { n: 0 } })
    expect((await execute()).body.code).toBe('upstream_rejected')
  })

  test('a hedge answers when the first call hangs', async () => {
    hub.upstream.reset(oneAfterTheOther(silence, json(200, { n: 2 })))
    const execute = await connectorWith({ hedge: { enabled: true, delay_ms: 100 } })
    expect((await execute()).body).toMatchObject({ output: { n: 2 }, attempts: 2 })
  })
})

test('none of these touches an operation with an effect', async () => {
  const execute = await connectorWith({
    cache: { ttl_ms: 60_000 },
    coalesce: { enabled: true },
    hedge: { enabled: true, delay_ms: 100 },
    fallback: { type: 'static', output: {} },
    retry: { max_attempts: 1 },
  })
  expect((await times(2, () => execute('charge'))).map(({ body }) => body.served_from)).toEqual([
    'upstream',
    'upstream',
  ])
  hub.upstream.reset(json(500, {}))
  expect((await execute('charge')).status).toBe(502)
})
