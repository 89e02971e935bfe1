import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type TenantAccess, tenantAccess } from '../../../testing/tenant-access.ts'
import { createHttpServer, type HttpServer } from '../../platform/http/server.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { listAudit, verifyChain } from '../audit/audit.ts'
import { PLANE_SCOPES } from '../identities/identities.ts'
import { authorizationOf } from '../permissions/permissions.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { breakGlassControl, emergencyControl } from './break-glass.control.ts'
import { type Alert, authenticateEmergency, endOverdueSessions } from './break-glass.ts'
import { inspectSession } from './review.ts'

const ADA = 'operator:ada@example.com'
const GOOD = { email: 'ada@example.com', password: 'correct horse battery', code: '123456' }
const EMERGENCY = { ...GOOD, reason: 'the queue stands still', ticket: 'INC-7' }

let database: TestDatabase
let access: TenantAccess
/** The ordinary listener, and that of emergencies for callers from 127.0.0.0/8. */
let ordinary: HttpServer
let app: HttpServer
let tenantId: string
let otherId: string
let alerts: Alert[]
let alertFails: boolean
let mayStill: boolean

const allowedAt = (networks: readonly string[]): Promise<HttpServer> =>
  createHttpServer({
    log: database.platform.log,
    metrics: database.platform.metrics,
    trustedProxies: [],
    bodyLimitBytes: 100_000,
    handlerTimeoutMs: 20_000,
    checks: [],
    access: {
      authenticate: authenticateEmergency(database.db),
      authorization: authorizationOf(PLANE_SCOPES.control),
    },
    allowFrom: networks,
  })

beforeAll(async () => {
  database = await testDatabase()
  access = await tenantAccess(database)
  ordinary = await access.server()
  breakGlassControl(ordinary, database)
  await ordinary.ready()
  app = await allowedAt(['127.0.0.0/8'])
  emergencyControl(app, {
    db: database.db,
    environment: 'dev',
    directory: access.directory,
    // How people prove who they are has tests of its own.
    prove: async ({ email, password, code }) => {
      if (email !== GOOD.email || password.reveal() !== GOOD.password || code.reveal() !== GOOD.code)
        throw new Problem('login_refused', 'The sign-on was refused.')
      return { id: newId(), subject: ADA }
    },
    hold: async () => {
      if (!mayStill) throw new Problem('login_refused', 'The sign-on was refused.')
    },
    admins: async () => ['operator:admin@example.com'],
    alert: async (alert) => {
      if (alertFails) throw new Error('nobody took it')
      alerts.push(alert)
    },
  })
  app.get('/who', { config: { access: { permission: 'configs.write' } } }, async ({ principal }) => ({
    subject: principal.subject,
    tenantId: principal.tenantId,
    roles: [...principal.roles],
  }))
  await app.ready()
  tenantId = (await access.workspace('buildos-dev')).id
  otherId = (await access.workspace('beauty-dev')).id
})
afterAll(async () => {
  await app.close()
  await access.close()
  await database.drop()
})
beforeEach(() => {
  alerts = []
  alertFails = false
  mayStill = true
})

const post = async (url: string, payload: object, token?: string) => {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` }
  const answer = await app.inject({ method: 'POST', url, payload, headers })
  return { ...answer.json(), status: answer.statusCode }
}
const who = async (token: string) => {
  const answer = await app.inject({ url: '/who', headers: { authorization: `Bearer ${token}` } })
  return { ...answer.json(), status: answer.statusCode }
}
const opened = async (body: object = {}) => {
  const answer = await post('/break-glass/open', { ...EMERGENCY, ...body })
  expect(answer.status).toBe(201)
  return answer as { id: string; access_token: string; started_at: string; expires_at: string }
}
const rows = async (text: string, values: readonly unknown[] = []) =>
  (await database.db.execute({ name: '', text }, values)).rows
const sessions = async () => (await rows('select count(*)::int as n from break_glass_session'))[0]?.n

describe('an emergency session', () => {
  test('may do what an Admin may, in the workspaces it enters, and names its operator', async () => {
    const { access_token: token } = await opened()
    expect(await who(token)).toMatchObject({
      status: 403,
      detail: 'Enter a workspace first: POST /break-glass/enter.',
    })
    const { access_token: inside } = await post(
      '/break-glass/enter',
      { workspace_id: tenantId, reason: 'look' },
      token,
    )
    expect(await who(inside)).toMatchObject({ status: 200, subject: ADA, tenantId, roles: ['emergency'] })
    const [entry] = await listAudit(database.db, { tenantId, action: 'break_glass.entered', limit: 1 })
    expect(entry).toMatchObject({ actor: ADA, reason: 'look', object: 'workspace:buildos-dev' })
    const nowhere = await post('/break-glass/enter', { workspace_id: newId(), reason: 'look' }, token)
    expect(nowhere.status).toBe(404)
  })

  test('is told to every workspace and to the alert address before it begins', async () => {
    const { id } = await opened()
    expect(alerts).toMatchObject([
      { sessionId: id, subject: ADA, ticket: 'INC-7', admins: ['operator:admin@example.com'] },
    ])
    for (const workspace of [tenantId, otherId]) {
      const told = await rows(
        `select severity, message, data from event where tenant_id = $1 and type = 'break_glass.opened'
         and data ->> 'session_id' = $2`,
        [workspace, id],
      )
      expect(told).toMatchObject([
        { severity: 'error', message: expect.stringContaining('the queue stands still') },
      ])
    }
    expect(await verifyChain(database.db, NO_WORKSPACE)).toMatchObject({ intact: true })
  })

  test('does not begin when the alert is not taken', async () => {
    const before = await sessions()
    alertFails = true
    expect(await post('/break-glass/open', EMERGENCY)).toMatchObject({ status: 503, code: 'alert_failed' })
    expect(await sessions()).toBe(before)
  })

  test('ends in the middle of its work, by the clock of the database', async () => {
    const { id, access_token: token } = await opened({ minutes: 1 })
    const { access_token: inside } = await post(
      '/break-glass/enter',
      { workspace_id: tenantId, reason: 'look' },
      token,
    )
    expect((await who(inside)).status).toBe(200)
    await rows(
      `update break_glass_session set started_at = started_at - interval '61 seconds',
         expires_at = expires_at - interval '61 seconds' where id = $1`,
      [id],
    )
    for (const one of [token, inside]) expect((await who(one)).status).toBe(401)
    expect((await post('/break-glass/close', { reason: 'late' }, token)).status).toBe(401)
  })

  test('is closed by its operator, and then every token of it is over', async () => {
    const { access_token: token } = await opened()
    const { access_token: inside } = await post(
      '/break-glass/enter',
      { workspace_id: tenantId, reason: 'look' },
      token,
    )
    expect(await post('/break-glass/close', { reason: 'it works again' }, inside)).toMatchObject({
      ended_by: ADA,
    })
    for (const one of [token, inside]) expect((await who(one)).status).toBe(401)
  })

  test('that runs out of time is told as closed, once over several processes', async () => {
    const { id } = await opened({ minutes: 1 })
    const closed = async () => [
      await rows(
        `select reason, actor from audit_entry where tenant_id = $1 and action = 'break_glass.closed' and object = $2`,
        [NO_WORKSPACE, `break_glass:${id}`],
      ),
      await rows(
        `select message from event where tenant_id = $1 and type = 'break_glass.closed'
         and data ->> 'session_id' = $2`,
        [tenantId, id],
      ),
    ]
    const overdue = () => Promise.all([1, 2, 3].map(() => endOverdueSessions(database.db, 'dev')))
    await overdue()
    expect(await closed()).toEqual([[], []])
    await rows(
      `update break_glass_session set started_at = started_at - interval '61 seconds',
         expires_at = expires_at - interval '61 seconds' where id = $1`,
      [id],
    )
    expect(await endOverdueSessions(database.db, 'prod')).toBe(0)
    await overdue()
    expect(await closed()).toEqual([
      [{ actor: 'system:control', reason: 'its time was over' }],
      [{ message: expect.stringContaining('its time was over') }],
    ])
  })

  test('lives half an hour unless told otherwise, and never more than one', async () => {
    const { started_at, expires_at } = await opened()
    expect(Date.parse(expires_at) - Date.parse(started_at)).toBe(30 * 60_000)
    await opened({ minutes: 60 })
    expect((await post('/break-glass/open', { ...EMERGENCY, minutes: 61 })).status).toBe(400)
    await expect(
      rows(`update break_glass_session set expires_at = started_at + interval '2 hours'`),
    ).rejects.toThrow(/check constraint/)
  })
})

describe('nobody opens one', () => {
  test.each([
    ['with a wrong password', { password: 'something else' }],
    ['with a wrong code', { code: '000000' }],
    ['as somebody unknown', { email: 'eve@example.com' }],
  ])('%s', async (_how, body) => {
    expect(await post('/break-glass/open', { ...EMERGENCY, ...body })).toMatchObject({
      status: 401,
      code: 'login_refused',
    })
    expect(alerts).toEqual([])
  })

  test('who loses the right to it while the alert is sent', async () => {
    const before = await sessions()
    mayStill = false
    expect(await post('/break-glass/open', EMERGENCY)).toMatchObject({ status: 401, code: 'login_refused' })
    expect(alerts).toHaveLength(1)
    expect(await sessions()).toBe(before)
  })

  test.each([
    ['without a reason', { reason: undefined }],
    ['with a reason of less than ten characters', { reason: 'help' }],
    ['without a ticket', { ticket: '' }],
  ])('%s', async (_how, body) => {
    expect((await post('/break-glass/open', { ...EMERGENCY, ...body })).status).toBe(400)
  })

  test('from an address outside of the allowed networks; nothing is answered there at all', async () => {
    const elsewhere = await allowedAt(['192.0.2.0/24', 'fd00::/8'])
    try {
      for (const url of ['/health', '/break-glass/open', '/nothing'])
        expect((await elsewhere.inject({ url })).json(), url).toMatchObject({ code: 'forbidden' })
    } finally {
      await elsewhere.close()
    }
  })

  test('with a token of the control plane, and a token of this listener is none over there', async () => {
    const ordinaryToken = (await access.bearer(tenantId, { roles: ['emergency'] })).replace('Bearer ', '')
    expect((await who(ordinaryToken)).status).toBe(401)
    const { access_token: token } = await opened()
    const there = await ordinary.inject({
      url: '/break-glass',
      headers: { authorization: `Bearer ${token}` },
    })
    expect(there.statusCode).toBe(401)
    expect((await who(`brk_${'A'.repeat(43)}`)).status).toBe(401)
  })
})

describe('the review', () => {
  const review = async (id: string, subject: string, roles = ['platform_auditor']) => {
    const token = await access.bearer(tenantId, { scopes: [], roles, subject })
    const answer = await ordinary.inject({
      method: 'POST',
      url: `/break-glass/${id}/review`,
      headers: { authorization: token },
      payload: { review: 'a lock was released', reason: 'due' },
    })
    return { ...answer.json(), status: answer.statusCode }
  }

  test('is due until somebody else has said what was done', async () => {
    const { id, access_token: token } = await opened()
    const due = async () => {
      const authorization = await access.bearer(tenantId, { scopes: [], roles: ['platform_admin'] })
      const answer = await ordinary.inject({ url: '/break-glass?reviewed=false', headers: { authorization } })
      return (answer.json().data as { id: string }[]).map((one) => one.id)
    }
    expect(await due()).toContain(id)
    expect((await review(id, 'operator:bob@example.com')).status).toBe(409)
    await post('/break-glass/close', { reason: 'done' }, token)
    expect(await review(id, ADA)).toMatchObject({ status: 403 })
    expect(await review(id, 'operator:bob@example.com')).toMatchObject({
      status: 200,
      reviewed_by: 'operator:bob@example.com',
      review: 'a lock was released',
    })
    expect(await due()).not.toContain(id)
    expect((await review(id, 'operator:bob@example.com')).status).toBe(409)
    expect((await review(newId(), 'operator:bob@example.com')).status).toBe(404)
    expect((await review(id, 'operator:eve@example.com', ['admin'])).status).toBe(403)
  })

  test('is shown so many of its entries at most, the oldest, and told of more', async () => {
    const { id, access_token: token } = await opened()
    await post('/break-glass/enter', { workspace_id: tenantId, reason: 'look' }, token)
    const { entries, hasMore } = await inspectSession(database.db, { id, limit: 1 })
    expect([entries.map(({ action }) => action), hasMore]).toEqual([['break_glass.opened'], true])
    expect(await inspectSession(database.db, { id, limit: 2 })).toMatchObject({ hasMore: false })
  })
})
