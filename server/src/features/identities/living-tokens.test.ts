/** What becomes of the tokens that an identity holds when the identity changes. */
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { CHANGE, type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { Problem } from '../../problems.ts'
import { type ClientCredentials, issueByClientCredentials } from './client-credentials.ts'
import { identitiesControl } from './identities.control.ts'
import {
  AUDIENCES,
  changeIdentity,
  createIdentity,
  type IdentitySettings,
  revokeIdentity,
  rotateClientSecret,
} from './identities.ts'

let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let tenantId: string

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database, { audience: AUDIENCES.exec })
  app = await access.server()
  app.get('/who', { config: { access: { permission: 'jobs.read' } } }, async () => ({}))
  await app.ready()
  tenantId = (await access.workspace('buildos-dev')).id
})
afterAll(async () => {
  await access.close()
  await database.drop()
})

const SCOPES = ['orchestrator.jobs.read', 'orchestrator.execute'] as const
let made = 0
async function identity(settings: Partial<IdentitySettings> = {}, name = `svc:living-${++made}`) {
  const created = await createIdentity(database.db, { tenantId, name, scopes: SCOPES, ...settings }, CHANGE)
  return { target: { tenantId, id: created.identity.id }, name, secret: created.clientSecret }
}
type Made = Awaited<ReturnType<typeof identity>>

async function grant({ target, secret }: Pick<Made, 'target' | 'secret'>) {
  const { keys, rules, directory } = access
  const { db, platform } = database
  const deps = { db, directory, keys, rules, lifetimeSeconds: 300, clock: platform.clock }
  const credentials: ClientCredentials = { clientId: target.id, clientSecret: secret }
  return issueByClientCredentials(deps, 'exec', credentials, platform.log)
}
const tokenOf = async (who: Pick<Made, 'target' | 'secret'>) => (await grant(who)).token
const status = async (token: string) =>
  (await app.inject({ url: '/who', headers: { authorization: `Bearer ${token}` } })).statusCode
const toEnd = (token: string) =>
  vi.waitFor(async () => expect(await status(token)).toBe(401), { timeout: 5_000 })
const change = (who: Made, changes: Partial<IdentitySettings>) =>
  changeIdentity(database.db, who.target, changes, CHANGE)

describe('the living tokens of an identity', () => {
  it('end with it; those of the next one of its name do not, and those of another neither', async () => {
    const first = await identity()
    const bystander = await tokenOf(await identity())
    const old = await tokenOf(first)
    expect(await status(old)).toBe(200)
    await revokeIdentity(database.db, first.target, CHANGE)
    // At once, in the same second and under the same name.
    const next = await tokenOf(await identity({}, first.name))
    await toEnd(old)
    expect(await status(next)).toBe(200)
    expect(await status(bystander)).toBe(200)
  })

  it('outlive a rotation, unless it is told to end them', async () => {
    const who = await identity()
    const old = await tokenOf(who)
    const rotate = (endsTokens: boolean) =>
      rotateClientSecret(database.db, { ...who.target, overlapSeconds: 0, endsTokens }, CHANGE)
    const second = await rotate(false)
    const kept = await tokenOf({ ...who, secret: second.clientSecret })
    const third = await rotate(true)
    const fresh = await tokenOf({ ...who, secret: third.clientSecret })
    await toEnd(old)
    await toEnd(kept)
    expect(await status(fresh)).toBe(200)
  })

  it('cannot end while the secret that got them goes on', async () => {
    const { target } = await identity()
    const rotating = rotateClientSecret(
      database.db,
      { ...target, overlapSeconds: 60, endsTokens: true },
      CHANGE,
    )
    await expect(rotating).rejects.toMatchObject({ code: 'validation_error' })
  })

  it.each<[string, Partial<IdentitySettings>, Partial<IdentitySettings>]>([
    ['a scope is taken away', {}, { scopes: ['orchestrator.jobs.read'] }],
    ['a certificate is demanded', {}, { certificateBound: true }],
    ['a certificate is pinned', {}, { certificateSha256: 'a'.repeat(43) }],
    ['it will expire', {}, { expiresAt: new Date(Date.now() + 3_600_000) }],
    [
      'it will expire sooner',
      { expiresAt: new Date(Date.now() + 7_200_000) },
      { expiresAt: new Date(Date.now() + 3_600_000) },
    ],
  ])('end when %s', async (_what, settings, changes) => {
    const who = await identity(settings)
    const token = await tokenOf(who)
    await change(who, changes)
    await toEnd(token)
  })

  it('stay as they are when it only gets more', async () => {
    const who = await identity({ expiresAt: new Date(Date.now() + 3_600_000) })
    const token = await tokenOf(who)
    await change(who, { scopes: [...SCOPES, 'orchestrator.events.read'], expiresAt: null })
    const ended = await identity()
    const heard = await tokenOf(ended)
    await revokeIdentity(database.db, ended.target, CHANGE)
    await toEnd(heard)
    expect(await status(token)).toBe(200)
  })

  it('do not outlive it when it expires, and then it gets none until it is let live again', async () => {
    const who = await identity({ expiresAt: new Date(Date.now() + 30_000) })
    const { lifetimeSeconds } = await grant(who)
    expect(lifetimeSeconds).toBeGreaterThan(20)
    expect(lifetimeSeconds).toBeLessThanOrEqual(30)
    const expired = await change(who, { expiresAt: new Date(Date.now() - 1_000) })
    expect(expired.expired).toBe(true)
    await expect(grant(who)).rejects.toThrow(Problem)
    await change(who, { expiresAt: null })
    expect((await grant(who)).lifetimeSeconds).toBe(300)
  })
})

describe('PATCH /identities/:id', () => {
  it('changes what is named and leaves the rest, with both states in the audit log', async () => {
    const control = await tenantAccess(database)
    try {
      const server = await control.server()
      identitiesControl(server, { db: database.db })
      await server.ready()
      const { target } = await identity({ certificateSha256: 'b'.repeat(43) })
      const patch = async (payload: object) =>
        server.inject({
          method: 'PATCH',
          url: `/identities/${target.id}`,
          headers: { authorization: await control.bearer(tenantId) },
          payload,
        })
      const narrowed = await patch({ scopes: ['orchestrator.execute'], reason: 'only calls' })
      expect(narrowed.json()).toMatchObject({
        scopes: ['orchestrator.execute'],
        certificate_bound: true,
        certificate_sha256: 'b'.repeat(43),
      })
      const freed = await patch({ certificate_bound: false, reason: 'no certificates any more' })
      expect(freed.json()).toMatchObject({ certificate_bound: false, certificate_sha256: null })
      expect((await patch({ reason: 'nothing' })).statusCode).toBe(400)
      await revokeIdentity(database.db, target, CHANGE)
      expect((await patch({ scopes: ['orchestrator.execute'], reason: 'too late' })).statusCode).toBe(409)
    } finally {
      await control.close()
    }
  })
})
