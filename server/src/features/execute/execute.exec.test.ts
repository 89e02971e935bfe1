import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub, KEY } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { testPlatform } from '../../../testing/database.ts'
import { executionKeys } from '../../../testing/execution-keys.ts'
import { tcpRelay } from '../../../testing/tcp-relay.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { UNLIMITED } from '../../../testing/unlimited.ts'
import { json, oneAfterTheOther, silence } from '../../../testing/upstream.ts'
import { newId } from '../../platform/ids.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { startTracing } from '../../platform/telemetry/tracing.ts'
import { type ConfigDocument, createActiveConfigs, editConfig } from '../configs/configs.ts'
import { executeExec } from './execute.exec.ts'
import { createExecutor, createRequestLog, type ExecutionKeys, type RequestLog } from './execute.ts'

let hub: CallingHub
let call: CallServer
let token: string
let requestLog: RequestLog
let keys: ExecutionKeys
let stopTracing: () => Promise<void>

interface Result {
  execution_id: string
  output: unknown
  attempts: number
  idempotency: { key: string; upstream_key: string }
  request_id: string
  trace_id: string
  code: string
  outcome: string
  details: { path: string }[]
}

beforeAll(async () => {
  stopTracing = startTracing({ serviceName: 'test', endpoint: undefined })
  hub = await callingHub('orchestrator-exec')
  const { platform } = hub.database
  requestLog = createRequestLog(platform)
  keys = executionKeys(platform)
  call = await hub.serve((app) => executeExec(app, createExecutor({ ...hub, platform, requestLog, keys })))
  await hub.configure(document(hub.upstream.url))
})
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.execute'] })
})
afterEach(() => hub.upstream.reset(json(200, {})))
afterAll(async () => {
  await keys.close()
  await requestLog.close()
  await hub.close()
  await stopTracing()
})

const INPUT = {
  type: 'object',
  properties: { id: { type: 'string', minLength: 1 }, amount: { type: 'integer', minimum: 1 } },
  required: ['id'],
  additionalProperties: false,
}
const operations = {
  get: { method: 'GET', path: '/items/{id}', input: INPUT },
  charge: {
    method: 'POST',
    path: '/charges',
    body: '{{input}}',
    input: INPUT,
    idempotency_key_header: 'Idempotency-Key',
  },
  mail: { method: 'POST', path: '/mails', body: '{{input}}', input: INPUT },
  strict: {
    method: 'POST',
    path: '/strict',
    output: { type: 'object', properties: { ok: { const: true } }, required: ['ok'] },
  },
}
const api = (url: string, more: object = {}) => ({
  kind: 'http',
  settings: { base_url: url, auth: { type: 'bearer' }, operations },
  secrets: { token: 'key' },
  ...more,
})
const document = (url: string): ConfigDocument => ({
  policies: {
    default: { retry: { max_attempts: 3, base_ms: 1, cap_ms: 1 }, ...UNLIMITED },
    hasty: { timeouts: { connect_ms: 100, attempt_ms: 100, total_ms: 400 }, retry: { max_attempts: 2 } },
  },
  connectors: {
    api: api(url),
    hasty: api(url, { policy: 'hasty' }),
    unarmed: api(url, { secrets: { token: 'nowhere' } }),
    closed: api('http://127.0.0.1:1'),
    open: { kind: 'http', settings: { base_url: url, operations } },
  },
})

/** With a key of its own unless told otherwise, as whoever wants an effect must. */
const execute = (body: object, headers: Record<string, string> = {}) =>
  call<Result>('POST', '/execute', token, {
    body: { connector: 'api', operation: 'get', input: { id: 'i1' }, ...body },
    headers: { ...('operation' in body && { 'idempotency-key': newId() }), ...headers },
  })
const charge = (headers: Record<string, string> = {}) => execute({ operation: 'charge' }, headers)

const requests = () => hub.upstream.requests
const sentKeys = () => requests().map(({ headers }) => headers['idempotency-key'])

/** What the execution has left behind. */
const logOf = (requestId: string) =>
  vi.waitFor(async () => {
    const [found] = await hub.query<{ row: Record<string, unknown>; event: Record<string, unknown> }>(
      `select row_to_json(r) as row, row_to_json(e) as event from request_log r
       join event e on e.tenant_id = r.tenant_id and e.data ->> 'execution_id' = r.id::text
       where r.request_id = $1`,
      [requestId],
    )
    if (!found) throw new Error('not written yet')
    return found
  }, 10_000)
/** Refused as `request_id`: the log is written in order, so what comes after it shows that it left nothing. */
async function leftNothing(requestId: string): Promise<void> {
  expect(requests()).toEqual([])
  const { body } = await execute({ options: { dry_run: true } })
  await logOf(body.request_id)
  const left = await hub.query(
    'select 1 from request_log where request_id = $1 union all select 1 from event where request_id = $1',
    [requestId],
  )
  expect(left).toEqual([])
}

describe('an execution', () => {
  test('answers with what the upstream said, and leaves a row and an event', async () => {
    hub.upstream.reset(json(201, { id: 'ch_1', nothing: null }))
    const answer = await execute({
      operation: 'charge',
      input: { id: 'i1', amount: 5 },
      options: { metadata: { 'order-id': '17' } },
    })
    const { request_id, trace_id, idempotency } = answer.body
    expect(answer).toMatchObject({
      status: 200,
      body: {
        status: 'ok',
        output: { id: 'ch_1', nothing: null },
        upstream: { http_status: 201 },
        attempts: 1,
        idempotency: { key: expect.any(String), replayed: false },
      },
    })
    expect(requests()).toMatchObject([
      {
        method: 'POST',
        url: '/charges',
        body: '{"id":"i1","amount":5}',
        headers: {
          authorization: `Bearer ${KEY}`,
          'idempotency-key': idempotency.upstream_key,
          'content-type': 'application/json',
        },
      },
    ])
    const { row, event } = await logOf(request_id)
    expect(row).toMatchObject({
      tenant_id: hub.tenantId,
      connector: 'api',
      operation: 'charge',
      subject: 'svc:test',
      outcome: 'ok',
      http_status: 201,
      attempts: 1,
      dry_run: false,
      config_version: 1,
      idempotency_key: idempotency.key,
      trace_id,
      metadata: { 'order-id': '17' },
    })
    expect(event).toMatchObject({
      type: 'execution.succeeded',
      connector: 'api',
      request_id,
      trace_id,
      message: 'Done at attempt 1.',
    })
  })

  test('goes on in the trace of its caller, to the upstream and into the log', async () => {
    const trace = '4bf92f3577b34da6a3ce929d0e0e4736'
    const { body } = await charge({
      traceparent: `00-${trace}-00f067aa0ba902b7-01`,
      'x-correlation-id': 'order-17',
    })
    expect(body.trace_id).toBe(trace)
    expect(requests()[0]?.headers.traceparent).toMatch(`00-${trace}-`)
    const { row, event } = await logOf(body.request_id)
    for (const told of [row, event])
      expect(told).toMatchObject({ trace_id: trace, correlation_id: 'order-17' })
  })

  test.each([null, 0, 'text', true, [1, [null]], { a: { b: [] }, toJSON: 'x', '2': 1, date: '2026-01-01' }])(
    'hands the output %j on as it is',
    async (output) => {
      hub.upstream.reset(json(200, output))
      expect((await execute({})).body.output).toEqual(output)
    },
  )

  test('takes no answer for null, and text for text', async () => {
    hub.upstream.reset((response) => void response.writeHead(204).end())
    expect((await execute({})).body).toMatchObject({ output: null, upstream: { http_status: 204 } })
    hub.upstream.reset(
      (response) => void response.writeHead(200, { 'content-type': 'text/plain' }).end('5 €'),
    )
    expect((await execute({})).body.output).toBe('5 €')
  })

  test('does not hand the secret on that the upstream echoes', async () => {
    hub.upstream.reset((...exchange) => json(200, exchange[1].headers)(...exchange))
    const echoed = await execute({})
    hub.upstream.reset((...exchange) => json(400, exchange[1].headers)(...exchange))
    const refused = await execute({})
    expect(echoed.body.output).toMatchObject({ authorization: 'Bearer [secret]' })
    expect([echoed.text, refused.text].join()).not.toContain(KEY)
    expect(refused.text).toContain('[secret]')
  })
})

describe('retries', () => {
  test('repeat with one and the same key, and a token of each attempt’s own', async () => {
    hub.upstream.reset(oneAfterTheOther(json(503, {}), json(500, {}), json(200, { done: true })))
    const { body } = await charge({ 'idempotency-key': 'order-17/charge' })
    expect(body).toMatchObject({
      attempts: 3,
      output: { done: true },
      idempotency: { key: 'order-17/charge' },
    })
    expect(sentKeys()).toEqual(Array(3).fill(`orch-${body.execution_id}`))
    expect(new Set(requests().map(({ headers }) => headers['x-orchestrator-attempt'])).size).toBe(3)
    const { event } = await logOf(body.request_id)
    expect(event.data).toMatchObject({
      retries: [
        { attempt: 1, kind: 'http_5xx' },
        { attempt: 2, kind: 'http_5xx' },
      ],
    })
  })

  test('repeat with the key of the call', async () => {
    hub.upstream.reset(oneAfterTheOther(json(503, {}), json(200, {})))
    const first = await charge()
    const second = await charge()
    expect(sentKeys()).toEqual([
      first.body.idempotency.upstream_key,
      first.body.idempotency.upstream_key,
      second.body.idempotency.upstream_key,
    ])
    expect(first.body.idempotency.upstream_key).not.toBe(second.body.idempotency.upstream_key)
  })

  test('stop when the attempts of the policy are spent', async () => {
    hub.upstream.reset(json(500, { error: 'down' }))
    const answer = await execute({})
    expect(answer).toMatchObject({
      status: 502,
      body: {
        code: 'upstream_error',
        attempts: 3,
        outcome: 'unknown',
        upstream: { http_status: 500, body_excerpt: '{"error":"down"}' },
      },
    })
    expect(requests()).toHaveLength(3)
    const { row, event } = await logOf(answer.body.request_id)
    expect(row).toMatchObject({ outcome: 'upstream_error', attempts: 3, http_status: 500 })
    expect(event).toMatchObject({
      type: 'execution.failed',
      severity: 'warning',
      message: 'The upstream answered with HTTP 500. Attempt 3, not repeated: all 3 attempts are spent.',
    })
  })

  test('wait no longer than the call has time: the caller is told when to come back', async () => {
    hub.upstream.reset(json(503, {}, { 'retry-after': '120' }))
    const answer = await execute({})
    expect(answer).toMatchObject({ status: 502, headers: { 'retry-after': '120' }, body: { attempts: 1 } })
  })

  test('wait as the upstream asks', async () => {
    hub.upstream.reset(oneAfterTheOther(json(429, {}, { 'retry-after': '1' }), json(200, {})))
    const { body } = await execute({})
    expect(body.attempts).toBe(2)
    const { event } = await logOf(body.request_id)
    expect(event.data).toMatchObject({ retries: [{ why: 'again in 1000 ms, as the upstream asks' }] })
  })
})

describe('a failed execution says what may have come of it', () => {
  test.each([
    ['no connection', { connector: 'closed' }, undefined, 'upstream_error', 'not_sent', 3],
    ['a refusal', {}, json(404, {}), 'upstream_rejected', 'refused', 1],
    ['a redirect', {}, json(302, {}, { location: '/x' }), 'upstream_rejected', 'refused', 1],
    [
      'too many requests, neither safe nor keyed',
      { operation: 'mail' },
      json(429, {}),
      'upstream_rejected',
      'refused',
      1,
    ],
    [
      'a failure, neither safe nor keyed',
      { operation: 'mail' },
      json(500, {}),
      'upstream_error',
      'unknown',
      1,
    ],
    ['a failure, keyed', { operation: 'charge' }, json(500, {}), 'upstream_error', 'unknown', 3],
    [
      'a failure, and then a refusal of the repetition',
      { operation: 'charge' },
      oneAfterTheOther(json(500, {}), json(409, {})),
      'upstream_rejected',
      'unknown',
      2,
    ],
    [
      'too many requests until the end',
      { operation: 'charge' },
      json(429, {}),
      'upstream_error',
      'refused',
      3,
    ],
    ['silence', { connector: 'hasty', operation: 'mail' }, silence, 'upstream_timeout', 'unknown', 1],
    [
      'silence, keyed',
      { connector: 'hasty', operation: 'charge' },
      silence,
      'upstream_timeout',
      'unknown',
      2,
    ],
    [
      'an answer that does not fit',
      { operation: 'strict' },
      json(200, { ok: false }),
      'upstream_rejected',
      'done',
      1,
    ],
    [
      'an answer that is broken',
      { operation: 'strict' },
      json(200, undefined, { 'content-encoding': 'gzip' }),
      'upstream_rejected',
      'done',
      1,
    ],
  ] as const)('%s', async (_what, body, upstream, code, outcome, attempts) => {
    hub.upstream.reset(upstream ?? json(200, {}))
    const answer = await execute(body)
    expect(answer.body).toMatchObject({
      code,
      outcome,
      attempts,
      idempotency: { key: expect.any(String), replayed: false },
    })
    expect((await logOf(answer.body.request_id)).row).toMatchObject({ outcome: code, attempts })
  })

  test('a connection that breaks in the middle', async () => {
    hub.upstream.reset((response) => void response.socket?.destroy())
    expect((await execute({ operation: 'mail' })).body).toMatchObject({
      code: 'upstream_error',
      outcome: 'unknown',
      attempts: 1,
    })
  })

  test('a target that may not be dialled', async () => {
    const { refusal: _unchecked, ...deps } = hub.configDeps
    const { tenantId } = hub
    const inside = api('http://127.0.0.2:1')
    await editConfig(
      deps,
      { tenantId },
      'x',
      (old) => ({ ...old, connectors: { ...old.connectors, inside } }),
      CHANGE,
    )
    const answer = await execute({ connector: 'inside' })
    expect(answer).toMatchObject({
      status: 403,
      body: { code: 'target_forbidden', detail: 'The target address is not allowed.', outcome: 'not_sent' },
    })
    await hub.configure(document(hub.upstream.url))
  })

  test('a secret without a value', async () => {
    const answer = await execute({ connector: 'unarmed' })
    expect(answer).toMatchObject({ status: 422, body: { code: 'secret_unresolved' } })
    expect(requests()).toEqual([])
    expect((await logOf(answer.body.request_id)).row).toMatchObject({
      outcome: 'secret_unresolved',
      http_status: null,
    })
  })
})

describe('a request', () => {
  test('may ask for less time than its policy gives', async () => {
    hub.upstream.reset(silence)
    expect(await execute({ options: { timeout_ms: 120 } })).toMatchObject({
      status: 504,
      body: { code: 'upstream_timeout', outcome: 'unknown' },
    })
  })

  test('may not ask for more', async () => {
    const answer = await execute({ connector: 'hasty', options: { timeout_ms: 401 } })
    expect(answer).toMatchObject({
      status: 422,
      body: { code: 'policy_violation', details: [{ path: '/body/options/timeout_ms' }] },
    })
    await leftNothing(answer.body.request_id)
  })

  test('can be tried without being sent', async () => {
    const { body } = await execute({ operation: 'charge', options: { dry_run: true } })
    expect(body).toMatchObject({
      output: { method: 'POST', headers: { authorization: 'Bearer [secret]' } },
      upstream: { http_status: null },
      attempts: 0,
    })
    expect(requests()).toEqual([])
    const { row, event } = await logOf(body.request_id)
    expect([row.dry_run, row.attempts, event.message]).toEqual([
      true,
      0,
      'Dry run: everything was checked, nothing was sent.',
    ])
  })

  test('that is only tried finds out that its secret has no value', async () => {
    const answer = await execute({ connector: 'unarmed', options: { dry_run: true } })
    expect(answer.body.code).toBe('secret_unresolved')
  })

  test('of another workspace does not find the connector, in the same words as for none', async () => {
    const same = { 'x-request-id': 'same', traceparent: `00-${'1'.repeat(32)}-${'2'.repeat(16)}-01` }
    const missing = await execute({ connector: 'nothing' }, same)
    token = await hub.access.bearer(hub.otherId, { scopes: ['orchestrator.execute'] })
    const foreign = await execute({}, same)
    expect([foreign.status, foreign.text]).toEqual([404, missing.text])
    expect(missing.body).toMatchObject({
      code: 'connector_not_found',
      details: [{ path: '/body/connector' }],
    })
  })

  test('needs its scope', async () => {
    token = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.jobs.write'] })
    expect(await execute({})).toMatchObject({ status: 403, body: { code: 'forbidden' } })
  })

  const metadata = (value: unknown) => ({ options: { metadata: value } })
  test.each([
    ['an unknown operation', { operation: 'nothing' }, 404, '/body/operation'],
    ['an operation of JavaScript’s own', { operation: 'constructor' }, 404, '/body/operation'],
    ['an input without a field', { input: {} }, 422, '/body/input/id'],
    ['an input of a wrong type', { input: { id: 'x', amount: '5' } }, 422, '/body/input/amount'],
    ['an input with a field too many', { input: { id: 'x', more: 1 } }, 422, '/body/input/more'],
    ['an input that makes no path', { input: { id: '..' } }, 422, '/body/input/id'],
    ['no input', { input: undefined }, 400, '/body/input'],
    ['a bad name', { connector: 'No Good' }, 400, '/body/connector'],
    ['an unknown field', { retries: 3 }, 400, '/body/retries'],
    ['an unknown option', { options: { retries: 3 } }, 400, '/body/options/retries'],
    ['no time', { options: { timeout_ms: 0 } }, 400, '/body/options/timeout_ms'],
    ['a time that is a text', { options: { timeout_ms: '5' } }, 400, '/body/options/timeout_ms'],
    ['metadata that is no text', metadata({ a: 1 }), 400, '/body/options/metadata/a'],
    ['metadata with an odd name', metadata({ 'a\nb': { deep: true } }), 400, '/body/options/metadata/a\nb'],
    [
      'metadata with a long name',
      metadata({ ['a'.repeat(41)]: 'x' }),
      400,
      `/body/options/metadata/${'a'.repeat(41)}`,
    ],
    [
      'too much metadata',
      metadata(Object.fromEntries(Array.from({ length: 21 }, (_, at) => [`k${at}`, '']))),
      400,
      '/body/options/metadata',
    ],
  ])('with %s is refused by its place, and nothing is sent or stored', async (_what, body, status, path) => {
    const answer = await execute(body)
    expect(answer.status).toBe(status)
    expect(answer.body.details.map((detail) => detail.path)).toContain(path)
    await leftNothing(answer.body.request_id)
  })

  test.each(['', 'a b', 'é', 'x'.repeat(256)])('with the key %j is refused', async (key) => {
    expect(await charge({ 'idempotency-key': key })).toMatchObject({
      status: 400,
      body: { code: 'idempotency_key_invalid' },
    })
    expect(requests()).toEqual([])
  })
})

test('a process that stops gives up what runs, tells the caller, and records it first', async () => {
  const { platform } = hub.database
  const own = createRequestLog({ ...platform, metrics: createMetrics('test', false) })
  const executor = createExecutor({ ...hub, platform, requestLog: own, keys })
  const ask = await hub.serve((app) => executeExec(app, executor))
  hub.upstream.reset(silence)
  const body = { connector: 'api', operation: 'mail', input: { id: 'i1' } }
  const headers = { 'x-request-id': 'given-up', 'idempotency-key': newId() }
  const answer = ask<Result>('POST', '/execute', token, { body, headers })
  await vi.waitFor(() => expect(requests()).toHaveLength(1), 20_000)
  await executor.stop()
  await own.close()
  // Looked up before anything else is waited for: by now it must be there.
  const [row] = await hub.query(`select outcome from request_log where request_id = 'given-up'`)
  expect(row).toEqual({ outcome: 'shutting_down' })
  const { status, body: problem } = await answer
  expect([status, problem.code, problem.outcome]).toEqual([503, 'shutting_down', 'unknown'])
})

test('with the database away calls go on; what they leave behind is written later', async () => {
  const wire = await tcpRelay(hub.database.url)
  const platform = testPlatform(wire.url)
  const activeConfigs = createActiveConfigs(platform)
  const own = createRequestLog(platform)
  const ownKeys = executionKeys(platform)
  const executor = createExecutor({ ...hub, activeConfigs, platform, requestLog: own, keys: ownKeys })
  const ask = await hub.serve((app) => executeExec(app, executor))
  const body = { connector: 'open', operation: 'get', input: { id: 'i1' } }
  const run = () => ask<Result>('POST', '/execute', token, { body })
  await run()
  await wire.cut()
  const answers = [await run(), await run()]
  expect(answers.map(({ status }) => status)).toEqual([200, 200])
  await wire.mend()
  await own.close()
  for (const answer of answers) await logOf(answer.body.request_id)
  activeConfigs.close()
  await platform.notifications.close()
  await platform.db.close()
  await wire.close()
})
