import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { listAudit, verifyChain } from '../audit/audit.ts'
import { firstConfig } from '../configs/configs.ts'
import { workspacesControl } from './workspaces.control.ts'
import {
  createWorkspace,
  createWorkspaceDirectory,
  PLATFORM_ADMIN,
  setWorkspaceStatus,
  type Workspace,
} from './workspaces.ts'

let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let mine: Workspace
let other: Workspace
let admin: string
const dev = () => ({ db: database.db, environment: 'dev' as const })

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  app = await access.server()
  workspacesControl(app, { ...dev(), firstConfig, exportLines: async function* () {} })
  app.post(
    '/write',
    { config: { access: { permission: 'configs.write' } }, schema: { hide: true } },
    async () => ({ ok: true }),
  )
  await app.ready()
  mine = await access.workspace('buildos-dev')
  other = await access.workspace('beauty-dev')
  admin = await access.bearer(mine.id, { roles: [PLATFORM_ADMIN] })
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

async function call(method: 'GET' | 'POST', url: string, authorization: string, payload?: object) {
  const response = await app.inject({ method, url, headers: { authorization }, ...(payload && { payload }) })
  return { status: response.statusCode, body: response.json(), raw: response.body, headers: response.headers }
}
const create = (payload: object, authorization = admin) => call('POST', '/workspaces', authorization, payload)
const slugs = async (): Promise<string[]> => {
  const { data } = (await call('GET', '/workspaces?limit=200', admin)).body
  return data.map(({ slug }: Workspace) => slug)
}
const good = { slug: 'shop-dev', name: 'Shop', reason: 'a new product' }

describe('creating a workspace', () => {
  it('stores it with the first entry of its audit chain', async () => {
    const { status, body, headers } = await create(good)
    expect(status).toBe(201)
    expect(headers.location).toBe(`/workspaces/${body.id}`)
    expect(body).toEqual({
      id: expect.any(String),
      slug: 'shop-dev',
      name: 'Shop',
      environment: 'dev',
      status: 'active',
      status_change: null,
      delete_after: null,
      template: 'standard-dev',
      created_at: expect.stringMatching(/Z$/),
    })
    expect(await listAudit(database.db, { tenantId: body.id, limit: 10 })).toMatchObject([
      { seq: 2, action: 'config.activated', object: 'config:1' },
      { seq: 1, action: 'workspace.created', actor: 'svc:test', reason: 'a new product' },
    ])
    expect((await verifyChain(database.db, body.id)).intact).toBe(true)
  })

  it('refuses a slug that is taken, also by two at once, and stores nothing of it', async () => {
    const results = await Promise.all([1, 2, 3].map(() => create({ ...good, slug: 'race-dev' })))
    expect(results.map(({ status }) => status).sort()).toEqual([201, 409, 409])
    const loser = results.find(({ status }) => status === 409)
    expect(loser?.body).toMatchObject({ code: 'conflict' })
    const entries = await database.db.execute(
      { name: 't.count', text: `select 1 from audit_entry where object = 'workspace:race-dev'` },
      [],
    )
    expect(entries.rowCount).toBe(1)
  })

  it('rolls back when its audit entry cannot be written', async () => {
    const change = { ...CHANGE, reason: '' }
    await expect(createWorkspace(dev(), { slug: 'unaudited-dev', name: 'x' }, change)).rejects.toThrow()
    expect(await slugs()).not.toContain('unaudited-dev')
  })

  it.each<[string, object, string]>([
    ['of the other environment', { ...good, slug: 'shop-prod' }, '/body/slug'],
    ['without environment', { ...good, slug: 'shop' }, '/body/slug'],
    ['that only looks like one', { ...good, slug: 'shopdev' }, '/body/slug'],
    ['with capitals', { ...good, slug: 'Shop-dev' }, '/body/slug'],
    ['with an underscore', { ...good, slug: 'shop_x-dev' }, '/body/slug'],
    ['with two hyphens', { ...good, slug: 'shop--dev' }, '/body/slug'],
    ['too long', { ...good, slug: `${'a'.repeat(40)}-dev` }, '/body/slug'],
    ['that is a number', { ...good, slug: 7 }, '/body/slug'],
    ['with an empty name', { ...good, name: ' ' }, '/body/name'],
    ['without reason', { slug: 'x-dev', name: 'x' }, '/body/reason'],
    ['with a blank reason', { ...good, reason: ' \n ' }, '/body/reason'],
    ['with a long reason', { ...good, reason: 'r'.repeat(501) }, '/body/reason'],
    ['with an unknown field', { ...good, tenant_id: newId() }, '/body/tenant_id'],
  ])('refuses one %s', async (_name, payload, path) => {
    const { status, body } = await create(payload)
    expect([status, body.code, body.details?.[0]?.path]).toEqual([400, 'validation_error', path])
  })

  it('needs the role, whatever the scopes', async () => {
    expect((await create(good, await access.bearer(mine.id))).status).toBe(403)
  })
})

describe('reading workspaces', () => {
  it('shows a token only its own, and others like missing ones, byte for byte', async () => {
    const token = await access.bearer(mine.id)
    expect((await call('GET', '/workspaces', token)).body.data).toMatchObject([{ id: mine.id }])
    expect((await call('GET', `/workspaces/${mine.id}`, token)).body).toMatchObject({ slug: 'buildos-dev' })
    const headers = {
      authorization: token,
      'x-request-id': 'same',
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    }
    const [foreign, missing] = await Promise.all(
      [other.id, newId()].map((id) => app.inject({ url: `/workspaces/${id}`, headers })),
    )
    expect(foreign?.statusCode).toBe(404)
    expect(foreign?.body).toBe(missing?.body)
  })

  it('shows the platform admin all of them, page by page', async () => {
    const seen: string[] = []
    let cursor: string | null = ''
    while (cursor !== null) {
      const { body } = await call('GET', `/workspaces?limit=1${cursor && `&cursor=${cursor}`}`, admin)
      seen.push(...body.data.map(({ slug }: Workspace) => slug))
      cursor = body.next_cursor
    }
    expect(seen).toEqual(['race-dev', 'shop-dev', 'beauty-dev', 'buildos-dev'])
    expect((await call('GET', `/workspaces/${other.id}`, admin)).status).toBe(200)
  })

  it('hides the workspaces of the other environment from everybody', async () => {
    const prod = await createWorkspace(
      { db: database.db, environment: 'prod' },
      { slug: 'shop-prod', name: 'Shop' },
      CHANGE,
    )
    expect((await call('GET', `/workspaces/${prod.id}`, admin)).status).toBe(404)
    expect((await call('GET', '/workspaces?limit=200', admin)).body.data).toHaveLength(4)
    expect((await call('GET', '/workspaces', await access.bearer(prod.id))).status).toBe(401)
    expect(await slugs()).not.toContain('shop-prod')
  })

  it.each([
    '/workspaces/x',
    '/workspaces/urn:uuid:01936f2e-0000-7000-8000-000000000001',
    '/workspaces?cursor=WzFd',
  ])('refuses %s', async (url) => {
    expect((await call('GET', url, admin)).body).toMatchObject({ status: 400, code: 'validation_error' })
  })
})

describe('a suspended workspace', () => {
  it('is refused everywhere until it is resumed, except to the platform admin who reads', async () => {
    const { id } = await access.workspace('late-payer-dev')
    const token = await access.bearer(id)
    const own = await access.bearer(id, { roles: [PLATFORM_ADMIN] })
    expect((await call('POST', '/write', token, {})).status).toBe(200)

    const suspended = await call('POST', `/workspaces/${id}/suspend`, admin, { reason: 'unpaid' })
    expect(suspended.body).toMatchObject({ status: 'suspended' })
    await vi.waitFor(async () => {
      expect((await call('POST', '/write', token, {})).body.code).toBe('workspace_suspended')
    })
    expect((await call('GET', '/workspaces', own)).status).toBe(200)
    expect((await call('POST', '/write', own, {})).status).toBe(403)
    expect((await call('POST', `/workspaces/${id}/suspend`, admin, { reason: 'again' })).status).toBe(409)

    expect((await call('POST', `/workspaces/${id}/resume`, own, { reason: 'paid' })).status).toBe(200)
    await vi.waitFor(async () => expect((await call('POST', '/write', token, {})).status).toBe(200))
    const actions = (await listAudit(database.db, { tenantId: id, limit: 10 })).map(({ action }) => action)
    expect(actions).toEqual(['workspace.resumed', 'workspace.suspended', 'workspace.created'])
  })

  it('cannot be one that does not exist', async () => {
    expect((await call('POST', `/workspaces/${newId()}/suspend`, admin, { reason: 'x' })).status).toBe(404)
  })
})

describe('a token of a workspace that does not exist', () => {
  it('is worth nothing without the role, and only reads and platform endpoints with it', async () => {
    const nowhere = newId()
    expect((await call('GET', '/workspaces', await access.bearer(nowhere))).body.code).toBe('auth_required')
    const first = await access.bearer(nowhere, { roles: [PLATFORM_ADMIN] })
    expect((await call('GET', '/workspaces', first)).status).toBe(200)
    expect((await call('POST', '/write', first, {})).status).toBe(403)
    expect((await create({ ...good, slug: 'first-dev' }, first)).status).toBe(201)
  })
})

describe('the directory', () => {
  const directoryWith = (options: object) =>
    createWorkspaceDirectory({
      db: database.db,
      notifications: database.platform.notifications,
      log: database.platform.log,
      environment: 'dev',
      ...options,
    })
  /** Counts the reads of single workspaces. */
  const countingDb = () => {
    const reads: string[] = []
    const db = {
      ...database.db,
      execute: ((statement, values) => {
        reads.push(statement.name)
        return database.db.execute(statement, values)
      }) as typeof database.db.execute,
    }
    return { db, count: () => reads.filter((name) => name === 'workspaces.find').length }
  }

  it('reads a workspace once and finds one that was missing a moment ago', async () => {
    const { db, count } = countingDb()
    const directory = directoryWith({ db })
    await Promise.all([directory.find(mine.id), directory.find(mine.id)])
    expect(await directory.find(mine.id)).toEqual({
      id: mine.id,
      slug: 'buildos-dev',
      environment: 'dev',
      status: 'active',
    })
    expect(count()).toBe(1)
    expect(await directory.find(newId())).toBeUndefined()
    expect(count()).toBe(2)
    directory.close()
  })

  it('finds by its poll what a lost hint did not tell', async () => {
    const { id } = await access.workspace('silent-dev')
    const directory = directoryWith({ notifications: { listen: () => () => undefined }, pollMs: 10 })
    expect((await directory.find(id))?.status).toBe('active')
    await setWorkspaceStatus(dev(), { id, status: 'suspended' }, CHANGE)
    await vi.waitFor(async () => expect((await directory.find(id))?.status).toBe('suspended'))
    directory.close()
  })

  it('forgets everything after the hints were interrupted', async () => {
    let hint: (payload: string | undefined) => void = () => undefined
    const { db, count } = countingDb()
    const notifications = {
      listen: (_channel: string, handle: typeof hint) => {
        hint = handle
        return () => undefined
      },
    }
    const directory = directoryWith({ db, notifications })
    await directory.find(mine.id)
    hint(undefined)
    await directory.find(mine.id)
    hint(other.id)
    await directory.find(mine.id)
    expect(count()).toBe(2)
    directory.close()
  })

  it('does not remember a failure', async () => {
    let broken = true
    const db = {
      ...database.db,
      execute: (async (statement, values) => {
        if (broken) throw new Error('down')
        return database.db.execute(statement, values)
      }) as typeof database.db.execute,
    }
    const directory = directoryWith({ db })
    await expect(directory.find(mine.id)).rejects.toThrow('down')
    broken = false
    expect(await directory.find(mine.id)).toMatchObject({ slug: 'buildos-dev' })
    directory.close()
  })
})
