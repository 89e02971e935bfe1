import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { PASSWORD, type PeopleHub, type Person, people } from '../../../testing/people.ts'
import { membersControl } from './members.control.ts'
import { operatorsControl } from './operators.control.ts'
import { verifySession } from './operators.ts'
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

beforeAll(async () => {
  hub = await people(addRoutes)
  workspaceId = (await hub.access.workspace('shop-dev')).id
  otherId = (await hub.access.workspace('other-dev')).id
})
afterAll(() => hub.close())
beforeEach(() => hub.clock.advance(120_000))

const signOn = async ({ email }: Person, password = PASSWORD): Promise<string> =>
  (await hub.call('POST', '/auth/login', { body: { email, password } })).body.session_token
const statusOf = async (token: string): Promise<number> =>
  (await hub.call('GET', '/auth/session', { token })).status
const tokenFor = (token: string, body: object) => hub.call('POST', '/auth/token', { token, body })

describe('a session', () => {
  // First: ends of tokens have the time of the database, which later tests leave hours behind.
  test('ends by logout, with the tokens that came from it', async () => {
    const token = await signOn(await hub.person({ workspaceId, role: 'support' }))
    const { access_token } = (await tokenFor(token, { workspace_id: workspaceId })).body
    expect((await hub.call('GET', '/members', { token: access_token })).status).toBe(200)
    expect((await hub.call('POST', '/auth/logout', { token })).status).toBe(200)
    expect(await statusOf(token)).toBe(401)
    await vi.waitFor(
      async () => expect((await hub.call('GET', '/members', { token: access_token })).status).toBe(401),
      { timeout: 5_000 },
    )
  })

  test('ends half an hour after it was last used', async () => {
    const token = await signOn(await hub.person())
    await hub.clock.advance(29 * 60_000)
    expect(await statusOf(token)).toBe(200)
    await hub.clock.advance(29 * 60_000)
    expect(await statusOf(token)).toBe(200)
    await hub.clock.advance(31 * 60_000)
    expect(await statusOf(token)).toBe(401)
  })

  test('ends after twelve hours, however much it is used', async () => {
    const token = await signOn(await hub.person())
    for (let minutes = 0; minutes < 700; minutes += 20) {
      expect(await statusOf(token)).toBe(200)
      await hub.clock.advance(20 * 60_000)
    }
    await hub.clock.advance(20 * 60_000)
    expect(await statusOf(token)).toBe(401)
  })

  test('is known by its own token only', async () => {
    const token = await signOn(await hub.person())
    const { db, clock } = hub
    expect(await verifySession({ db, clock }, token)).toMatchObject({ roles: new Set(['signed_on']) })
    for (const other of [`${token.slice(0, -1)}_`, token.slice(4), `${token} `, token.toUpperCase(), ''])
      expect(await verifySession({ db, clock }, other)).toBeUndefined()
  })

  test('is no token for anything but one’s own account', async () => {
    const token = await signOn(await hub.person({ workspaceId, role: 'support' }))
    for (const path of ['/members', '/operators', '/invitations'])
      expect((await hub.call('GET', path, { token })).status).toBe(403)
  })

  test('is not taken from a cookie', async () => {
    const token = await signOn(await hub.person())
    const app = await hub.access.server()
    app.get(
      '/who',
      { config: { access: { permission: 'account.own' } }, schema: { hide: true } },
      async () => ({}),
    )
    const headers = { cookie: `session=${token}; __Host-session=${token}` }
    expect((await app.inject({ url: '/who', headers })).statusCode).toBe(401)
    const bearer = { authorization: `Bearer ${token}` }
    expect((await app.inject({ url: '/who', headers: bearer })).statusCode).toBe(200)
  })

  test('is in the list of its owner, who ends one or all; a stranger’s looks like none', async () => {
    const [who, stranger] = [await hub.person(), await hub.person()]
    const [one, two] = [await signOn(who), await signOn(who)]
    const list = await hub.call('GET', '/auth/sessions', { token: one })
    expect(list.body.data.map(({ present }: { present: boolean }) => present)).toEqual([false, true])
    const path = `/auth/sessions/${list.body.data[0].id}`
    const foreign = await hub.call('DELETE', path, { token: await signOn(stranger) })
    expect(foreign).toMatchObject({ status: 404, body: { detail: 'There is no such session.' } })
    expect((await hub.call('DELETE', path, { token: one })).status).toBe(200)
    expect([await statusOf(one), await statusOf(two)]).toEqual([200, 401])
    expect((await hub.call('DELETE', '/auth/sessions', { token: one })).status).toBe(200)
    expect(await statusOf(one)).toBe(401)
  })

  test('ends when the account is locked, and does not come back with it', async () => {
    const who = await hub.person()
    const token = await signOn(who)
    const admin = await hub.access.bearer(workspaceId, { roles: ['platform_admin'], scopes: [] })
    const act = (verb: string) =>
      hub.call('POST', `/operators/${who.operator.id}/${verb}`, {
        token: admin.slice(7),
        body: { reason: 'a test' },
      })
    expect((await act('lock')).status).toBe(200)
    expect(await statusOf(token)).toBe(401)
    expect((await act('unlock')).status).toBe(200)
    expect(await statusOf(token)).toBe(401)
    expect(await statusOf(await signOn(who))).toBe(200)
  })
})

describe('a token of a workspace', () => {
  test('has the roles of that workspace and of the platform, and lives ten minutes at most', async () => {
    const who = await hub.person(
      { workspaceId, role: 'admin' },
      { workspaceId: otherId, role: 'read_only' },
      { workspaceId: null, role: 'platform_auditor' },
    )
    const { token } = await hub.enrolled(who)
    const own = await tokenFor(token, { workspace_id: workspaceId.toUpperCase() })
    expect(own.body.roles.sort()).toEqual(['admin', 'platform_auditor'])
    expect(own.body.expires_in).toBe(600)
    const claims = JSON.parse(Buffer.from(own.body.access_token.split('.')[1], 'base64url').toString())
    expect(claims).toMatchObject({ tid: workspaceId, sub: who.operator.subject, scopes: [] })
    expect(claims.sid).toMatch(/^[0-9a-f-]{36}$/)
    expect((await tokenFor(token, { workspace_id: otherId })).body.roles.sort()).toEqual([
      'platform_auditor',
      'read_only',
    ])
    expect((await tokenFor(token, {})).body.roles).toEqual(['platform_auditor'])
  })

  test('is the same refusal for a workspace of others and for none', async () => {
    const token = await signOn(await hub.person({ workspaceId, role: 'support' }))
    const answers = await Promise.all(
      [otherId, '01900000-0000-7000-8000-000000000000', undefined].map((id) =>
        tokenFor(token, id === undefined ? {} : { workspace_id: id }),
      ),
    )
    expect(answers.map(({ status }) => status)).toEqual([404, 404, 404])
    expect(new Set(answers.map(({ body }) => body.detail)).size).toBe(1)
  })

  test('does not outlive its session', async () => {
    const token = await signOn(await hub.person({ workspaceId, role: 'support' }))
    for (let minutes = 0; minutes < 715; minutes += 20) {
      await hub.clock.advance(Math.min(20, 715 - minutes) * 60_000)
      await statusOf(token)
    }
    expect((await tokenFor(token, { workspace_id: workspaceId })).body.expires_in).toBe(300)
  })
})

describe('a session without the second factor that its roles need', () => {
  test.each([
    ['admin', () => ({ workspaceId, role: 'admin' as const })],
    ['platform_auditor', () => ({ workspaceId: null, role: 'platform_auditor' as const })],
  ])('may only enrol one: %s', async (_, role) => {
    const who = await hub.person(role())
    const token = await signOn(who)
    const session = await hub.call('GET', '/auth/session', { token })
    expect(session.body).toMatchObject({ mfa: { required: true, enrolled: false }, permissions: [] })
    for (const [method, path, body] of [
      ['POST', '/auth/token', { workspace_id: workspaceId }],
      ['GET', '/auth/sessions', undefined],
      ['POST', '/auth/password', { current_password: PASSWORD, new_password: 'another staple of horses' }],
      ['DELETE', '/auth/sessions', undefined],
      ['POST', '/auth/recovery-codes', { code: '123456' }],
    ] as const)
      expect((await hub.call(method, path, { token, ...(body && { body }) })).body.code).toBe(
        'mfa_enrolment_required',
      )
    const { token: stronger } = await hub.enrolled(who)
    expect(await statusOf(token)).toBe(401)
    expect((await hub.call('GET', '/auth/sessions', { token: stronger })).status).toBe(200)
  })
})

describe('one’s own account', () => {
  test('gets another password for the present one; all sessions end and one begins', async () => {
    const who = await hub.person()
    const [one, two] = [await signOn(who), await signOn(who)]
    const change = (current_password: string, new_password: string) =>
      hub.call('POST', '/auth/password', { token: one, body: { current_password, new_password } })
    expect((await change('wrong password', 'four plain words here')).body.details).toMatchObject([
      { path: '/body/current_password' },
    ])
    expect((await change(PASSWORD, 'password1234')).body.details).toMatchObject([
      { path: '/body/new_password' },
    ])
    const changed = await change(PASSWORD, 'four plain words here')
    expect(changed.status).toBe(200)
    expect(await Promise.all([one, two, changed.body.session_token].map(statusOf))).toEqual([401, 401, 200])
    expect(await signOn(who)).toBeUndefined()
    expect(await statusOf(await signOn(who, 'four plain words here'))).toBe(200)
  })

  test('gives a second factor up, replaces it and renews recovery codes for a code only', async () => {
    const who = await hub.person()
    const { token, secret, codes } = await hub.enrolled(who)
    const post = (path: string, body: object, as = token) => hub.call('POST', path, { token: as, body })
    for (const [path, body] of [
      ['/auth/totp', {}],
      ['/auth/totp', { code: '000000' }],
      ['/auth/totp/remove', { code: '000000' }],
      ['/auth/recovery-codes', { code: '000000' }],
      ['/auth/recovery-codes', { code: codes[0] }],
    ] as const)
      expect((await post(path, body)).status).toBe(400)
    const renewed = await post('/auth/recovery-codes', { code: hub.codeOf(secret) })
    expect(renewed.body.recovery_codes).toHaveLength(10)
    expect(renewed.body.recovery_codes).not.toContain(codes[1])
    expect((await post('/auth/totp/remove', { code: codes[1] })).status).toBe(400)
    await hub.clock.advance(60_000)
    const removed = await post('/auth/totp/remove', { code: renewed.body.recovery_codes[0] })
    expect(removed.status).toBe(200)
    expect(await statusOf(token)).toBe(401)
    expect(
      (await hub.call('GET', '/auth/session', { token: removed.body.session_token })).body.mfa,
    ).toMatchObject({
      enrolled: false,
      recovery_codes_left: 0,
    })
  })

  test('confirms a new secret once, with a code of that secret', async () => {
    const token = await signOn(await hub.person())
    expect((await hub.call('POST', '/auth/totp/confirm', { token, body: { code: '123456' } })).status).toBe(
      409,
    )
    const { secret, otpauth_url } = (await hub.call('POST', '/auth/totp', { token, body: {} })).body
    expect(new URL(otpauth_url).searchParams.get('secret')).toBe(secret)
    const confirm = (code: string) => hub.call('POST', '/auth/totp/confirm', { token, body: { code } })
    const good = hub.codeOf(secret)
    const bad = good === '000000' ? '000001' : '000000'
    expect((await confirm(bad)).status).toBe(400)
    const answers = await Promise.all([confirm(good), confirm(good)])
    expect(answers.filter(({ status }) => status === 200)).toHaveLength(1)
  })
})
