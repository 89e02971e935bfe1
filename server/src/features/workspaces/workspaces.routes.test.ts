import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { blockLane } from '../../queue/lane-policy.ts'
import { listAudit } from '../audit/audit.ts'
import { firstConfig } from '../configs/configs.ts'
import { workspacesControl } from './workspaces.control.ts'
import { PLATFORM_ADMIN, setWorkspaceStatus, type Workspace } from './workspaces.ts'

let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let admin: string
let mine: Workspace
let own: string
let count = 0
const dev = () => ({ db: database.db, environment: 'dev' as const })

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  app = await access.server()
  workspacesControl(app, {
    ...dev(),
    firstConfig,
    exportLines: async function* (tenantId) {
      yield { part: 'bundle', bundle: { of: tenantId } }
      yield { part: 'member', name: 'Ada' }
    },
  })
  await app.ready()
})
afterAll(async () => {
  await access.close()
  await database.drop()
})
beforeEach(async () => {
  count += 1
  mine = await access.workspace(`life${count}-dev`)
  own = await access.bearer(mine.id)
  admin = await access.bearer(newId(), { roles: [PLATFORM_ADMIN] })
})

type Method = 'GET' | 'POST' | 'PUT'
async function call(method: Method, url: string, authorization: string, payload?: object) {
  const response = await app.inject({ method, url, headers: { authorization }, ...(payload && { payload }) })
  return { status: response.statusCode, raw: response.body, headers: response.headers }
}
async function ask(method: Method, url: string, authorization: string, payload?: object) {
  const { status, raw } = await call(method, url, authorization, payload)
  return { status, body: JSON.parse(raw) }
}
const reason = 'a test'

describe('templates', () => {
  it('are those of this environment, with every quota', async () => {
    const { body } = await ask('GET', '/workspaces/templates', own)
    expect(
      body.data.map(({ name, standard }: { name: string; standard: boolean }) => [name, standard]),
    ).toEqual([
      ['standard-dev', true],
      ['empty', false],
    ])
    expect(body.data[0].quotas).toMatchObject({ connectors: 100, members: 200 })
  })
})

describe('the reason of a suspension', () => {
  it('is shown with who and when, and told to the workspace’s own callers', async () => {
    await ask('POST', `/workspaces/${mine.id}/suspend`, admin, { reason: 'the invoice is open' })
    const { body } = await ask('GET', `/workspaces/${mine.id}`, admin)
    expect(body.status_change).toEqual({
      reason: 'the invoice is open',
      by: 'svc:test',
      since: expect.stringMatching(/Z$/),
    })
    await vi.waitFor(async () => {
      expect(await ask('GET', '/workspaces', own)).toMatchObject({
        status: 403,
        body: {
          code: 'workspace_suspended',
          detail: 'The workspace of this token is suspended: the invoice is open.',
          reason: 'the invoice is open',
          since: body.status_change.since,
        },
      })
    })
  })

  it('ends with its waits: lanes are free and the jobs that heard of it are ready', async () => {
    const deps = dev()
    const change = { ...CHANGE, reason }
    await setWorkspaceStatus(deps, { id: mine.id, status: 'suspended' }, change)
    const [jobId, other] = [newId(), await access.workspace(`other${count}-dev`)]
    const by = { connector: 'c', jobId, requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32) }
    for (const [tenantId, why] of [
      [mine.id, 'workspace_suspended'],
      [other.id, 'workspace_suspended'],
    ] as const)
      await blockLane(database.db, { tenantId, lane: 1, forMs: 30_000, reason: why, why, by })
    await blockLane(database.db, {
      tenantId: mine.id,
      lane: 2,
      forMs: 30_000,
      reason: 'retry_after',
      why: '429',
      by,
    })
    const query = async (text: string, values: readonly unknown[] = []) =>
      (await database.owner.execute<Record<string, unknown>>({ name: `t.${newId()}`, text }, values)).rows
    await query(
      `insert into job_deferred (queue, tenant_id, lane, priority, job_id, attempt, run_at, cause)
       values (2, $1, 1, 2, $2, 1, now() + interval '30 seconds', 'snooze')`,
      [mine.id, jobId],
    )
    await setWorkspaceStatus(deps, { id: mine.id, status: 'active' }, change)
    expect(await query('select job_id from job_ready where tenant_id = $1', [mine.id])).toEqual([
      { job_id: jobId },
    ])
    expect(
      await query(
        'select tenant_id, lane from lane_policy where tenant_id = any($1) and blocked_until > now() order by lane',
        [[mine.id, other.id]],
      ),
    ).toEqual([
      { tenant_id: other.id, lane: 1 },
      { tenant_id: mine.id, lane: 2 },
    ])
  })
})

describe('quotas', () => {
  it('are seen by their own workspace and set by the platform', async () => {
    const quotas = { connectors: 3 }
    expect((await ask('PUT', `/workspaces/${mine.id}/quotas`, own, { quotas, reason })).status).toBe(403)
    const set = await ask('PUT', `/workspaces/${mine.id}/quotas`, admin, { quotas, reason })
    expect(set.body.data).toContainEqual({ quota: 'connectors', limit: 3, used: 0 })
    expect((await ask('GET', `/workspaces/${mine.id}/quotas`, own)).body).toEqual(set.body)
  })

  it('of another workspace answer like those of none', async () => {
    const other = await access.workspace(`foreign${count}-dev`)
    for (const id of [other.id, newId()])
      expect(await ask('GET', `/workspaces/${id}/quotas`, own)).toMatchObject({
        status: 404,
        body: { code: 'not_found', detail: 'There is no such workspace.' },
      })
  })

  it.each([[{}], [{ connectors: -1 }], [{ connectors: 1.5 }], [{ elephants: 1 }], [{ connectors: null }]])(
    'cannot be %j',
    async (quotas) => {
      const { status, body } = await ask('PUT', `/workspaces/${mine.id}/quotas`, admin, { quotas, reason })
      expect([status, body.code]).toEqual([400, 'validation_error'])
    },
  )
})

describe('the end', () => {
  it('begins with the name typed once more, refuses every call, and can be called off', async () => {
    const url = `/workspaces/${mine.id}`
    const wrong = await ask('POST', `${url}/delete`, admin, { confirm: 'x-dev', reason })
    expect(wrong).toMatchObject({ status: 400, body: { details: [{ path: '/body/confirm' }] } })
    const before = Date.now()
    const { body } = await ask('POST', `${url}/delete`, admin, { confirm: mine.slug, grace_days: 2, reason })
    expect(body.status).toBe('deleting')
    expect(Math.round((Date.parse(body.delete_after) - before) / 86_400_000)).toBe(2)
    await vi.waitFor(async () =>
      expect(await ask('GET', '/workspaces', own)).toMatchObject({
        status: 403,
        body: { code: 'workspace_suspended', detail: expect.stringContaining('is being deleted') },
      }),
    )
    expect((await ask('POST', `${url}/restore`, admin, { reason })).body).toMatchObject({
      status: 'active',
      delete_after: null,
    })
    await vi.waitFor(async () => expect((await call('GET', '/workspaces', own)).status).toBe(200))
  })

  it('is nothing that the workspace itself may do', async () => {
    for (const [method, path, payload] of [
      ['POST', 'delete', { confirm: mine.slug, reason }],
      ['POST', 'restore', { reason }],
      ['GET', 'export?reason=x', undefined],
    ] as const)
      expect((await call(method, `/workspaces/${mine.id}/${path}`, own, payload)).status).toBe(403)
  })

  it('can be preceded by an export, line by line, whose last one says that it is whole', async () => {
    const { status, raw, headers } = await call('GET', `/workspaces/${mine.id}/export?reason=goodbye`, admin)
    expect([status, headers['content-type']]).toEqual([200, 'application/x-ndjson'])
    const lines = raw
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line))
    expect(lines.map(({ part }) => part)).toEqual(['workspace', 'quotas', 'bundle', 'member', 'end'])
    expect(lines[0]).toMatchObject({ slug: mine.slug })
    expect(lines.at(-1).counts).toEqual({ workspace: 1, quotas: 1, bundle: 1, member: 1 })
    const [entry] = await listAudit(database.db, { tenantId: mine.id, limit: 1 })
    expect(entry).toMatchObject({ action: 'workspace.exported', reason: 'goodbye' })
    expect((await call('GET', `/workspaces/${mine.id}/export`, admin)).status).toBe(400)
  })
})
