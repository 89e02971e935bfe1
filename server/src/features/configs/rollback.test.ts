import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { sampleJob } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import { jobAttemptsSince } from '../../queue/lane-loads.ts'
import { listAudit } from '../audit/audit.ts'
import { executionsSince } from '../execute/execute.ts'
import { type Quotas, setQuotas } from '../workspaces/workspaces.ts'
import { configsControl } from './configs.control.ts'
import { type ConfigDocument, editConfig } from './configs.ts'
import { configDryRunsControl } from './dry-runs.control.ts'

let hub: CallingHub
let call: CallServer
let token: string
let tenantId: string
let workspaces = 0
let unresolved: Map<string, string>
let deliveries: { connector: string; by: string }[]
const reason = 'a step back'

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  const deps = {
    ...hub.configDeps,
    deliveries: async () => deliveries,
    unresolved: async (_tenantId: string, names: readonly string[]) =>
      new Map([...unresolved].filter(([name]) => names.includes(name))),
    secretNames: async () => new Set(['key', 'gone']),
    clock: hub.database.platform.clock,
    executions: executionsSince,
    attempts: jobAttemptsSince,
  }
  call = await hub.serve((app) => {
    configsControl(app, deps)
    configDryRunsControl(app, deps)
  })
})
afterAll(() => hub.close())
beforeEach(async () => {
  unresolved = new Map()
  deliveries = []
  workspaces += 1
  tenantId = (await hub.access.workspace(`steps${workspaces}-dev`)).id
  token = await hub.access.bearer(tenantId)
})

const api = (path = '/', more: object = {}) => ({
  kind: 'http',
  settings: {
    base_url: 'https://api.example.com',
    auth: { type: 'bearer' },
    operations: { get: { method: 'GET', path } },
  },
  secrets: { token: 'key' },
  ...more,
})
const change = async (document: object): Promise<number> =>
  (
    await editConfig(
      { ...hub.configDeps, secretNames: async () => new Set(['key', 'gone']) },
      { tenantId },
      'config',
      () => document as ConfigDocument,
      CHANGE,
    )
  ).version
const rollBack = (body: object = {}, headers: Record<string, string> = {}) =>
  call<{ version: number; details: { path: string; message: string }[]; code: string }>(
    'POST',
    '/configs/rollback',
    token,
    { body: { reason, ...body }, headers },
  )
const active = async () => (await call<{ version: number }>('GET', '/configs/active', token)).body.version
const store = async (document: object) =>
  (await call<{ version: number }>('POST', '/configs', token, { body: { document, reason } })).body.version

describe('a rollback', () => {
  test('goes back one step at a time, past versions that were only stored, and is audited as what it is', async () => {
    for (const path of ['/1', '/2', '/3']) await change({ policies: {}, connectors: { api: api(path) } })
    await store({ policies: {}, connectors: { api: api('/stored') } })
    expect((await rollBack()).body.version).toBe(2)
    const [entry] = await listAudit(hub.database.db, { tenantId, limit: 1 })
    expect(entry).toMatchObject({ action: 'config.rolled_back', object: 'config:2', reason })
    expect((await rollBack()).body.version).toBe(1)
    expect(await rollBack()).toMatchObject({ status: 409, body: { code: 'conflict' } })
    expect((await rollBack({ to: 3 }, { 'if-match': '"1"' })).body.version).toBe(3)
    expect(await active()).toBe(3)
  })

  test('to the active version, of nothing, or from what another has changed is refused', async () => {
    expect(await rollBack()).toMatchObject({ status: 409 })
    await change({ policies: {}, connectors: {} })
    await change({ policies: { a: {} }, connectors: {} })
    expect(await rollBack({ to: 2 })).toMatchObject({ status: 409 })
    expect(await rollBack({ to: 9 })).toMatchObject({ status: 404 })
    expect(await rollBack({}, { 'if-match': '"1"' })).toMatchObject({ status: 412 })
    expect(await active()).toBe(2)
  })

  test('pressed twice at once goes back one step, or each step after the other was seen', async () => {
    for (const path of ['/1', '/2', '/3']) await change({ policies: {}, connectors: { api: api(path) } })
    const answers = await Promise.all([rollBack(), rollBack()])
    expect(answers.map(({ status }) => status).sort()[0]).toBe(200)
    for (const { status, body } of answers)
      if (status === 200) expect(body.version).toBeLessThan(3)
      else expect([status, body.code]).toEqual([412, 'version_mismatch'])
  })

  test('passes the same checks as any activation', async () => {
    await change({ policies: {}, connectors: { api: api('/', { secrets: { token: 'gone' } }) } })
    await change({ policies: {}, connectors: {} })
    unresolved.set('gone', 'the file is not there')
    const answer = await rollBack()
    expect(answer).toMatchObject({
      status: 422,
      body: {
        code: 'config_invalid',
        details: [
          {
            path: '/document/connectors/api/secrets/token',
            message: 'the secret ref gone does not resolve: the file is not there',
          },
        ],
      },
    })
    expect(await active()).toBe(2)
  })
})

describe('beyond the quota of connectors', () => {
  const limit = (connectors: number, more: Partial<Quotas> = {}) =>
    setQuotas(
      { db: hub.database.db, environment: 'dev' },
      { id: tenantId, quotas: { connectors, ...more } },
      CHANGE,
    )
  const three = { policies: {}, connectors: { a: api(), b: api(), c: api() } }

  test('a version that was stored before the limit is not activated, and validation says so', async () => {
    const version = await store(three)
    await limit(1)
    expect(await call('POST', '/configs/activate', token, { body: { version, reason } })).toMatchObject({
      status: 403,
      body: { code: 'quota_exceeded', quota: 'connectors', limit: 1 },
    })
    const validate = (body: object) => call('POST', '/configs/validate', token, { body })
    const connectors = { path: '/connectors', message: expect.stringContaining('may have 1 connectors') }
    expect((await validate({ version })).body).toMatchObject({ valid: false, faults: [connectors] })
    await limit(1, { config_versions: 1 })
    expect((await validate({ document: three })).body).toMatchObject({
      faults: [connectors, { path: '', message: expect.stringContaining('config versions') }],
    })
    expect((await validate({ version })).body).toMatchObject({ faults: [connectors] })
  })

  test('a rollback that adds nothing is never held up, one that adds is', async () => {
    await change({ policies: {}, connectors: { a: api('/1'), b: api('/1') } })
    await change({ policies: {}, connectors: { a: api('/2'), b: api('/2') } })
    await limit(1)
    expect((await rollBack()).body.version).toBe(1)
    await change({ policies: {}, connectors: { a: api() } })
    expect(await rollBack()).toMatchObject({ status: 403, body: { code: 'quota_exceeded' } })
  })
})

describe('an edit', () => {
  test('does not let a config grow beyond what can be sent as a whole', async () => {
    const deps = { ...hub.configDeps, secretNames: async () => new Set(['key']), maxBytes: 20_000 }
    const edit = (document: object) =>
      editConfig(deps, { tenantId }, 'config', () => document as ConfigDocument, CHANGE)
    const many = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, at) => [`p${at}`, {}]))
    await edit({ policies: many(200), connectors: {} })
    await expect(edit({ policies: many(201), connectors: {} })).rejects.toMatchObject({
      extra: { details: [{ path: '/policies', message: 'must have at most 200 members' }] },
    })
    await expect(edit({ policies: {}, connectors: heavy(12) })).rejects.toMatchObject({
      code: 'config_invalid',
      extra: { details: expect.arrayContaining([{ path: '', message: expect.stringContaining('20000') }]) },
    })
  })
  const heavy = (count: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, at) => [`c${at}`, api(`/${'x'.repeat(1_900)}`)]))
})

describe('before an activation', () => {
  const BROKEN = {
    policies: { a: { retry: { base_ms: 60_000 } } },
    connectors: {
      api: api('/', { secrets: { token: 'gone' }, policy: 'nobody' }),
      other: api('/', { secrets: { token: 'never' } }),
    },
  }

  test('every reason is told at once, with 200, and nothing is stored', async () => {
    deliveries = [{ connector: 'product', by: 'webhook_route:1' }]
    unresolved.set('gone', 'the variable is not set')
    const answer = await call<{ faults: { path: string }[] }>('POST', '/configs/validate', token, {
      body: { document: BROKEN },
    })
    expect(answer).toMatchObject({ status: 200, body: { valid: false, active_version: 0 } })
    expect(answer.body.faults.map(({ path }) => path)).toEqual([
      '/policies/a/retry/base_ms',
      '/connectors/api/policy',
      '/connectors/other/secrets/token',
      '/connectors/product',
      '/connectors/api/secrets/token',
    ])
    expect((await call<{ data: unknown[] }>('GET', '/configs', token)).body.data).toEqual([])
  })

  test('a stored version that no longer fits stays stored and cannot become active; all reasons are listed', async () => {
    const version = await store({
      policies: {},
      connectors: { api: api(), gone: api('/', { secrets: { token: 'gone' } }) },
    })
    deliveries = [{ connector: 'api', by: 'webhook_route:1' }]
    unresolved.set('key', 'the value is empty').set('gone', 'the file is not there')
    const validation = await call<{ faults: { path: string; message: string }[] }>(
      'POST',
      '/configs/validate',
      token,
      { body: { version } },
    )
    const refused = await call<{ details: { path: string; message: string }[] }>(
      'POST',
      '/configs/activate',
      token,
      { body: { version, reason } },
    )
    expect(refused).toMatchObject({ status: 422, body: { code: 'config_invalid' } })
    expect(refused.body.details).toHaveLength(3)
    expect(refused.body.details).toEqual(
      validation.body.faults.map(({ path, message }) => ({ path: `/document${path}`, message })),
    )
    expect((await call('GET', `/configs/${version}`, token)).body).toMatchObject({ active: false })
    expect(await call('GET', '/configs/active', token)).toMatchObject({ status: 404 })
  })
})

describe('the blast radius', () => {
  test('names routes, waiting jobs and recent calls of what changes, and nothing else', async () => {
    const policies = { slow: {} }
    const connectors = {
      changed: api('/1'),
      ruled: api('/1', { policy: 'slow' }),
      gone: api('/1'),
      same: api('/1'),
    }
    await change({ policies, connectors })
    const lanes = new Map(
      (
        await hub.query<{ connector: string; lane: number }>(
          'select connector, lane from connector_lane where tenant_id = $1',
          [tenantId],
        )
      ).map(({ connector, lane }) => [connector, lane]),
    )
    const lane = (connector: string) => ({ connector, lane: lanes.get(connector) ?? 0 })
    const later = new Date(Date.now() + 3_600_000)
    await enqueueJobs(hub.database.db, [
      ...['a', 'b', 'c'].map(() => sampleJob({ tenantId, ...lane('gone') })),
      sampleJob({ tenantId, ...lane('gone'), runAt: later }),
      sampleJob({ tenantId, ...lane('same') }),
    ])
    for (const connector of ['changed', 'changed', 'same'])
      await hub.query(
        `insert into request_log (tenant_id, id, at, connector, operation, subject, outcome, attempts, latency_ms,
           dry_run, config_version, request_id, correlation_id, trace_id)
         values ($1, $2, now(), $3, 'get', 'svc:a', 'ok', 1, 1, false, 1, 'r', 'c', 't')`,
        [tenantId, newId(), connector],
      )
    deliveries = [{ connector: 'gone', by: 'webhook_route:1' }]
    const version = await store({
      policies: { slow: { retry: { max_attempts: 2 } } },
      connectors: { changed: api('/2'), ruled: connectors.ruled, same: connectors.same, fresh: api() },
    }).catch(() => 0)
    // The route refuses to lose its connector already when it is stored.
    expect(version).toBeUndefined()
    deliveries = []
    const next = await store({
      policies: { slow: { retry: { max_attempts: 2 } } },
      connectors: { changed: api('/2'), ruled: connectors.ruled, same: connectors.same, fresh: api() },
    })
    deliveries = [{ connector: 'gone', by: 'webhook_route:1' }]
    const { body } = await call('GET', `/configs/blast-radius?version=${next}`, token)
    const none = { ready: 0, deferred: 0, running: 0 }
    const quiet = { executions: 0, job_attempts: 0 }
    expect(body).toEqual({
      active_version: 1,
      connectors: [
        {
          connector: 'changed',
          change: 'changed',
          webhook_routes: [],
          jobs: none,
          calls_24h: { executions: 2, job_attempts: 0 },
        },
        { connector: 'fresh', change: 'added', webhook_routes: [], jobs: none, calls_24h: quiet },
        {
          connector: 'gone',
          change: 'removed',
          webhook_routes: ['webhook_route:1'],
          jobs: { ready: 3, deferred: 1, running: 0 },
          calls_24h: quiet,
        },
        { connector: 'ruled', change: 'policy', webhook_routes: [], jobs: none, calls_24h: quiet },
      ],
    })
  })
})
