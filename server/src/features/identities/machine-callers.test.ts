/** Machines that manage identities: what they make must end with them. */
import { createHash } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type TestDatabase, testDatabase, testPlatform } from '../../../testing/database.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { listAudit } from '../audit/audit.ts'
import { createEndedTokens } from '../ended-tokens/ended-tokens.ts'
import { identitiesControl } from './identities.control.ts'
import { oauthControl } from './oauth.control.ts'

const CONTROL = ['orchestrator.control.read', 'orchestrator.control.write']
let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let tenantId: string
/** As `orchestrator token` makes it. */
let host: string
let admin: string

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  app = await access.server()
  const { db, platform } = database
  const { keys, rules, directory } = access
  identitiesControl(app, { db })
  oauthControl(app, { db, directory, keys, rules, lifetimeSeconds: 300, clock: platform.clock })
  await app.ready()
  tenantId = (await access.workspace('machines-dev')).id
  host = await access.bearer(tenantId, { subject: 'operator:root' })
  const person = { scopes: [], roles: ['admin'], subject: 'operator:ann@example.com' }
  admin = await access.bearer(tenantId, person)
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

async function call(method: 'GET' | 'POST' | 'PATCH', url: string, token: string, body = {}) {
  const payload = method === 'GET' ? undefined : { reason: 'a test', ...body }
  const answer = await app.inject({
    ...{ method, url, headers: { authorization: token } },
    ...(payload && { payload }),
  })
  return { status: answer.statusCode, body: answer.body === '' ? undefined : answer.json() }
}

let made = 0
async function create(scopes: readonly string[], token = host) {
  const { status, body } = await call('POST', '/identities', token, { name: `svc:m-${++made}`, scopes })
  expect(status, JSON.stringify(body)).toBe(201)
  return body as { id: string; name: string; client_secret: string; created_by: string }
}
async function login({ id, client_secret }: { id: string; client_secret: string }): Promise<string> {
  const form = new URLSearchParams({ grant_type: 'client_credentials', client_id: id, client_secret })
  const answer = await app.inject({
    ...{ method: 'POST', url: '/oauth/token', payload: form.toString() },
    headers: { 'content-type': 'application/x-www-form-urlencoded' },
  })
  return `Bearer ${answer.json().access_token}`
}
const machine = async () => {
  const identity = await create(CONTROL)
  return { ...identity, token: await login(identity) }
}
const FORBIDDEN = { status: 403, body: { code: 'forbidden' } }

describe('a service identity with all of the control plane', () => {
  it.each([
    [CONTROL],
    [['orchestrator.control.read']],
    [['orchestrator.execute', 'orchestrator.control.write']],
  ])('makes nobody with %j', async (scopes) => {
    const { token } = await machine()
    const before = await call('GET', '/identities?limit=200', token)
    expect(await call('POST', '/identities', token, { name: 'svc:heir', scopes })).toMatchObject(FORBIDDEN)
    expect(await call('GET', '/identities?limit=200', token)).toEqual(before)
  })

  it('makes those of the exec plane; its revocation names them, and nobody else’s', async () => {
    const { id, name, token } = await machine()
    const child = await create(['orchestrator.execute'], token)
    expect(child.created_by).toBe(name)
    const gone = await create(['orchestrator.execute'], token)
    await call('POST', `/identities/${gone.id}/revoke`, host)
    await create(['orchestrator.execute'], admin)
    const revoked = await call('POST', `/identities/${id}/revoke`, admin)
    expect(revoked.body).toMatchObject({
      ...{ status: 'revoked', created_by: 'operator:root' },
      left_behind: [{ id: child.id, name: child.name }],
    })
  })

  it('is not named for what a revoked one of its name has made', async () => {
    const first = await machine()
    await create(['orchestrator.execute'], first.token)
    await call('POST', `/identities/${first.id}/revoke`, admin)
    const again = await call('POST', '/identities', admin, { name: first.name, scopes: CONTROL })
    const revoked = await call('POST', `/identities/${again.body.id}/revoke`, admin)
    expect(revoked.body.left_behind).toEqual([])
  })

  it('changes no identity that has scopes of the control plane, or would, itself neither', async () => {
    const { id, token } = await machine()
    const other = await create(CONTROL)
    const product = await create(['orchestrator.execute'])
    const scopes = ['orchestrator.jobs.read']
    for (const [target, body] of [
      [id, { expires_at: null }],
      [id, { scopes }],
      [other.id, { scopes }],
      [other.id, { certificate_bound: false }],
      [product.id, { scopes: CONTROL }],
    ] as const)
      expect(await call('PATCH', `/identities/${target}`, token, body)).toMatchObject(FORBIDDEN)
    expect(await call('PATCH', `/identities/${product.id}`, token, { scopes })).toMatchObject({ status: 200 })
    expect((await call('GET', `/identities/${other.id}`, token)).body.scopes).toEqual(CONTROL)
  })

  it('gives itself a new secret, and products, but no other machine like itself', async () => {
    const { id, token } = await machine()
    const other = await create(CONTROL)
    const product = await create(['orchestrator.execute'])
    const rotate = (target: string) =>
      call('POST', `/identities/${target}/rotate-secret`, token, { overlap_seconds: 0 })
    const stored = async () =>
      (
        await database.db.execute(
          { name: '', text: 'select secret_sha256 from service_identity order by id' },
          [],
        )
      ).rows
    const before = await stored()
    expect(await rotate(other.id)).toMatchObject(FORBIDDEN)
    expect(await stored()).toEqual(before)
    expect((await rotate(id)).status).toBe(200)
    const fresh = (await rotate(product.id)).body.client_secret
    expect(await stored()).toContainEqual({ secret_sha256: createHash('sha256').update(fresh).digest() })
  })

  it('is no more than that when its token comes from an issuer that the workspace trusts', async () => {
    // As features/trusted-issuers makes the caller: no role, bound to the issuer and its epoch.
    const token = await access.bearer(tenantId, {
      ...{ subject: 'ext:idp:backend', sessionId: '0193aaaa-0000-7000-8000-000000000001.1' },
    })
    const wanted = { name: 'svc:heir', scopes: CONTROL }
    expect(await call('POST', '/identities', token, wanted)).toMatchObject(FORBIDDEN)
  })
})

it.each([
  ['a person', () => admin],
  ['a token of the host', () => host],
])('%s gives what scopes are needed', async (_who, token) => {
  const identity = await create(CONTROL, token())
  const changed = await call('PATCH', `/identities/${identity.id}`, token(), { scopes: [CONTROL[0]] })
  expect(changed.status).toBe(200)
})

describe('ending all tokens of a workspace', () => {
  it('ends those of machines and people on every process, and no other workspace’s', async () => {
    const near = createEndedTokens(database.platform)
    const platform = testPlatform(database.url)
    const far = createEndedTokens(platform)
    try {
      const other = (await access.workspace('untouched-dev')).id
      const { token } = await machine()
      const theirs = await access.bearer(other)
      const facts = { subject: 'svc:x', tokenId: 'x', issuedAt: Date.now() - 1_000 }
      await Promise.all([near.known(), far.known()])
      expect([near, far].map((one) => one.isEnded({ ...facts, tenantId }))).toEqual([false, false])
      expect(
        (await call('POST', '/identities/end-tokens', token, { reason: 'a laptop is gone' })).status,
      ).toBe(204)
      await vi.waitFor(() =>
        expect([near, far].map((one) => one.isEnded({ ...facts, tenantId }))).toEqual([true, true]),
      )
      expect(far.isEnded({ ...facts, tenantId: other })).toBe(false)
      await vi.waitFor(async () => {
        for (const ended of [token, admin, host])
          expect((await call('GET', '/identities', ended)).status).toBe(401)
      })
      expect((await call('GET', '/identities', theirs)).status).toBe(200)
      const [entry] = await listAudit(database.db, { tenantId, limit: 1 })
      expect(entry).toMatchObject({
        action: 'tokens.ended',
        object: 'tokens:all',
        reason: 'a laptop is gone',
      })
    } finally {
      near.close()
      far.close()
      await platform.notifications.close()
      await platform.db.close()
    }
  })
})
