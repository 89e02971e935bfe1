import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { Call, CallServer } from '../../../testing/checked-answers.ts'
import { configsControl } from './configs.control.ts'

let hub: CallingHub
let call: CallServer
let token: string
let others: string

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  call = await hub.serve((app) => configsControl(app, hub.configDeps))
})
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId)
  others = await hub.access.bearer(hub.otherId)
})
afterAll(() => hub.close())

const api = (path = '/') => ({
  kind: 'http',
  settings: {
    base_url: 'https://api.example.com/v1',
    auth: { type: 'header', header: 'x-api-key' },
    operations: {
      call: {
        method: 'POST',
        path,
        query: { 'page[size]': '{{input.size}}' },
        body: { b: 1, a: [null, { deep: '{{input}}' }] },
        input: { type: 'object', properties: { size: { type: 'integer' } } },
      },
    },
  },
  secrets: { token: 'key' },
})
const DOCUMENT = {
  policies: { default: { job_retry: { schedule_ms: [0, 1_000] } }, quick: {} },
  connectors: { api: api() },
}
const REASON = 'for the test'
const store = (document: unknown = DOCUMENT, headers?: Record<string, string>, authorization = token) =>
  call<{ version: number }>('POST', '/configs', authorization, {
    body: { document, reason: REASON },
    ...(headers && { headers }),
  })
const activate = (
  version: number,
  headers: Record<string, string> = { 'if-match': '*' },
  authorization = token,
) => call('POST', '/configs/activate', authorization, { body: { version, reason: REASON }, headers })

const counts = async () =>
  hub.query(
    'select (select count(*) from config_version) as versions, (select count(*) from audit_entry) as entries',
  )

describe('from the first config to a rollback', () => {
  test('every step answers with what is stored', async () => {
    expect(await call('GET', '/configs/active', token)).toMatchObject({
      status: 404,
      body: { code: 'not_found' },
    })
    const first = await store()
    expect(first).toMatchObject({
      status: 201,
      headers: { location: '/configs/1' },
      body: { version: 1, active: false, author: 'svc:test', reason: REASON, document: DOCUMENT },
    })
    const active = await activate(1)
    expect(active).toMatchObject({
      status: 200,
      headers: { etag: '"1"' },
      body: { ...first.body, active: true },
    })
    expect(await call('GET', '/configs/active', token)).toMatchObject({
      headers: { etag: '"1"' },
      body: active.body,
    })

    await store({ ...DOCUMENT, connectors: { api: api('/new') } })
    await activate(2, { 'if-match': '"1"' })
    const diff = await call('GET', '/configs/diff?from=1&to=2', token)
    expect(diff.body).toEqual({
      from: 1,
      to: 2,
      differences: [{ path: '/connectors/api/settings/operations/call/path', before: '/', after: '/new' }],
    })
    expect((await call('GET', '/configs/1', token)).body).toEqual({ ...first.body, active: false })

    const rollback = await activate(1, { 'if-match': '2' })
    expect(rollback).toMatchObject({ status: 200, body: { version: 1, active: true } })
  })

  test('the list has no documents and is read page by page', async () => {
    while ((await store()).body.version < 5);
    const versions: number[] = []
    let next: string | null = ''
    while (next !== null) {
      type Page = { data: { version: number }[]; next_cursor: string | null }
      const page: { body: Page } = await call<Page>(
        'GET',
        `/configs?limit=2${next && `&cursor=${next}`}`,
        token,
      )
      expect(page.body.data.every((version) => !('document' in version))).toBe(true)
      versions.push(...page.body.data.map(({ version }) => version))
      next = page.body.next_cursor
    }
    expect(versions).toEqual([5, 4, 3, 2, 1])
  })

  test('a change made from another version answers 412 and says which one is active', async () => {
    const before = await counts()
    for (const answer of [
      await activate(2, { 'if-match': '"4"' }),
      await store(DOCUMENT, { 'if-match': '4' }),
    ])
      expect(answer).toMatchObject({ status: 412, body: { code: 'version_mismatch', active_version: 1 } })
    expect(await counts()).toEqual(before)
  })
})

describe('bad requests', () => {
  const post = (url: string, body: unknown, headers?: Record<string, string>) => [
    'POST' as const,
    url,
    { body, ...(headers && { headers }) } satisfies Call,
  ]
  const get = (url: string) => ['GET' as const, url, {}]
  const document = (part: object) => post('/configs', { document: { ...DOCUMENT, ...part }, reason: REASON })

  test.each([
    ['no document', post('/configs', { reason: REASON }), '/body/document'],
    ['no reason', post('/configs', { document: DOCUMENT }), '/body/reason'],
    ['a blank reason', post('/configs', { document: DOCUMENT, reason: '  ' }), '/body/reason'],
    [
      'an unknown field',
      post('/configs', { document: DOCUMENT, reason: REASON, force: true }),
      '/body/force',
    ],
    ['an unknown part', document({ settings: {} }), '/body/document/settings'],
    ['policies that are a list', document({ policies: [] }), '/body/document/policies'],
    ['a bad name', document({ policies: { 'No-Good': {} } }), '/body/document/policies/No-Good'],
    [
      'a name that is too long',
      document({ policies: { ['a'.repeat(64)]: {} } }),
      `/body/document/policies/${'a'.repeat(64)}`,
    ],
    [
      'a number that is a text',
      document({ policies: { a: { timeouts: { total_ms: '1000' } } } }),
      '/body/document/policies/a/timeouts/total_ms',
    ],
    [
      'an unknown field of a connector',
      document({ connectors: { api: { ...api(), retries: 1 } } }),
      '/body/document/connectors/api/retries',
    ],
    [
      'a version that is a text',
      post('/configs/activate', { version: '1', reason: REASON }),
      '/body/version',
    ],
    ['version 0', post('/configs/activate', { version: 0, reason: REASON }), '/body/version'],
    [
      'a version beyond any',
      post('/configs/activate', { version: 2 ** 31, reason: REASON }),
      '/body/version',
    ],
    [
      'an If-Match that is no version',
      post('/configs/activate', { version: 1, reason: REASON }, { 'if-match': 'W/"1"' }),
      '/headers/if-match',
    ],
    ['a version in the path that is none', get('/configs/first'), '/path/version'],
    ['a negative version in the path', get('/configs/-1'), '/path/version'],
    ['half a diff', get('/configs/diff?from=1'), '/query/to'],
    ['a page of nothing', get('/configs?limit=0'), '/query/limit'],
    ['an unknown parameter', get('/configs?offset=3'), '/query/offset'],
    ['a cursor of another list', get(`/configs?cursor=${cursor(['a-name'])}`), '/query/cursor'],
    ['a cursor beyond any version', get(`/configs?cursor=${cursor([2 ** 40])}`), '/query/cursor'],
    ['a cursor that is no version', get(`/configs?cursor=${cursor([1.5])}`), '/query/cursor'],
  ] as [string, ['GET' | 'POST', string, Call], string][])(
    '%s',
    async (_what, [method, url, request], path) => {
      const before = await counts()
      const answer = await call<{ code: string; details: { path: string }[] }>(method, url, token, request)
      expect([answer.status, answer.body.code]).toEqual([400, 'validation_error'])
      expect(answer.body.details.map((detail) => detail.path)).toContain(path)
      expect(await counts()).toEqual(before)
    },
  )

  test('a document that does not fit the workspace names everything at once', async () => {
    const answer = await store({
      policies: { a: { retry: { base_ms: 60_000 } } },
      connectors: { x: { ...api(), policy: 'none', secrets: { token: 'none' } } },
    })
    expect(answer).toMatchObject({
      status: 422,
      body: {
        code: 'config_invalid',
        details: [
          { path: '/body/document/policies/a/retry/base_ms' },
          { path: '/body/document/connectors/x/policy' },
          { path: '/body/document/connectors/x/secrets/token' },
        ],
      },
    })
  })
})

describe('who may do what', () => {
  test('reading does not allow writing, and nobody gets in without a token', async () => {
    const reader = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.control.read'] })
    expect((await call('GET', '/configs', reader)).status).toBe(200)
    for (const answer of [await store(DOCUMENT, {}, reader), await activate(1, {}, reader)])
      expect(answer).toMatchObject({ status: 403, body: { code: 'forbidden' } })
    expect(await call('GET', '/configs', 'Bearer none')).toMatchObject({ status: 401 })
  })

  test('another workspace sees nothing of it, and cannot tell it from nothing', async () => {
    const same = { headers: { 'x-request-id': 'same' } }
    expect((await call('GET', '/configs', others)).body).toEqual({ data: [], next_cursor: null })
    expect(await call('GET', '/configs/active', others)).toMatchObject({ status: 404 })
    const foreign = await call('GET', '/configs/1', others, same)
    const missing = await call('GET', '/configs/99', token, same)
    expect([foreign.status, foreign.text]).toEqual([404, missing.text])
    expect(await activate(1, {}, others)).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect(await call('GET', '/configs/diff?from=1&to=2', others)).toMatchObject({ status: 404 })
  })
})

function cursor(key: readonly unknown[]): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url')
}
