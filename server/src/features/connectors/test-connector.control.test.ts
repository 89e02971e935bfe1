import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub, KEY } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import { json, silence } from '../../../testing/upstream.ts'
import { testConnectorControl } from './test-connector.control.ts'

interface Answer {
  readonly healthy: boolean
  readonly message: string
  readonly latency_ms: number
  readonly details: Record<string, unknown>
  readonly code?: string
}

const clock = manualClock()
let hub: CallingHub
let call: CallServer
let token: string

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  const { dial, resolveSecret, configDeps } = hub
  // Control dials whatever its rules allow; here that is this machine's test server.
  call = await hub.serve((app) => testConnectorControl(app, { ...configDeps, clock, dial, resolveSecret }))
})
afterAll(() => hub.close())
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId)
  hub.upstream.reset(json(200, {}))
})

const api = (secret = 'key', settings: object = {}) => ({
  kind: 'http',
  settings: {
    base_url: hub.upstream.url,
    auth: { type: 'bearer' },
    health: { path: '/me' },
    operations: { read: { method: 'GET', path: '/' } },
    ...settings,
  },
  secrets: { token: secret },
})
const configured = (connector: object) =>
  hub.configure({ policies: {}, connectors: { api: connector } } as Parameters<CallingHub['configure']>[0])
const tested = (body: object = {}) => call<Answer>('POST', '/connectors/api/test', token, { body })
const draft = (connector: object) =>
  call<Answer & { details: { path: string }[] }>('POST', '/connectors/test', token, { body: { connector } })
const events = () =>
  hub.query<{ connector: string | null; severity: string; message: string; data: object; trace_id: string }>(
    `select connector, severity, message, data, trace_id from event
      where type = 'connector.tested' and tenant_id = $1 order by seq`,
    [hub.tenantId],
  )

test('one call with the secret of the connector, told in an event', async () => {
  await configured(api())
  const answer = await tested({ reason: 'before the launch' })
  expect(answer).toMatchObject({ status: 200, body: { healthy: true, details: { http_status: 200 } } })
  expect(hub.upstream.requests.map(({ method, url }) => `${method} ${url}`)).toEqual(['GET /me'])
  expect(hub.upstream.requests[0]?.headers.authorization).toBe(`Bearer ${KEY}`)
  expect((await events()).at(-1)).toMatchObject({
    connector: 'api',
    severity: 'info',
    message: expect.stringMatching(/The connector api was tested by .*HTTP 200/),
    data: { kind: 'http', healthy: true, reason: 'before the launch', actor: expect.any(String) },
  })
})

test('what is wrong with upstream or secret is the answer, and no secret is in it', async () => {
  await configured(api())
  hub.upstream.reset(json(401, { you: KEY }))
  const refused = await tested()
  expect(refused).toMatchObject({ status: 200, body: { healthy: false, details: { http_status: 401 } } })
  expect(refused.text).not.toContain(KEY)
  expect((await events()).at(-1)).toMatchObject({ severity: 'warning', data: { healthy: false } })
  await configured(api('nowhere'))
  expect(await tested()).toMatchObject({
    status: 200,
    body: { healthy: false, details: { cause: 'secret_unresolved' } },
  })
  await configured(api('key', { base_url: 'http://127.0.0.1:1' }))
  expect(await tested()).toMatchObject({ body: { healthy: false, details: { cause: 'refused' } } })
  await configured({
    kind: 'callback',
    settings: { url: hub.upstream.url },
    secrets: { signing_secret: 'key' },
  })
  expect(await tested()).toMatchObject({ body: { healthy: false, details: { cause: 'secret_unresolved' } } })
})

test('an upstream that never answers is unhealthy after ten seconds', async () => {
  await configured(api())
  hub.upstream.reset(silence)
  const answer = tested()
  await vi.waitFor(() => expect(hub.upstream.requests).toHaveLength(1))
  await clock.advance(10_000)
  expect((await answer).body).toEqual({
    healthy: false,
    message: expect.stringMatching(/within 10 seconds/),
    latency_ms: 10_000,
    details: { cause: 'timeout' },
  })
})

test('a callback is tested without a message and without a signature', async () => {
  const settings = { url: `${hub.upstream.url}/hooks` }
  await configured({ kind: 'callback', settings, secrets: { signing_secret: 'signing' } })
  hub.upstream.reset(json(405, {}))
  expect((await tested()).body).toMatchObject({ healthy: true, details: { http_status: 405 } })
  const [request] = hub.upstream.requests
  expect(request).toMatchObject({ method: 'HEAD', url: '/hooks', body: '' })
  expect(Object.keys(request?.headers ?? {}).filter((name) => name.startsWith('webhook-'))).toEqual([])
  hub.upstream.reset(json(502, {}))
  expect((await tested()).body).toMatchObject({ healthy: false })
})

test('a draft is checked like one that is saved, called, and not stored', async () => {
  const versions = () => hub.query('select count(*) from config_version')
  const before = await versions()
  expect(await draft(api())).toMatchObject({ status: 200, body: { healthy: true } })
  const [last] = (await events()).slice(-1)
  expect(last).toMatchObject({ connector: null, message: expect.stringMatching(/^A draft of a connector/) })
  const seen = hub.upstream.requests.length
  const bad = await draft({ ...api('unknown', { base_url: 'http://169.254.169.254' }) })
  expect(bad).toMatchObject({ status: 422, body: { code: 'config_invalid' } })
  expect(bad.body.details.map(({ path }) => path)).toEqual([
    '/body/connector/settings/base_url',
    '/body/connector/secrets/token',
  ])
  expect(hub.upstream.requests).toHaveLength(seen)
  expect(await versions()).toEqual(before)
})

test('a connector that is not there, of another workspace, or of one who may only read', async () => {
  await configured(api())
  const others = await hub.access.bearer(hub.otherId)
  const same = { body: {}, headers: { 'x-request-id': 'same' } }
  const foreign = await call('POST', '/connectors/api/test', others, same)
  const missing = await call('POST', '/connectors/none/test', token, same)
  expect([foreign.status, foreign.text]).toEqual([404, missing.text])
  expect((await call('POST', '/connectors/api/test', token, { body: { now: true } })).status).toBe(400)
  const seen = hub.upstream.requests.length
  const reader = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.control.read'] })
  expect((await call('POST', '/connectors/api/test', reader, { body: {} })).status).toBe(403)
  expect(hub.upstream.requests).toHaveLength(seen)
})
