import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { PASSWORD, type PeopleHub, type Person, people } from '../../../testing/people.ts'
import { listAudit } from '../audit/audit.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { membersControl } from './members.control.ts'
import { operatorsControl } from './operators.control.ts'
import { listAdmins } from './operators.ts'
import { ownAccountControl } from './own-account.control.ts'
import { secondFactorControl } from './second-factor.control.ts'
import { signOnControl } from './sign-on.control.ts'

const addRoutes: Parameters<typeof people>[0] = (app, deps) => {
  for (const add of [signOnControl, ownAccountControl, secondFactorControl, membersControl, operatorsControl])
    add(app, deps)
}

let hub: PeopleHub
let workspaceId: string
let otherId: string
let count = 0
const reason = 'a test'

beforeAll(async () => {
  hub = await people(addRoutes)
})
afterAll(() => hub.close())
beforeEach(async () => {
  count += 1
  workspaceId = (await hub.access.workspace(`shop-${count}-dev`)).id
  otherId = (await hub.access.workspace(`other-${count}-dev`)).id
  await hub.clock.advance(120_000)
})

const as = async (roles: readonly string[], tenantId = workspaceId): Promise<string> =>
  (await hub.access.bearer(tenantId, { roles, scopes: [] })).slice(7)
const admin = () => as(['admin'])
const platform = () => as(['platform_admin'])
const setRole = async ({ operator }: Person, role: string) =>
  hub.call('PUT', `/members/${operator.id}`, { token: await admin(), body: { role, reason } })
const remove = async ({ operator }: Person) =>
  hub.call('DELETE', `/members/${operator.id}?reason=test`, { token: await admin() })
const rolesIn = async (id: string) =>
  (
    await hub.query<{ role: string }>(
      'select role from operator_role where workspace_id = $1 order by role',
      [id],
    )
  ).map(({ role }) => role)
const actionsOf = async (tenantId: string) =>
  (await listAudit(hub.db, { tenantId, limit: 50 } as Parameters<typeof listAudit>[1])).map(
    ({ action }) => action,
  )

describe('members', () => {
  test('are seen and changed in their own workspace only', async () => {
    const [anna, ben] = [
      await hub.person({ workspaceId, role: 'admin' }),
      await hub.person({ workspaceId: otherId, role: 'support' }),
    ]
    const list = await hub.call('GET', '/members', { token: await as(['read_only']) })
    expect(list.body.data).toMatchObject([{ email: anna.email, role: 'admin' }])
    for (const answer of [
      await hub.call('GET', `/members/${ben.operator.id}`, { token: await admin() }),
      await setRole(ben, 'read_only'),
      await remove(ben),
    ])
      expect(answer).toMatchObject({
        status: 404,
        body: { detail: 'Nobody with this id has a role in the workspace.' },
      })
    expect(await rolesIn(otherId)).toEqual(['support'])
  })

  test('get another role, which is in the audit log of the workspace', async () => {
    await hub.person({ workspaceId, role: 'admin' })
    const ben = await hub.person({ workspaceId, role: 'support' })
    expect((await setRole(ben, 'read_only')).body).toMatchObject({ role: 'read_only' })
    expect(await actionsOf(workspaceId)).toContain('member.role_changed')
  })

  test('are not made more by support, nor by who has no role', async () => {
    const ben = await hub.person({ workspaceId, role: 'support' })
    for (const roles of [['support'], ['read_only'], ['platform_admin'], []]) {
      const token = await as(roles)
      const answer = await hub.call('PUT', `/members/${ben.operator.id}`, {
        token,
        body: { role: 'admin', reason },
      })
      expect(answer.status).toBe(403)
    }
  })

  test('get no platform role from an Admin', async () => {
    await hub.person({ workspaceId, role: 'admin' })
    const ben = await hub.person({ workspaceId, role: 'support' })
    expect((await setRole(ben, 'platform_admin')).status).toBe(400)
    const token = await admin()
    const invited = await hub.call('POST', '/invitations', {
      token,
      body: { email: 'x@example.com', role: 'platform_admin', reason },
    })
    expect(invited.status).toBe(400)
    for (const [method, path, body] of [
      ['PUT', `/operators/${ben.operator.id}/roles`, { roles: ['platform_admin'], reason }],
      ['POST', '/operators/invitations', { email: 'x@example.com', role: 'platform_admin', reason }],
    ] as const)
      expect((await hub.call(method, path, { token, body })).status).toBe(403)
  })
})

describe('the last Admin', () => {
  test('keeps the role, unless there is another who is not locked', async () => {
    const anna = await hub.person({ workspaceId, role: 'admin' })
    for (const answer of [await setRole(anna, 'support'), await remove(anna)])
      expect(answer).toMatchObject({ status: 409, body: { code: 'last_admin' } })
    const ben = await hub.person({ workspaceId, role: 'admin' })
    const lock = (who: Person) =>
      platform().then((token) =>
        hub.call('POST', `/operators/${who.operator.id}/lock`, { token, body: { reason } }),
      )
    expect((await lock(ben)).status).toBe(200)
    expect((await lock(anna)).body.code).toBe('last_admin')
    expect((await remove(anna)).body.code).toBe('last_admin')
    expect(
      (await hub.query('select from operator where id = $1 and locked_at is null', [anna.operator.id]))
        .length,
    ).toBe(1)
  })

  test('is left when two take each other away at the same time', async () => {
    for (let round = 0; round < 5; round += 1) {
      const { id } = await hub.access.workspace(`round-${count}-${round}-dev`)
      const two = [
        await hub.person({ workspaceId: id, role: 'admin' }),
        await hub.person({ workspaceId: id, role: 'admin' }),
      ]
      const token = await as(['admin'], id)
      const answers = await Promise.all(
        two.map(({ operator }) => hub.call('DELETE', `/members/${operator.id}?reason=test`, { token })),
      )
      expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
      expect(await rolesIn(id)).toEqual(['admin'])
    }
  })

  test('of the platform is left, too', async () => {
    const two = [
      await hub.person({ workspaceId: null, role: 'platform_admin' }),
      await hub.person({ workspaceId: null, role: 'platform_admin' }),
    ]
    const token = await platform()
    const answers = await Promise.all(
      two.map(({ operator }) =>
        hub.call('PUT', `/operators/${operator.id}/roles`, { token, body: { roles: [], reason } }),
      ),
    )
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 409])
    expect(await listAdmins(hub.db, { workspaceId: null })).toHaveLength(1)
    expect(await actionsOf(NO_WORKSPACE)).toContain('operator.roles_changed')
  })
})

describe('an invitation', () => {
  const invite = async (email: string, role = 'support', hours = 24) =>
    hub.call('POST', '/invitations', { token: await admin(), body: { email, role, hours, reason } })
  const accept = (token: string, password = PASSWORD) =>
    hub.call('POST', '/auth/invitations/accept', { body: { token, name: 'Cleo', password } })

  test('makes an account once, with its role, and signs on', async () => {
    const { body, status } = await invite('Cleo-1@Example.com')
    expect(status).toBe(201)
    expect(body.email).toBe('cleo-1@example.com')
    expect((await accept(body.token, 'password1234')).status).toBe(400)
    const accepted = await accept(body.token)
    expect(accepted.body.status).toBe('signed_on')
    expect((await accept(body.token)).status).toBe(404)
    const session = await hub.call('GET', '/auth/session', { token: accepted.body.session_token })
    expect(session.body.workspaces).toMatchObject([{ id: workspaceId, role: 'support' }])
    expect(await actionsOf(workspaceId)).toEqual(
      expect.arrayContaining(['invitation.created', 'invitation.accepted']),
    )
    const audit = JSON.stringify(await hub.query('select * from audit_entry'))
    for (const secret of [body.token, accepted.body.session_token, PASSWORD]) {
      expect(audit).not.toContain(secret)
      expect(hub.captured.text()).not.toContain(secret)
    }
  })

  test('is used by one of two who come at the same time', async () => {
    const { body } = await invite('cleo-2@example.com')
    const answers = await Promise.all([accept(body.token), accept(body.token)])
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 404])
  })

  test('is worth nothing when it has expired, was revoked, or was sent again', async () => {
    const [expired, revoked, again] = [
      (await invite('cleo-3@example.com', 'support', 1)).body,
      (await invite('cleo-4@example.com')).body,
      (await invite('cleo-5@example.com')).body,
    ]
    await hub.clock.advance(3_600_000)
    const token = await admin()
    expect((await hub.call('DELETE', `/invitations/${revoked.id}?reason=test`, { token })).status).toBe(200)
    const resent = await hub.call('POST', `/invitations/${again.id}/resend`, { token, body: { reason } })
    expect(resent.status).toBe(200)
    for (const { token: old } of [expired, revoked, again]) expect((await accept(old)).status).toBe(404)
    expect((await accept(resent.body.token)).status).toBe(200)
    const open = await hub.call('GET', '/invitations', { token })
    expect(open.body.data).toEqual([])
  })

  test('of another workspace looks like none', async () => {
    const { body } = await invite('cleo-6@example.com')
    const token = await as(['admin'], otherId)
    for (const answer of [
      await hub.call('DELETE', `/invitations/${body.id}?reason=test`, { token }),
      await hub.call('POST', `/invitations/${body.id}/resend`, { token, body: { reason } }),
    ])
      expect(answer.status).toBe(404)
    expect((await hub.call('GET', '/invitations', { token })).body.data).toEqual([])
  })

  test('is no way into an account that exists: its owner accepts with a session', async () => {
    const [anna, ben] = [await hub.person(), await hub.person()]
    const { body } = await invite(anna.email)
    expect((await accept(body.token)).status).toBe(409)
    const signOn = async ({ email }: Person) =>
      (await hub.call('POST', '/auth/login', { body: { email, password: PASSWORD } })).body.session_token
    const acceptAs = async (who: Person) =>
      hub.call('POST', '/auth/session/invitations', { token: await signOn(who), body: { token: body.token } })
    expect((await acceptAs(ben)).status).toBe(404)
    const accepted = await acceptAs(anna)
    expect(accepted.status).toBe(200)
    expect(await rolesIn(workspaceId)).toEqual(['support'])
    expect((await hub.call('GET', '/auth/session', { token: accepted.body.session_token })).status).toBe(200)
    expect((await invite(anna.email)).status).toBe(409)
  })

  test('of the platform needs a role in the right place', async () => {
    const token = await platform()
    const post = (body: object) =>
      hub.call('POST', '/operators/invitations', { token, body: { reason, ...body } })
    const email = 'cleo-7@example.com'
    expect((await post({ email, role: 'admin' })).status).toBe(400)
    expect((await post({ email, role: 'platform_admin', workspace_id: workspaceId })).status).toBe(400)
    expect(
      (await post({ email, role: 'admin', workspace_id: '01900000-0000-7000-8000-000000000000' })).status,
    ).toBe(400)
    expect((await post({ email, role: 'admin', workspace_id: workspaceId })).status).toBe(201)
    for (const wrong of ['no-at', 'a@b@c', 'a b@c.de', 'ä@example.com', `${'x'.repeat(180)}@example.com`])
      expect((await post({ email: wrong, role: 'platform_auditor' })).status).toBe(400)
  })
})

describe('operators', () => {
  test('are let in again by an unlock when a stranger keeps their account at rest', async () => {
    const anna = await hub.person({ workspaceId, role: 'support' })
    const login = (password: string) =>
      hub.call('POST', '/auth/login', { body: { email: anna.email, password } })
    for (let guess = 0; guess < 6; guess += 1) await login('a guess of a stranger')
    expect((await login(PASSWORD)).status).toBe(401)
    const unlock = async () =>
      hub.call('POST', `/operators/${anna.operator.id}/unlock`, { token: await platform(), body: { reason } })
    expect((await unlock()).status).toBe(200)
    expect((await login(PASSWORD)).status).toBe(200)
    expect((await unlock()).status).toBe(409)
  })

  test('are listed with roles by platform roles only', async () => {
    const anna = await hub.person({ workspaceId, role: 'admin' })
    expect((await hub.call('GET', '/operators', { token: await admin() })).status).toBe(403)
    const token = await as(['platform_auditor'])
    const list = await hub.call('GET', '/operators?limit=200', { token })
    const found = list.body.data.find(({ email }: { email: string }) => email === anna.email)
    expect(found.roles).toEqual([{ workspace_id: workspaceId, role: 'admin' }])
    expect(JSON.stringify(list.body)).not.toContain('argon2')
    const one = await hub.call('GET', `/operators/${anna.operator.id}`, { token })
    expect(one.body).toMatchObject({ email: anna.email, sessions: [] })
    expect(
      (await hub.call('POST', `/operators/${anna.operator.id}/lock`, { token, body: { reason } })).status,
    ).toBe(403)
  })

  test('lose a second factor that they cannot show any more', async () => {
    const anna = await hub.person({ workspaceId, role: 'admin' })
    const { token } = await hub.enrolled(anna)
    const reset = async () =>
      hub.call('POST', `/operators/${anna.operator.id}/reset-mfa`, {
        token: await platform(),
        body: { reason },
      })
    expect((await reset()).body.second_factor).toBe(false)
    expect((await reset()).status).toBe(409)
    expect((await hub.call('GET', '/auth/session', { token })).status).toBe(401)
    const login = await hub.call('POST', '/auth/login', { body: { email: anna.email, password: PASSWORD } })
    expect(login.body.status).toBe('signed_on')
  })
})
