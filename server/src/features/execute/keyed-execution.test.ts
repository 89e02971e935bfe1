/** The table of docs/decisions/0013, row by row, over two executors on one database as two processes have them. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { testPlatform } from '../../../testing/database.ts'
import { executionKeys } from '../../../testing/execution-keys.ts'
import { tcpRelay } from '../../../testing/tcp-relay.ts'
import { UNLIMITED } from '../../../testing/unlimited.ts'
import { type Answer, json, oneAfterTheOther } from '../../../testing/upstream.ts'
import { newId } from '../../platform/ids.ts'
import { startTracing } from '../../platform/telemetry/tracing.ts'
import type { ConfigDocument } from '../configs/configs.ts'
import { executeExec } from './execute.exec.ts'
import { createExecutor, createRequestLog, type ExecutionKeys, type RequestLog } from './execute.ts'
import { createExecutionCare } from './execute.worker.ts'

let hub: CallingHub
let requestLog: RequestLog
let keys: ExecutionKeys[]
/** Two processes of the plane. */
let processes: [CallServer, CallServer]
let token: string
let stopTracing: () => Promise<void>

interface Result {
  status: string
  output: unknown
  execution_id: string
  idempotency: { key: string; upstream_key: string; replayed: boolean; expires_at: string | null }
  request_id: string
  code: string
  outcome: string
  retryable: boolean
  settle?: string
  settled_by?: string
}

/** What was said of the keys that were asked for, in this test. */
const verdicts: string[] = []
const heard = (each: ExecutionKeys): ExecutionKeys => ({
  ...each,
  claim: async (claim) => {
    const row = await each.claim(claim)
    verdicts.push(row.verdict)
    return row
  },
})

beforeAll(async () => {
  stopTracing = startTracing({ serviceName: 'test', endpoint: undefined })
  hub = await callingHub('orchestrator-exec')
  const { platform } = hub.database
  requestLog = createRequestLog(platform)
  keys = [heard(executionKeys(platform)), heard(executionKeys(platform))]
  const served = keys.map((each) =>
    hub.serve((app) => executeExec(app, createExecutor({ ...hub, platform, requestLog, keys: each }))),
  )
  processes = (await Promise.all(served)) as [CallServer, CallServer]
  await hub.configure(document(hub.upstream.url))
})
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.execute'] })
})
afterEach(() => {
  hub.upstream.reset(json(200, {}))
  verdicts.length = 0
})
afterAll(async () => {
  for (const each of keys) await each.close()
  await requestLog.close()
  await hub.close()
  await stopTracing()
})

const operations = {
  get: { method: 'GET', path: '/items' },
  charge: { method: 'POST', path: '/charges', body: '{{input}}', idempotency_key_header: 'Idempotency-Key' },
  mail: { method: 'POST', path: '/mails', body: '{{input}}' },
}
const api = (url: string, more: object = {}) => ({
  kind: 'http',
  settings: { base_url: url, operations },
  ...more,
})
const document = (url: string, more: object = {}): ConfigDocument => ({
  policies: {
    default: { retry: { max_attempts: 2, base_ms: 1, cap_ms: 1 }, ...UNLIMITED },
    excused: { idempotency: { required: false } },
    short: { idempotency: { keep_ms: 60_000 } },
  },
  connectors: {
    api: api(url),
    excused: api(url, { policy: 'excused' }),
    closed: api('http://127.0.0.1:1'),
    ...more,
  },
})

interface Ask {
  readonly at?: 0 | 1
  readonly headers?: Record<string, string>
  readonly as?: string
}
const ask = (key: string | undefined, body: object = {}, { at = 0, headers = {}, as = token }: Ask = {}) =>
  processes[at]<Result>('POST', '/execute', as, {
    body: { connector: 'api', operation: 'charge', input: { amount: 5 }, ...body },
    headers: { ...(key !== undefined && { 'idempotency-key': key }), ...headers },
  })
const sent = () => hub.upstream.requests
const mail = { operation: 'mail' }
const rowOf = async (key: string) =>
  (
    await hub.query<{ state: string; lease: number; tries: number; due: boolean }>(
      `select state, lease, tries, next_try_at is not null as due from execution_key where tenant_id = $1 and key = $2`,
      [hub.tenantId, key],
    )
  )[0]
const change = (key: string, set: string) =>
  hub.query(`update execution_key set ${set} where tenant_id = $1 and key = $2`, [hub.tenantId, key])
const endLease = (key: string) => change(key, `lease_until = clock_timestamp() - interval '1 second'`)

/** An upstream that holds its answers back until `release`. */
function holding(answer: Answer): { answer: Answer; release(): void } {
  const waiting: (() => void)[] = []
  let open = false
  return {
    answer: (...exchange) => {
      if (open) answer(...exchange)
      else waiting.push(() => answer(...exchange))
    },
    release: () => {
      open = true
      for (const go of waiting.splice(0)) go()
    },
  }
}
const arrived = (count = 1) => vi.waitFor(() => expect(sent()).toHaveLength(count), 20_000)

describe('without a key', () => {
  test('an operation that may have an effect is refused, with a link to what to do', async () => {
    const answer = await ask(undefined)
    expect(answer).toMatchObject({
      status: 400,
      headers: { link: '</problems/idempotency_key_missing>; rel="describedby"' },
      body: { code: 'idempotency_key_missing', details: [{ path: '/headers/idempotency-key' }] },
    })
    expect(sent()).toEqual([])
  })

  test('a safe one runs, and a dry run too; nothing is remembered', async () => {
    const safe = await ask(undefined, { operation: 'get' })
    expect(safe.body.idempotency).toEqual({
      key: `orch-${safe.body.execution_id}`,
      upstream_key: `orch-${safe.body.execution_id}`,
      replayed: false,
      expires_at: null,
    })
    expect((await ask(undefined, { options: { dry_run: true } })).status).toBe(200)
  })

  test('one that its policy excuses runs, with one attempt', async () => {
    hub.upstream.reset(json(503, {}))
    const answer = await ask(undefined, { connector: 'excused' })
    expect(answer).toMatchObject({ status: 502, body: { attempts: 1, outcome: 'unknown', retryable: false } })
    expect(sent()).toHaveLength(1)
  })
})

describe('the same call with the same key', () => {
  test('gets the first answer from any process: status, body, content headers and the first request id', async () => {
    hub.upstream.reset(json(201, { id: 'ch_1', deep: [null, 1.5, 'ü\u0001'] }))
    const key = newId()
    const first = await ask(key)
    expect(first.body).toMatchObject({ status: 'ok', idempotency: { key, replayed: false } })
    const inMs = Date.parse(first.body.idempotency.expires_at ?? '') - Date.now()
    expect(inMs).toBeGreaterThan(23 * 3_600_000)
    expect(first.headers['idempotent-replayed']).toBeUndefined()
    for (const at of [0, 1] as const) {
      const again = await ask(key, {}, { at, headers: { 'x-request-id': newId() } })
      expect(again.status).toBe(200)
      expect(again.headers).toMatchObject({
        'idempotent-replayed': 'true',
        'content-type': first.headers['content-type'],
      })
      expect(again.body).toEqual({
        ...first.body,
        idempotency: { ...first.body.idempotency, replayed: true },
      })
    }
    expect(sent()).toHaveLength(1)
    // Never the caller's: another workspace may use the same on the same account of the provider.
    expect(sent()[0]?.headers['idempotency-key']).toBe(first.body.idempotency.upstream_key)
    expect(first.body.idempotency.upstream_key).toBe(`orch-${first.body.execution_id}`)
  })

  test('gets the refusal of the upstream again: it is the outcome', async () => {
    hub.upstream.reset(json(402, { error: 'card_declined' }))
    const key = newId()
    const first = await ask(key)
    expect(first.body).toMatchObject({ code: 'upstream_rejected', outcome: 'refused' })
    const again = await ask(key, {}, { at: 1 })
    expect(again).toMatchObject({ status: first.status, headers: { 'idempotent-replayed': 'true' } })
    expect(again.headers['content-type']).toBe(first.headers['content-type'])
    expect(again.body).toEqual({ ...first.body, idempotency: { ...first.body.idempotency, replayed: true } })
    expect(sent()).toHaveLength(1)
  })

  test('is refused while the first one runs, and says which it is', async () => {
    const held = holding(json(200, { done: true }))
    hub.upstream.reset(held.answer)
    const key = newId()
    const first = ask(key)
    await arrived()
    for (const at of [0, 1] as const)
      expect(await ask(key, {}, { at })).toMatchObject({
        status: 409,
        headers: { 'retry-after': '1' },
        body: { code: 'idempotency_in_flight', execution_id: expect.any(String) },
      })
    held.release()
    expect((await first).status).toBe(200)
    expect(sent()).toHaveLength(1)
  })

  test.each([0, 1] as const)('waits for the first one when it prefers to, in process %i', async (at) => {
    const held = holding(json(200, { done: true }))
    hub.upstream.reset(held.answer)
    const key = newId()
    const first = ask(key)
    await arrived()
    const waiting = ask(key, {}, { at, headers: { prefer: 'wait=10' } })
    await vi.waitFor(() => expect(verdicts).toContain('running'), 20_000)
    held.release()
    const joined = await waiting
    expect(joined).toMatchObject({
      status: 200,
      headers: { 'preference-applied': 'wait=10', 'idempotent-replayed': 'true' },
      body: { output: { done: true }, execution_id: (await first).body.execution_id },
    })
    // It was looked at while it ran, and not claimed again and again.
    expect(verdicts).toEqual(['claimed', 'running'])
    expect(sent()).toHaveLength(1)
  })

  test('waits no longer than it prefers to', async () => {
    const held = holding(json(200, {}))
    hub.upstream.reset(held.answer)
    const key = newId()
    const first = ask(key)
    await arrived()
    expect(await ask(key, {}, { at: 1, headers: { prefer: 'wait=1' } })).toMatchObject({
      status: 409,
      headers: { 'preference-applied': 'wait=1' },
    })
    held.release()
    await first
  })

  test('a thousand times at once over two processes has one effect', async () => {
    const held = holding(json(200, { done: true }))
    hub.upstream.reset(held.answer)
    const key = newId()
    const all = Promise.all(
      Array.from({ length: 1_000 }, (_, index) => ask(key, {}, { at: index % 2 === 0 ? 0 : 1 })),
    )
    await arrived()
    held.release()
    const answers = await all
    expect(sent()).toHaveLength(1)
    const kinds = answers.map(({ status, headers }) =>
      status === 200 ? (headers['idempotent-replayed'] ? 'replay' : 'first') : status,
    )
    expect(kinds.filter((kind) => kind === 'first')).toHaveLength(1)
    expect(kinds.filter((kind) => kind !== 'first' && kind !== 'replay' && kind !== 409)).toEqual([])
    expect(await ask(key)).toMatchObject({ status: 200, body: { output: { done: true } } })
  })

  test('is answered also when the config has changed since', async () => {
    const key = newId()
    await hub.configure(document(hub.upstream.url, { passing: api(hub.upstream.url) }))
    const first = await ask(key, { connector: 'passing' })
    await hub.configure(document(hub.upstream.url))
    const again = await ask(key, { connector: 'passing' })
    expect(again).toMatchObject({ status: 200, body: { execution_id: first.body.execution_id } })
    expect((await ask(newId(), { connector: 'passing' })).status).toBe(404)
  })

  test('is a new one when the time of the key is over', async () => {
    const key = newId()
    const first = await ask(key)
    await change(key, `expires_at = clock_timestamp() - interval '1 second'`)
    const second = await ask(key)
    expect(second.body).toMatchObject({ status: 'ok', idempotency: { replayed: false } })
    expect(second.body.execution_id).not.toBe(first.body.execution_id)
    expect(sent()).toHaveLength(2)
    // Under the old one the upstream would give the old answer.
    expect(new Set(sent().map(({ headers }) => headers['idempotency-key'])).size).toBe(2)
  })
})

test.each([
  ['another input', { input: { amount: 6 } }],
  ['another operation', mail],
  ['a field more', { options: { metadata: { a: 'b' } } }],
])('a key that was used for %s is refused, without saying what differs', async (_what, body) => {
  const key = newId()
  await ask(key)
  const answer = await ask(key, body, { at: 1 })
  expect(answer).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } })
  expect(answer.text).not.toContain('amount')
  expect(sent()).toHaveLength(1)
})

test('a key of another workspace is nobody’s here', async () => {
  await hub.access.workspace('third-dev')
  const key = newId()
  await ask(key)
  const stranger = await hub.access.bearer(hub.otherId, { scopes: ['orchestrator.execute'] })
  // It has no such connector: as if the key had never been used.
  expect(await ask(key, {}, { as: stranger })).toMatchObject({
    status: 404,
    body: { code: 'connector_not_found' },
  })
})

describe('what was not carried out burns no key', () => {
  const charged = async (key: string) => {
    hub.upstream.reset(json(200, { done: true }))
    expect(await ask(key)).toMatchObject({ status: 200, body: { idempotency: { replayed: false } } })
  }

  test.each([
    ['an unknown operation', { operation: 'nothing' }, 404],
    ['a policy that is broken', { options: { timeout_ms: 60_000 } }, 422],
    ['a dry run', { options: { dry_run: true } }, 200],
  ])('%s', async (_what, body, status) => {
    const key = newId()
    expect((await ask(key, body)).status).toBe(status)
    expect(await rowOf(key)).toBeUndefined()
    await charged(key)
  })

  test('nothing arrived, after all attempts', async () => {
    const key = newId()
    expect((await ask(key, { connector: 'closed' })).body).toMatchObject({ outcome: 'not_sent', attempts: 2 })
    expect(await rowOf(key)).toBeUndefined()
    await charged(key)
  })

  test('the upstream has too much to do', async () => {
    hub.upstream.reset(json(429, {}))
    const key = newId()
    expect((await ask(key)).body).toMatchObject({ outcome: 'refused' })
    await charged(key)
  })

  test('what does no harm when it is repeated', async () => {
    hub.upstream.reset(json(500, {}))
    const key = newId()
    expect((await ask(key, { operation: 'get' })).body).toMatchObject({ outcome: 'unknown' })
    hub.upstream.reset(json(200, {}))
    expect(await ask(key, { operation: 'get' })).toMatchObject({ status: 200 })
  })
})

describe('an outcome that nobody knows', () => {
  test('is found out by the next call, under the key that went upstream', async () => {
    const seen: unknown[] = []
    hub.upstream.reset((response, request, number) => {
      seen.push(request.headers['idempotency-key'])
      json(500, {})(response, request, number)
    })
    const key = newId()
    const first = await ask(key)
    expect(first).toMatchObject({ status: 502, body: { outcome: 'unknown', retryable: true } })
    expect(await rowOf(key)).toMatchObject({ state: 'unknown', due: true })
    hub.upstream.reset(json(200, { done: true }))
    const second = await ask(key, {}, { at: 1 })
    expect(second).toMatchObject({
      status: 200,
      body: { execution_id: first.body.execution_id, output: { done: true } },
    })
    const upstreamKey = `orch-${first.body.execution_id}`
    expect([...seen, ...sent().map(({ headers }) => headers['idempotency-key'])]).toEqual(
      Array(3).fill(upstreamKey),
    )
    expect(await rowOf(key)).toMatchObject({ state: 'finished', lease: 2 })
  })

  test('stays unknown when the next call cannot be sent, or is refused', async () => {
    const key = newId()
    hub.upstream.reset(oneAfterTheOther(json(500, {}), json(500, {}), json(404, {})))
    await ask(key)
    expect((await ask(key)).body).toMatchObject({ code: 'upstream_rejected', outcome: 'unknown' })
    // Repeating a refusal would not tell more.
    expect(await rowOf(key)).toMatchObject({ state: 'unknown', due: false })
  })

  test('is said again where the upstream takes no key, with who can settle it', async () => {
    hub.upstream.reset(json(500, {}))
    const key = newId()
    const first = await ask(key, mail)
    const settle = `/executions/${first.body.execution_id}/settle`
    expect(first).toMatchObject({ status: 502, body: { outcome: 'unknown', retryable: false, settle } })
    const again = await ask(key, mail, { at: 1 })
    expect(again).toMatchObject({ status: 502, headers: { 'idempotent-replayed': 'true' } })
    expect(again.body).toEqual({ ...first.body, idempotency: { ...first.body.idempotency, replayed: true } })
    expect(sent()).toHaveLength(1)
  })

  test('of a process that died is said with the first request id', async () => {
    const held = holding(json(200, {}))
    hub.upstream.reset(held.answer)
    const key = newId()
    const first = ask(key, mail, { headers: { 'x-request-id': `first-${key}` } })
    await arrived()
    await endLease(key)
    expect(await ask(key, mail, { at: 1 })).toMatchObject({
      status: 502,
      body: { outcome: 'unknown', request_id: `first-${key}`, settle: expect.any(String) },
    })
    // It was only slow: what it knows is welcome.
    held.release()
    await first
    expect(await ask(key, mail, { at: 1 })).toMatchObject({ status: 200 })
    expect(sent()).toHaveLength(1)
  })

  test('of a call that was taken up is not told by the late first one', async () => {
    const held = holding(json(200, { from: 'first' }))
    hub.upstream.reset((response, request, number) =>
      number === 1
        ? held.answer(response, request, number)
        : json(200, { from: 'second' })(response, request, number),
    )
    const key = newId()
    const first = ask(key)
    await arrived()
    await endLease(key)
    expect((await ask(key, {}, { at: 1 })).body.output).toEqual({ from: 'second' })
    held.release()
    await first
    expect((await ask(key)).body.output).toEqual({ from: 'second' })
  })

  test('is found out by a worker, under the same key and in the same trace', async () => {
    const { platform } = hub.database
    const own = executionKeys(platform)
    const executor = createExecutor({ ...hub, platform, requestLog, keys: own })
    const timing = { lostMs: 20, dueMs: 20 }
    const care = createExecutionCare({ platform, directory: hub.directory, executor, keys: own, timing })
    hub.upstream.reset(json(500, {}))
    const [key, left] = [newId(), newId()]
    const first = await ask(key)
    await ask(left, mail)
    hub.upstream.reset(json(200, { done: true }))
    await change(key, `next_try_at = clock_timestamp() - interval '1 second'`)
    care.start()
    await vi.waitFor(async () => expect((await rowOf(key))?.state).toBe('finished'), 20_000)
    await care.stop()
    await own.close()
    expect(sent().map(({ headers, body }) => [headers['idempotency-key'], body])).toEqual([
      [`orch-${first.body.execution_id}`, '{"amount":5}'],
    ])
    expect(await rowOf(left)).toMatchObject({ state: 'unknown', due: false })
    expect(await ask(key)).toMatchObject({ status: 200, headers: { 'idempotent-replayed': 'true' } })
    const events = await hub.query<{ type: string }>(
      `select type from event where tenant_id = $1 and type in ('execution.unknown', 'execution.settled')
       and data ->> 'execution_id' = (select execution_id::text from execution_key where key = $2) order by seq`,
      [hub.tenantId, key],
    )
    expect(events.map(({ type }) => type)).toEqual(['execution.unknown', 'execution.settled'])
  })
})

describe('with the database away', () => {
  test('before: nothing is sent; at the end: the caller gets the answer, and it is stored later', async () => {
    const wire = await tcpRelay(hub.database.url)
    const platform = testPlatform(wire.url)
    const own = executionKeys(platform)
    const executor = createExecutor({ ...hub, platform, requestLog, keys: own })
    const call = await hub.serve((app) => executeExec(app, executor))
    const body = { connector: 'api', operation: 'charge', input: { amount: 5 } }
    const through = (key: string) =>
      call<Result>('POST', '/execute', token, { body, headers: { 'idempotency-key': key } })
    const held = holding(json(200, { done: true }))
    hub.upstream.reset(held.answer)
    const key = newId()
    const first = through(key)
    await arrived()
    await wire.cut()
    expect(await through(newId())).toMatchObject({ status: 503, body: { code: 'database_unavailable' } })
    held.release()
    expect(await first).toMatchObject({ status: 200, body: { output: { done: true } } })
    expect(sent()).toHaveLength(1)
    await wire.mend()
    await vi.waitFor(async () => expect((await rowOf(key))?.state).toBe('finished'), 20_000)
    await own.close()
    await platform.notifications.close()
    await platform.db.close()
    await wire.close()
  })
})
