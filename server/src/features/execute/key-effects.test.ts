/** What becomes of a key, by what the upstream, or whoever stands before it, has said. */
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { executionKeys, sampleClaim } from '../../../testing/execution-keys.ts'
import { refusal, startMailServer } from '../../../testing/mail-server.ts'
import { UNLIMITED } from '../../../testing/unlimited.ts'
import { type Answer, json, oneAfterTheOther } from '../../../testing/upstream.ts'
import { newId } from '../../platform/ids.ts'
import { createMetrics } from '../../platform/metrics.ts'
import type { ConfigDocument } from '../configs/configs.ts'
import { executeExec } from './execute.exec.ts'
import { createExecutor, createRequestLog, type Executor, type RequestLog } from './execute.ts'
import { createExecutionCare } from './execute.worker.ts'

interface Result {
  output: unknown
  code: string
  outcome: string
  execution_id: string
  retryable: boolean
  next: string
  settle?: string
  served_from: string
  idempotency: { upstream_key: string; replayed: boolean; expires_at: string | null }
}

let hub: CallingHub
let requestLog: RequestLog
let keys: ReturnType<typeof executionKeys>
let executor: Executor
let call: CallServer
let token: string
const cleanUps: (() => Promise<unknown>)[] = []

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const { platform } = hub.database
  requestLog = createRequestLog(platform)
  keys = executionKeys(platform)
  executor = createExecutor({ ...hub, platform, requestLog, keys })
  call = await hub.serve((app) => executeExec(app, executor))
  await hub.configure(document())
})
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.execute'] })
})
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0)) await cleanUp()
  hub.upstream.reset(json(200, {}))
})
afterAll(async () => {
  await keys.close()
  await requestLog.close()
  await hub.close()
})

const body = { body: '{{input}}' }
const operations = {
  get: { method: 'GET', path: '/items' },
  charge: { method: 'POST', path: '/charges', ...body, idempotency_key_header: 'Idempotency-Key' },
  mail: { method: 'POST', path: '/mails', ...body, not_done_statuses: [500] },
  put: { method: 'PUT', path: '/things', ...body, idempotent: true },
}
const http = (more: object = {}, settings: object = {}) => ({
  kind: 'http',
  settings: { base_url: hub.upstream.url, operations, ...settings },
  ...more,
})
const document = (connectors: object = {}): ConfigDocument => ({
  policies: {
    default: { retry: { max_attempts: 2, base_ms: 1, cap_ms: 1 }, ...UNLIMITED },
    scarce: {
      retry: { max_attempts: 1 },
      rate_limits: { connector: { mode: 'enforce', permits: 1, period_ms: 3_600_000, burst: 1 } },
    },
    'standing-in': { retry: { max_attempts: 1 }, fallback: { type: 'static', output: { stale: true } } },
  },
  connectors: {
    api: http(),
    other: http(),
    scarce: http({ policy: 'scarce' }),
    'standing-in': http({ policy: 'standing-in' }),
    oauth: http(
      { secrets: { client_secret: 'key' } },
      { auth: { type: 'oauth2', oauth2: { token_url: `${hub.upstream.url}/token`, client_id: 'hub' } } },
    ),
    ...connectors,
  },
})

const ask = (key: string, of: object = {}) =>
  call<Result>('POST', '/execute', token, {
    body: { connector: 'api', operation: 'charge', input: { amount: 5 }, ...of },
    headers: { 'idempotency-key': key },
  })
const sent = () => hub.upstream.requests.map(({ url }) => url)
const rowOf = async (key: string) =>
  (
    await hub.query<{ state: string; tries: number; due: boolean; outcome: string }>(
      `select state, tries, outcome, next_try_at is not null as due from execution_key
       where tenant_id = $1 and key = $2`,
      [hub.tenantId, key],
    )
  )[0]
const makeDue = (key: string) =>
  hub.query(
    `update execution_key set next_try_at = clock_timestamp() - interval '1 second' where tenant_id = $1 and key = $2`,
    [hub.tenantId, key],
  )
const cut: Answer = (response) => void response.destroy()

describe('a call that got no further than the token endpoint', () => {
  test.each([
    ['nonsense', 200, { nonsense: true }],
    ['a bad request', 400, { error: 'invalid_scope' }],
    ['a refusal', 401, { error: 'invalid_client' }],
    ['another refusal', 403, {}],
    ['a failure', 500, {}],
  ])('%s: was not sent, and its key is free', async (_what, status, answer) => {
    hub.upstream.reset(json(status, answer))
    const key = newId()
    expect(await ask(key, { connector: 'oauth' })).toMatchObject({
      status: 502,
      body: { outcome: 'not_sent', upstream: { http_status: status }, idempotency: { expires_at: null } },
    })
    expect(await rowOf(key)).toBeUndefined()
    expect(new Set(sent())).toEqual(new Set(['/token']))
  })
})

describe('what was put off is as if it had not been tried', () => {
  test('by a status that says so in the config', async () => {
    hub.upstream.reset(json(500, {}))
    const key = newId()
    expect((await ask(key, { operation: 'mail' })).body).toMatchObject({ outcome: 'refused' })
    expect(await rowOf(key)).toBeUndefined()
  })

  const mailTo = async (port: number) => {
    const smtp = {
      kind: 'smtp',
      settings: { host: '127.0.0.1', port, tls: 'none', from: 'shop@shop.example' },
    }
    await hub.configure(document({ smtp }))
    const input = { to: ['bob@example.com'], subject: 'Hello', text: 'Hi Bob.' }
    return (key: string) => ask(key, { connector: 'smtp', operation: 'send', input })
  }

  test('by a mail server that makes strangers wait', async () => {
    const server = await startMailServer({
      onRcptTo: (_address, _session, done) => done(refusal(451, 'greylisted')),
    })
    cleanUps.push(server.close)
    const send = await mailTo(server.port)
    const key = newId()
    expect((await send(key)).body).toMatchObject({ outcome: 'refused', retryable: true })
    expect(await rowOf(key)).toBeUndefined()
  })

  test('by a mail server that goes before the message is whole', async () => {
    const server = createServer((socket) => {
      socket.write('220 mail.example\r\n')
      socket.on('error', () => undefined)
      socket.on('data', (line) => {
        if (/^DATA/i.test(line.toString())) socket.destroy()
        else socket.write('250 ok\r\n')
      })
    }).listen(0, '127.0.0.1')
    await once(server, 'listening')
    cleanUps.push(() => new Promise((resolve) => server.close(resolve)))
    const send = await mailTo((server.address() as AddressInfo).port)
    const key = newId()
    expect((await send(key)).body).toMatchObject({ outcome: 'not_sent' })
    expect(await rowOf(key)).toBeUndefined()
  })

  test('but not by one that refuses the recipient for good', async () => {
    const server = await startMailServer({
      onRcptTo: (_address, _session, done) => done(refusal(550, 'unknown')),
    })
    cleanUps.push(server.close)
    const send = await mailTo(server.port)
    const key = newId()
    expect((await send(key)).body).toMatchObject({ outcome: 'refused' })
    expect(await rowOf(key)).toMatchObject({ state: 'finished' })
  })
})

describe('a refusal after a lost attempt', () => {
  test('is the outcome where the upstream knows our key', async () => {
    hub.upstream.reset(oneAfterTheOther(cut, json(402, { error: 'card_declined' })))
    const key = newId()
    const first = await ask(key)
    expect(first).toMatchObject({ status: 502, body: { code: 'upstream_rejected', outcome: 'refused' } })
    expect(await ask(key)).toMatchObject({ status: 502, headers: { 'idempotent-replayed': 'true' } })
    expect(sent()).toHaveLength(2)
  })

  test.each([
    ['charge', 401],
    ['charge', 404],
    ['charge', 409],
    ['put', 422],
  ])(
    '%s, HTTP %i: says nothing of the lost one, and who can settle it is named',
    async (operation, status) => {
      hub.upstream.reset(oneAfterTheOther(cut, json(status, {})))
      const key = newId()
      const { body } = await ask(key, { operation })
      expect(body).toMatchObject({
        outcome: 'unknown',
        settle: `/executions/${body.execution_id}/settle`,
        next: expect.stringContaining('`settle`'),
      })
      expect(await rowOf(key)).toMatchObject({ state: 'unknown' })
    },
  )
})

test('an answer that is too large for its key is kept elsewhere and given again byte for byte', async () => {
  const large = { text: 'x'.repeat(1024 * 1024 - 20) }
  hub.upstream.reset(json(200, large))
  const key = newId()
  const first = await ask(key)
  expect(first.status).toBe(200)
  expect(first.body.output).toEqual(large)
  const [again, third] = [await ask(key), await ask(key)]
  expect(again).toMatchObject({ status: 200, headers: { 'idempotent-replayed': 'true' } })
  expect(again.text).toBe(first.text.replace('"replayed":false', '"replayed":true'))
  expect(third.text).toBe(again.text)
  expect(sent()).toHaveLength(1)
  // Its place is given up with the key; then it is gone, and the call is still not made again.
  const { tenantId } = hub
  const owner = { kind: 'execution', id: String(first.body.execution_id) } as const
  const kept = await hub.payloads.findOf(tenantId, owner)
  await hub.database.db.transaction((tx) => hub.payloads.erase(tx, tenantId, [kept?.id ?? '']))
  expect(await ask(key)).toMatchObject({
    status: 410,
    body: { code: 'idempotent_response_gone', execution_id: first.body.execution_id, retryable: false },
  })
  expect(sent()).toHaveLength(1)
})

test('an answer that cannot be kept is given once, and the call not made again', async () => {
  hub.upstream.reset(json(200, { text: 'x'.repeat(1024 * 1024 - 20) }))
  const key = newId()
  await hub.payloadStore.goAway()
  try {
    expect((await ask(key)).status).toBe(200)
  } finally {
    await hub.payloadStore.comeBack()
  }
  expect(await ask(key)).toMatchObject({ status: 410, body: { code: 'idempotent_response_gone' } })
  expect(sent()).toHaveLength(1)
})

test('the answer of a fallback is not kept: who asks again gets the upstream’s', async () => {
  hub.upstream.reset(json(500, {}))
  const key = newId()
  const asked = { connector: 'standing-in', operation: 'get' }
  expect((await ask(key, asked)).body).toMatchObject({
    served_from: 'static',
    idempotency: { expires_at: null },
  })
  hub.upstream.reset(json(200, { fresh: true }))
  expect((await ask(key, asked)).body).toMatchObject({ served_from: 'upstream', output: { fresh: true } })
})

test('a claim gets a row also when the key is given back at that moment', async () => {
  const { tenantId } = hub
  const processes = Array.from({ length: 4 }, () => executionKeys(hub.database.platform))
  const shared = Array.from({ length: 5 }, () => newId())
  const caller = async (at: number): Promise<string[]> => {
    const own = processes[at % 4] ?? keys
    const verdicts: string[] = []
    for (let n = 0; n < 40; n += 1) {
      const claim = sampleClaim({ tenantId, key: shared[(at + n) % 5] ?? '' })
      const { verdict, lease } = await own.claim(claim)
      verdicts.push(verdict)
      if (verdict === 'claimed') await own.end({ ...claim, lease, to: 'released' })
    }
    return verdicts
  }
  const verdicts = (await Promise.all(Array.from({ length: 60 }, (_, at) => caller(at)))).flat()
  expect(new Set(verdicts)).toEqual(new Set(['claimed', 'running']))
  await Promise.all(processes.map((each) => each.close()))
})

test('a dry run says that nobody answered', async () => {
  expect((await ask(newId(), { options: { dry_run: true } })).body.served_from).toBe('dry_run')
})

test.each([
  ['POST', true],
  ['DELETE', false],
])('a lost %s is left to the worker only when it went out with the key', async (method, due) => {
  const settings = { mode: 'test', base_url: hub.upstream.url }
  await hub.configure(document({ stripe: { kind: 'stripe', settings, secrets: { api_key: 'key' } } }))
  hub.upstream.reset(cut)
  const key = newId()
  const input = { method, path: '/coupons/summer' }
  expect((await ask(key, { connector: 'stripe', operation: 'request', input })).body).toMatchObject({
    outcome: 'unknown',
    retryable: true,
  })
  expect(await rowOf(key)).toMatchObject({ state: 'unknown', due })
})

test.each([
  ['put', 'it is run again when the call is repeated, or an operator settles it.'],
  ['mail', 'an operator has to settle it.'],
  ['charge', 'it will be run again under the same key.'],
])('the event of a lost %s says what becomes of it', async (operation, future) => {
  hub.upstream.reset(cut)
  const { body } = await ask(newId(), { operation })
  const events = await hub.query<{ message: string }>(
    `select message from event where type = 'execution.unknown' and data ->> 'execution_id' = $1`,
    [body.execution_id],
  )
  expect(events).toEqual([{ message: `Nobody knows whether it had its effect; ${future}` }])
})

describe('the worker', () => {
  const caring = () => {
    // The metrics of one process can be made once.
    const platform = { ...hub.database.platform, metrics: createMetrics('test', false) }
    const timing = { lostMs: 20, dueMs: 20 }
    const own = createExecutor({ ...hub, platform, requestLog, keys })
    const care = createExecutionCare({ platform, directory: hub.directory, executor: own, keys, timing })
    care.start()
    cleanUps.push(care.stop)
  }
  const unknown = async (connector: string): Promise<string> => {
    hub.upstream.reset(json(500, {}))
    const key = newId()
    expect((await ask(key, { connector })).body).toMatchObject({ outcome: 'unknown' })
    await hub.query('update execution_key set next_try_at = null where tenant_id = $1 and key = $2', [
      hub.tenantId,
      key,
    ])
    hub.upstream.reset(json(500, {}))
    return key
  }
  const triedAgain = (key: string) =>
    vi.waitFor(async () => {
      const row = await rowOf(key)
      expect(row).toMatchObject({ state: 'unknown', due: true })
      return row
    }, 20_000)
  const leaseOf = async (key: string): Promise<number> =>
    (await hub.query<{ lease: number }>('select lease from execution_key where key = $1', [key]))[0]?.lease ??
    0

  test('spends its tries on runs that sent something, and on no others', async () => {
    const [tried, refused] = [await unknown('other'), await unknown('scarce')]
    expect([await rowOf(tried), await rowOf(refused)]).toMatchObject([{ tries: 0 }, { tries: 0 }])
    await makeDue(tried)
    await makeDue(refused)
    caring()
    await vi.waitFor(async () => {
      expect(await leaseOf(tried)).toBeGreaterThan(1)
      expect(await leaseOf(refused)).toBeGreaterThan(1)
    }, 20_000)
    expect(await triedAgain(tried)).toMatchObject({ tries: 1 })
    // What the first caller was told stands: the rate limit says nothing of it.
    expect(await triedAgain(refused)).toMatchObject({ tries: 0, outcome: 'upstream_error' })
  })

  test('goes on with others while one upstream hangs', async () => {
    const hanging = await Promise.all(Array.from({ length: 30 }, () => unknown('api')))
    const quick = await unknown('other')
    hub.upstream.reset((...exchange) => {
      if (exchange[1].body.includes('quick')) json(200, {})(...exchange)
    })
    await hub.query(`update execution_key set input = '{"quick":1}' where key = $1`, [quick])
    for (const key of hanging) await makeDue(key)
    await makeDue(quick)
    caring()
    await vi.waitFor(async () => expect((await rowOf(quick))?.state).toBe('finished'), 8_000)
    expect(sent().length).toBeLessThanOrEqual(5)
  })
})
