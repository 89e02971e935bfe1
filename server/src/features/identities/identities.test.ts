import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { newId } from '../../platform/ids.ts'
import { listAudit } from '../audit/audit.ts'
import { identitiesControl } from './identities.control.ts'
import { createIdentity } from './identities.ts'

let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let tenantId: string
let bearer: string
let foreign: string

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  app = await access.server()
  identitiesControl(app, { db: database.db })
  await app.ready()
  tenantId = (await access.workspace('buildos-dev')).id
  bearer = await access.bearer(tenantId)
  foreign = await access.bearer((await access.workspace('beauty-dev')).id)
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

async function call(method: 'GET' | 'POST', url: string, payload?: object, authorization = bearer) {
  const response = await app.inject({
    method,
    url,
    headers: {
      authorization,
      'x-request-id': 'same',
      traceparent: `00-${'a'.repeat(32)}-${'b'.repeat(16)}-01`,
    },
    ...(payload && { payload }),
  })
  return { status: response.statusCode, body: response.json(), raw: response.body, headers: response.headers }
}

let made = 0
const body = () => ({
  name: `svc:product-${++made}`,
  scopes: ['orchestrator.execute', 'orchestrator.control.read'],
  reason: 'for a test',
})
const create = async () => (await call('POST', '/identities', body())).body

/** Everything that the database holds about identities and their audit, as one text. */
async function storedText(): Promise<string> {
  const rows = await database.db.execute(
    {
      name: 't.dump',
      text: 'select s::text from service_identity s union all select a::text from audit_entry a',
    },
    [],
  )
  return JSON.stringify(rows.rows)
}

describe('creating a service identity', () => {
  it('refuses the name that verifications of the hub work under', async () => {
    const answer = await call('POST', '/identities', { ...body(), name: 'svc:onboarding-verification' })
    expect(answer).toMatchObject({ status: 400, body: { code: 'validation_error' } })
  })

  it('shows a secret of 256 random bits once and stores only its hash', async () => {
    const { status, body: created, headers } = await call('POST', '/identities', body())
    expect(status).toBe(201)
    expect(headers['cache-control']).toBe('no-store')
    expect(created).toEqual({
      id: expect.any(String),
      name: `svc:product-${made}`,
      scopes: ['orchestrator.execute', 'orchestrator.control.read'],
      status: 'active',
      created_at: expect.any(String),
      created_by: 'svc:test',
      last_used_at: null,
      previous_secret_until: null,
      revoked_at: null,
      expires_at: null,
      certificate_bound: false,
      certificate_sha256: null,
      client_secret: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/),
    })
    const stored = await storedText()
    expect(stored).not.toContain(created.client_secret)
    expect(stored).toContain(createHash('sha256').update(created.client_secret).digest('hex'))
    const read = await call('GET', `/identities/${created.id}`)
    expect(read.raw).not.toContain(created.client_secret)
    expect(read.body).not.toHaveProperty('client_secret')
    expect((await call('GET', '/identities')).raw).not.toMatch(/secret"/)
  })

  it('writes who created what and why', async () => {
    const created = await create()
    const [entry] = await listAudit(database.db, { tenantId, limit: 1 })
    expect(entry).toMatchObject({
      action: 'identity.created',
      object: `identity:${created.name}`,
      reason: 'for a test',
      diff: [{ path: '', after: { id: created.id, name: created.name, scopes: created.scopes } }],
    })
  })

  it('does not happen when the audit cannot be written', async () => {
    const attempt = createIdentity(
      database.db,
      { tenantId, name: 'svc:unaudited', scopes: ['orchestrator.execute'] },
      { ...CHANGE, reason: '' },
    )
    await expect(attempt).rejects.toThrow()
    expect(await storedText()).not.toContain('svc:unaudited')
  })

  it('refuses a name that an active identity has; a revoked one has none', async () => {
    const request = body()
    const first = await call('POST', '/identities', request)
    expect((await call('POST', '/identities', request)).body).toMatchObject({ status: 409, code: 'conflict' })
    expect((await call('POST', '/identities', request, foreign)).status).toBe(201)
    await call('POST', `/identities/${first.body.id}/revoke`, { reason: 'gone' })
    expect((await call('POST', '/identities', request)).status).toBe(201)
  })

  it.each<[string, object, string]>([
    ['without svc:', { name: 'buildos' }, '/body/name'],
    ['with a newline in its name', { name: 'svc:buildos\n' }, '/body/name'],
    ['with an unknown scope', { scopes: ['orchestrator.everything'] }, '/body/scopes/0'],
    ['with a scope twice', { scopes: ['orchestrator.execute', 'orchestrator.execute'] }, '/body/scopes'],
    ['without scopes', { scopes: [] }, '/body/scopes'],
    ['with roles', { roles: ['platform_admin'] }, '/body/roles'],
    ['with a secret of its own', { client_secret: 'hunter2' }, '/body/client_secret'],
    ['of another workspace', { tenant_id: newId() }, '/body/tenant_id'],
  ])('refuses one %s', async (_name, change, path) => {
    const { status, body: problem, raw } = await call('POST', '/identities', { ...body(), ...change })
    expect([status, problem.details?.[0]?.path]).toEqual([400, path])
    expect(raw).not.toContain('hunter2')
  })

  it('needs the scope to write, reading needs the scope to read', async () => {
    const reader = await access.bearer(tenantId, { scopes: ['orchestrator.control.read'] })
    const writer = await access.bearer(tenantId, { scopes: ['orchestrator.control.write'] })
    expect((await call('POST', '/identities', body(), reader)).status).toBe(403)
    expect((await call('GET', '/identities', undefined, writer)).status).toBe(403)
  })
})

describe('revoking and rotating', () => {
  it('revokes once and for good', async () => {
    const { id } = await create()
    const revoked = await call('POST', `/identities/${id}/revoke`, { reason: 'leaver' })
    expect(revoked.body).toMatchObject({ status: 'revoked', revoked_at: expect.any(String) })
    expect((await call('POST', `/identities/${id}/revoke`, { reason: 'again' })).status).toBe(409)
    const rotation = { reason: 'again', overlap_seconds: 0 }
    expect((await call('POST', `/identities/${id}/rotate-secret`, rotation)).status).toBe(409)
    const [entry] = await listAudit(database.db, { tenantId, limit: 1 })
    expect(entry).toMatchObject({ action: 'identity.revoked', reason: 'leaver' })
  })

  it('gives another secret and says until when the one before is accepted', async () => {
    const { id, client_secret } = await create()
    const rotate = (overlap_seconds: number) =>
      call('POST', `/identities/${id}/rotate-secret`, { overlap_seconds, reason: 'yearly' })
    const overlapping = await rotate(3_600)
    expect(overlapping.headers['cache-control']).toBe('no-store')
    expect(overlapping.body.client_secret).not.toBe(client_secret)
    expect(Date.parse(overlapping.body.previous_secret_until)).toBeGreaterThan(Date.now())
    const atOnce = await rotate(0)
    expect(atOnce.body.previous_secret_until).toBeNull()
    const [entry] = await listAudit(database.db, { tenantId, limit: 1 })
    expect(entry).toMatchObject({ action: 'identity.secret_rotated', reason: 'yearly' })
    expect(await storedText()).not.toContain(atOnce.body.client_secret)
  })

  it.each([{ reason: 'x' }, { reason: 'x', overlap_seconds: -1 }, { reason: 'x', overlap_seconds: 604_801 }])(
    'refuses a rotation that does not say how long the secrets overlap: %j',
    async (payload) => {
      const { id } = await create()
      const { status, body: problem } = await call('POST', `/identities/${id}/rotate-secret`, payload)
      expect([status, problem.details[0].path]).toEqual([400, '/body/overlap_seconds'])
    },
  )
})

describe('another workspace', () => {
  it('finds the identity as little as a missing one, byte for byte, and cannot change it', async () => {
    const { id } = await create()
    const missing = newId()
    for (const [method, path, payload] of [
      ['GET', '', undefined],
      ['POST', '/revoke', { reason: 'x' }],
      ['POST', '/rotate-secret', { reason: 'x', overlap_seconds: 0 }],
    ] as const) {
      const theirs = await call(method, `/identities/${id}${path}`, payload, foreign)
      const nobodys = await call(method, `/identities/${missing}${path}`, payload, foreign)
      expect(theirs.status).toBe(404)
      expect(theirs.raw).toBe(nobodys.raw)
    }
    expect((await call('GET', `/identities/${id}`)).body.status).toBe('active')
    const list = await call('GET', '/identities?limit=200', undefined, foreign)
    expect(list.body.data.map((identity: { id: string }) => identity.id)).not.toContain(id)
  })

  it('pages through its own only', async () => {
    const own = await access.workspace('paged-dev')
    const ids: string[] = []
    for (const name of ['svc:a', 'svc:b', 'svc:c']) {
      const { identity } = await createIdentity(
        database.db,
        { tenantId: own.id, name, scopes: ['orchestrator.execute'] },
        CHANGE,
      )
      ids.unshift(identity.id)
    }
    const token = await access.bearer(own.id)
    const first = (await call('GET', '/identities?limit=2', undefined, token)).body
    const second = (await call('GET', `/identities?limit=2&cursor=${first.next_cursor}`, undefined, token))
      .body
    const seen = [...first.data, ...second.data].map((identity: { id: string }) => identity.id)
    expect([seen, second.next_cursor]).toEqual([ids, null])
  })
})
