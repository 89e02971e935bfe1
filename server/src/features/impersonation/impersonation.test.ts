import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { issueToken } from '../../platform/auth/tokens.ts'
import { systemClock } from '../../platform/clock.ts'
import type { HttpServer } from '../../platform/http/server.ts'
import { newId } from '../../platform/ids.ts'
import { authorOf, listAudit, nameOf } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import { impersonationControl } from './impersonation.control.ts'
import type { Member } from './impersonation.ts'

let database: TestDatabase
let access: TenantAccess
let app: HttpServer
let tenantId: string
let otherId: string
const members = new Map<string, Member>()
/** What people have now, when it is not what their token says. */
const present = new Map<string, readonly string[]>()
const [SUPPORT, ADMIN, AUDITOR] = [newId(), newId(), newId()]
const BOSS = 'operator:boss@example.com'
let boss: string

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  app = await access.server()
  impersonationControl(app, {
    db: database.db,
    people: {
      findMember: async (_on, tenant, id) => (tenant === tenantId ? members.get(id) : undefined),
      hold: async (_tx, caller) => present.get(caller.subject) ?? [...caller.roles],
    },
    keys: access.keys,
    rules: access.rules,
    clock: systemClock,
  })
  // What a route of each effect sees of its caller.
  for (const [path, permission] of [
    ['/seeing', 'configs.read'],
    ['/acting', 'jobs.cancel'],
    ['/secrets', 'secrets.read'],
    ['/guarded', 'identities.write'],
  ] as const)
    app.get(path, { config: { access: { permission } }, schema: { hide: true } }, async ({ principal }) => ({
      subject: principal.subject,
      name: nameOf(authorOf(principal)),
    }))
  await app.ready()
  tenantId = (await access.workspace('buildos-dev')).id
  otherId = (await access.workspace('beauty-dev')).id
})
afterAll(async () => {
  await access.close()
  await database.drop()
})
beforeEach(async () => {
  members.clear()
  present.clear()
  members.set(SUPPORT, { subject: 'operator:support@example.com', roles: ['support'], locked: false })
  members.set(ADMIN, { subject: 'operator:admin@example.com', roles: ['admin'], locked: false })
  members.set(AUDITOR, {
    subject: 'operator:auditor@example.com',
    roles: ['read_only', 'platform_auditor'],
    locked: false,
  })
  boss = await person(BOSS, ['admin'])
})

async function person(subject: string, roles: readonly string[], sessionId?: string): Promise<string> {
  const token = {
    subject,
    tenantId,
    scopes: [],
    roles,
    lifetimeSeconds: 300,
    ...(sessionId && { sessionId }),
  }
  return (await issueToken({ keys: access.keys, rules: access.rules, clock: systemClock }, token)).token
}

const start = (token: string, body: object = {}) =>
  app.inject({
    method: 'POST',
    url: '/impersonation',
    headers: { authorization: `Bearer ${token}` },
    payload: { operator_id: SUPPORT, reason: 'a ticket', ...body },
  })

const ask = async (url: string, token: string) => {
  const answer = await app.inject({ url, headers: { authorization: `Bearer ${token}` } })
  return { status: answer.statusCode, ...answer.json() }
}

describe('a token of an impersonation', () => {
  test('sees as the member, changes nothing, and names both in what is written', async () => {
    const { access_token: token, ...told } = (await start(boss)).json()
    expect(told).toMatchObject({
      impersonator: BOSS,
      subject: 'operator:support@example.com',
      read_only: true,
    })
    expect(Date.parse(told.expires_at) - Date.parse(told.started_at)).toBe(15 * 60_000)
    expect(await ask('/seeing', token)).toMatchObject({
      status: 200,
      subject: 'operator:support@example.com',
      name: `operator:support@example.com (${BOSS})`,
    })
    expect(await ask('/acting', token)).toMatchObject({
      status: 403,
      detail: 'This impersonation is for looking only.',
    })
  })

  test('acts as the member when that was asked for, and never beyond their role', async () => {
    const { access_token: token } = (await start(boss, { write: true })).json()
    expect((await ask('/acting', token)).status).toBe(200)
    for (const url of ['/secrets', '/guarded'])
      expect(await ask(url, token)).toMatchObject({
        status: 403,
        detail: 'Nobody may do this while impersonating somebody.',
      })
    members.set(SUPPORT, { subject: 'operator:support@example.com', roles: ['read_only'], locked: false })
    const { access_token: reader } = (await start(boss, { write: true })).json()
    expect((await ask('/acting', reader)).status).toBe(403)
  })

  test('begins no second one', async () => {
    for (const write of [false, true]) {
      const { access_token: token } = (await start(boss, { write })).json()
      expect((await start(token)).statusCode).toBe(403)
      expect((await ask('/impersonation', token)).status).toBe(403)
    }
  })

  test('ends when it is stopped, and when the sign-on ends that it came from', async () => {
    const first = (await start(boss)).json()
    const stop = (id: string) =>
      app.inject({
        method: 'POST',
        url: `/impersonation/${id}/stop`,
        headers: { authorization: `Bearer ${boss}` },
        payload: { reason: 'done' },
      })
    expect((await stop(first.id)).json()).toMatchObject({ ended_by: BOSS })
    await expect.poll(async () => (await ask('/seeing', first.access_token)).status).toBe(401)
    expect((await stop(first.id)).statusCode).toBe(409)
    expect((await stop(newId())).statusCode).toBe(404)

    const { access_token: token } = (await start(await person(BOSS, ['admin'], 'session-1'))).json()
    expect((await ask('/seeing', token)).status).toBe(200)
    await database.db.transaction((tx) => endTokens(tx, { tenantId, sessionId: 'session-1' }))
    await expect.poll(async () => (await ask('/seeing', token)).status).toBe(401)
  })

  test('is told in the audit log and in the events, without itself', async () => {
    const { id, access_token: token } = (await start(boss)).json()
    const page = (await ask('/impersonation', boss)).data as { id: string }[]
    expect(page[0]?.id).toBe(id)
    expect(JSON.stringify(page)).not.toContain(token)
    const [entry] = await listAudit(database.db, { tenantId, action: 'impersonation.started', limit: 1 })
    expect(entry).toMatchObject({ actor: BOSS, object: `impersonation:${id}`, reason: 'a ticket' })
    expect(JSON.stringify(entry)).not.toContain(token)
  })
})

describe('nobody impersonates', () => {
  test.each([
    ['an Admin', () => ADMIN, 'Nobody may impersonate an Admin.'],
    ['somebody with a platform role', () => AUDITOR, 'Nobody may impersonate somebody with a platform role.'],
  ])('%s', async (_who, id, detail) => {
    const answer = await start(boss, { operator_id: id() })
    expect(answer.json()).toMatchObject({ status: 403, detail })
  })

  test('themselves', async () => {
    members.set(SUPPORT, { subject: BOSS, roles: ['support'], locked: false })
    expect((await start(boss)).json().detail).toBe('Nobody may impersonate themselves.')
  })

  test('a stranger, or a member of another workspace', async () => {
    expect((await start(boss, { operator_id: newId() })).statusCode).toBe(404)
    const theirs = { subject: BOSS, tenantId: otherId, scopes: [], roles: ['admin'], lifetimeSeconds: 300 }
    const { token } = await issueToken({ keys: access.keys, rules: access.rules, clock: systemClock }, theirs)
    expect((await start(token)).statusCode).toBe(404)
  })

  test.each([['support'], ['read_only'], ['platform_auditor'], ['emergency']])('as %s', async (role) => {
    expect([401, 403]).toContain((await start(await person('operator:x@example.com', [role]))).statusCode)
  })

  test('as a machine', async () => {
    const scopes = ['orchestrator.control.read', 'orchestrator.control.write']
    const machine = (await access.bearer(tenantId, { scopes })).replace('Bearer ', '')
    expect((await start(machine)).statusCode).toBe(403)
  })

  test.each([
    ['for longer than an hour', { minutes: 61 }],
    ['for no time', { minutes: 0 }],
    ['without a reason', { reason: ' ' }],
    ['whose id is none', { operator_id: 'support@example.com' }],
    ['with a field that does not exist', { nested: true }],
  ])('%s', async (_what, body) => {
    expect((await start(boss, body)).statusCode).toBe(400)
  })
})
