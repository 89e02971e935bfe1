import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { policiesControl } from './policies.control.ts'
import { SYSTEM_POLICY } from './policies.ts'

let hub: CallingHub
let call: CallServer
let token: string

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  call = await hub.serve((app) => policiesControl(app, hub.configDeps))
})
afterAll(() => hub.close())
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId)
  await hub.configure({ policies: {}, connectors: {} })
})

const api = (policy?: string) => ({
  kind: 'http',
  settings: { base_url: 'https://api.example.com', operations: { call: { method: 'GET', path: '/' } } },
  ...(policy !== undefined && { policy }),
})
const put = (name: string, policy: unknown, headers: Record<string, string> = { 'if-match': '*' }) =>
  call<{ config_version: number }>('PUT', `/policies/${name}`, token, {
    body: { policy, reason: 'for the test' },
    headers,
  })
const remove = (name: string, headers: Record<string, string> = {}) =>
  call('DELETE', `/policies/${name}?reason=for%20the%20test`, token, { headers })

describe('a policy', () => {
  test('is created, read, replaced and removed; each step names the version of the config', async () => {
    const policy = { timeouts: { total_ms: 9_000 }, job_retry: { schedule_ms: [0, 60_000] } }
    const created = await put('slow', policy)
    const version = created.body.config_version
    expect(created).toMatchObject({
      status: 200,
      headers: { etag: `"${version}"` },
      body: { name: 'slow', policy, config_version: version },
    })
    expect(await call('GET', '/policies/slow', token)).toMatchObject({
      status: 200,
      headers: { etag: `"${version}"` },
      body: { name: 'slow', policy },
    })
    expect((await put('slow', {}, { 'if-match': `"${version}"` })).body.config_version).toBe(version + 1)
    expect(await remove('slow', { 'if-match': `"${version}"` })).toMatchObject({
      status: 412,
      body: { active_version: version + 1 },
    })
    expect(await remove('slow')).toMatchObject({
      status: 204,
      headers: { etag: `"${version + 2}"` },
      text: '',
    })
    expect(await call('GET', '/policies/slow', token)).toMatchObject({ status: 404 })
    expect(await remove('slow')).toMatchObject({ status: 404, body: { code: 'not_found' } })
    const [entry] = await hub.query(
      'select action, object, reason, actor from audit_entry where tenant_id = $1 order by seq desc limit 1',
      [hub.tenantId],
    )
    expect(entry).toEqual({
      action: 'config.changed',
      object: 'policy:slow',
      reason: 'for the test',
      actor: 'svc:test',
    })
  })

  test('that a connector names stays', async () => {
    await hub.configure({ policies: { slow: {} }, connectors: { api: api('slow') } })
    expect(await remove('slow')).toMatchObject({
      status: 422,
      body: {
        code: 'config_invalid',
        details: [{ path: '/document/connectors/api/policy', message: 'there is no policy slow' }],
      },
    })
    expect((await call('GET', '/policies/slow', token)).status).toBe(200)
  })

  test('of a name that every JavaScript object has is not there until it is made', async () => {
    expect(await call('GET', '/policies/constructor', token)).toMatchObject({ status: 404 })
    expect(await remove('constructor')).toMatchObject({ status: 404 })
    await put('constructor', { retry: { max_attempts: 1 } })
    expect((await call('GET', '/policies/constructor', token)).body).toEqual({
      name: 'constructor',
      policy: { retry: { max_attempts: 1 } },
    })
  })

  test('is not seen by another workspace', async () => {
    await put('slow', {})
    const others = await hub.access.bearer(hub.otherId)
    expect((await call('GET', '/policies', others)).body).toMatchObject({ data: [] })
    const same = { headers: { 'x-request-id': 'same' } }
    const foreign = await call('GET', '/policies/slow', others, same)
    const missing = await call('GET', '/policies/nothing', token, same)
    expect([foreign.status, foreign.text]).toEqual([404, missing.text])
  })
})

test('the list is in the order of the names, page by page', async () => {
  const names = ['b', 'a-2', '10', '9', 'a-1']
  await hub.configure({ policies: Object.fromEntries(names.map((name) => [name, {}])), connectors: {} })
  type Page = { data: { name: string }[]; next_cursor: string | null; system: unknown }
  const seen: string[][] = []
  let next: string | null = ''
  while (next !== null) {
    const page: { body: Page } = await call<Page>(
      'GET',
      `/policies?limit=2${next && `&cursor=${next}`}`,
      token,
    )
    seen.push(page.body.data.map(({ name }) => name))
    expect(page.body.system).toEqual(SYSTEM_POLICY)
    next = page.body.next_cursor
  }
  expect(seen).toEqual([['10', '9'], ['a-1', 'a-2'], ['b']])
})

describe('the policy in force for a connector', () => {
  const effective = (connector: string) => call('GET', `/policies/effective?connector=${connector}`, token)

  test('follows a change at once, and says where each value comes from', async () => {
    await hub.configure({
      policies: { quick: { retry: { max_attempts: 2 } } },
      connectors: { api: api('quick') },
    })
    for (const total_ms of [9_000, 12_000, 13_000]) {
      const { body } = await put('default', { timeouts: { total_ms } })
      expect((await effective('api')).body).toMatchObject({
        connector: 'api',
        config_version: body.config_version,
        policy: { timeouts: { total_ms }, retry: { max_attempts: 2 } },
        sources: {
          'timeouts.total_ms': 'workspace',
          'retry.max_attempts': 'connector',
          'retry.base_ms': 'system',
        },
      })
    }
  })

  test('names what its kind brings along', async () => {
    const product = {
      kind: 'callback',
      settings: { url: 'https://shop.example.com' },
      secrets: { signing_secret: 'signing' },
    }
    await hub.configure({ policies: {}, connectors: { product } })
    expect((await effective('product')).body).toMatchObject({
      sources: { 'job_retry.schedule_ms': 'kind', 'timeouts.attempt_ms': 'kind' },
    })
  })

  test('of an operation is its own where it has one', async () => {
    const twice = { retry: { max_attempts: 2 } }
    const operation_policies = { call: 'once' }
    await hub.configure({
      policies: { once: { retry: { max_attempts: 1 } }, twice },
      connectors: { api: { ...api('twice'), operation_policies } },
    })
    expect((await effective('api')).body).toMatchObject({
      operation: null,
      policy: twice,
      sources: { 'retry.max_attempts': 'connector' },
    })
    expect((await effective('api&operation=call')).body).toMatchObject({
      operation: 'call',
      policy: { retry: { max_attempts: 1 } },
      sources: { 'retry.max_attempts': 'operation', 'retry.base_ms': 'system' },
    })
    expect(await effective('api&operation=constructor')).toMatchObject({
      status: 404,
      body: { code: 'operation_not_found', details: [{ path: '/query/operation' }] },
    })
    expect(await remove('once')).toMatchObject({
      status: 422,
      body: { details: [{ path: '/document/connectors/api/operation_policies/call' }] },
    })
  })

  test.each([
    ['an operation that is not there', 'toString', 'once', 'is not an operation of the connector'],
    ['a policy that is not there', 'call', 'constructor', 'there is no policy constructor'],
    [
      'what its operations share',
      'call',
      'shared',
      'the policy shared does not fit: /bulkhead is of the whole connector, not of one operation',
    ],
    [
      'more than its connector grants',
      'call',
      'long',
      'the policy long does not fit: /timeouts/attempt_ms must not be above total_ms (4000)',
    ],
  ])('is refused for an operation: %s', async (_what, operation, policy, message) => {
    const policies = {
      quick: { timeouts: { attempt_ms: 2_000, total_ms: 4_000 } },
      once: { retry: { max_attempts: 1 } },
      shared: { bulkhead: { max_in_flight: 1 } },
      long: { timeouts: { attempt_ms: 8_000 } },
    }
    const operation_policies = { [operation]: policy }
    await expect(
      hub.configure({ policies, connectors: { api: { ...api('quick'), operation_policies } } }),
    ).rejects.toMatchObject({
      extra: { details: [{ path: `/connectors/api/operation_policies/${operation}`, message }] },
    })
  })

  test('of a connector that does not exist is not found', async () => {
    expect(await effective('constructor')).toMatchObject({
      status: 404,
      body: { code: 'connector_not_found', details: [{ path: '/query/connector' }] },
    })
  })
})

describe('bad requests', () => {
  test.each([
    ['a bad name', 'No_Good', { policy: {}, reason: 'x' }, 400, '/path/name'],
    ['a name that is too long', 'a'.repeat(64), { policy: {}, reason: 'x' }, 400, '/path/name'],
    ['a reserved name', 'effective', { policy: {}, reason: 'x' }, 422, '/body/policy'],
    ['no reason', 'slow', { policy: {} }, 400, '/body/reason'],
    ['an unknown field', 'slow', { policy: {}, reason: 'x', dry: true }, 400, '/body/dry'],
    ['an unknown section', 'slow', { policy: { breakers: {} }, reason: 'x' }, 400, '/body/policy/breakers'],
    ['a wrong type', 'slow', { policy: { retry: 3 }, reason: 'x' }, 400, '/body/policy/retry'],
    [
      'a value beyond its limit',
      'slow',
      { policy: { timeouts: { total_ms: 60_001 } }, reason: 'x' },
      400,
      '/body/policy/timeouts/total_ms',
    ],
    [
      'a contradiction',
      'slow',
      { policy: { timeouts: { attempt_ms: 20_000 } }, reason: 'x' },
      422,
      '/body/policy/timeouts/attempt_ms',
    ],
    [
      'a table and growing waits together',
      'slow',
      { policy: { job_retry: { schedule_ms: [0], factor: 2 } }, reason: 'x' },
      422,
      '/body/policy/job_retry/factor',
    ],
  ])('%s', async (_what, name, body, status, path) => {
    const [before] = await hub.query('select count(*) from config_version')
    const answer = await call<{ details: { path: string }[] }>('PUT', `/policies/${name}`, token, { body })
    expect(answer.status).toBe(status)
    expect(answer.body.details.map((detail) => detail.path)).toContain(path)
    expect(await hub.query('select count(*) from config_version')).toEqual([before])
  })

  test('a removal without a reason', async () => {
    await put('slow', {})
    for (const url of ['/policies/slow', '/policies/slow?reason=', '/policies/slow?reason=x&force=1'])
      expect(await call('DELETE', url, token)).toMatchObject({
        status: 400,
        body: { code: 'validation_error' },
      })
    expect((await call('GET', '/policies/slow', token)).status).toBe(200)
  })

  test('writing with a token for reading', async () => {
    token = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.control.read'] })
    expect((await put('slow', {})).status).toBe(403)
    expect((await remove('slow')).status).toBe(403)
  })
})
