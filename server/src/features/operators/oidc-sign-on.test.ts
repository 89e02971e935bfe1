import { pino } from 'pino'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type IdentityProviderNode, startIdentityProvider } from '../../../testing/identity-provider.ts'
import { PASSWORD, type PeopleHub, people } from '../../../testing/people.ts'
import { createDial, type Dial } from '../../platform/dial/dial.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { Secret } from '../../platform/secret.ts'
import { membersControl } from './members.control.ts'
import { operatorsControl } from './operators.control.ts'
import { createOidcProvider, parseGroupRoles } from './operators.ts'
import { ownAccountControl } from './own-account.control.ts'
import { secondFactorControl } from './second-factor.control.ts'
import { signOnControl } from './sign-on.control.ts'

const CALLBACK = 'http://console.test/auth/callback'
let idp: IdentityProviderNode
const addRoutes: Parameters<typeof people>[0] = (app, deps) => {
  for (const add of [signOnControl, ownAccountControl, secondFactorControl, membersControl, operatorsControl])
    add(app, deps)
}

let hub: PeopleHub
let dial: Dial
let workspaceId: string

beforeAll(async () => {
  idp = await startIdentityProvider(CALLBACK)
  dial = createDial({
    allowCidrs: ['127.0.0.1/32'],
    metrics: createMetrics('test', false),
    log: pino({ level: 'silent' }),
  })
  const groupRoles = parseGroupRoles('ops=support@shop-dev, lost=support@no-such-dev, eyes=platform_auditor')
  if (typeof groupRoles === 'string') throw new Error(groupRoles)
  hub = await people(addRoutes, {
    provider: ({ clock }) =>
      createOidcProvider({
        settings: {
          issuer: idp.issuer,
          clientId: idp.clientId,
          clientSecret: new Secret(idp.clientSecret),
          redirectUrl: CALLBACK,
          mfaValues: ['otp'],
          groupsClaim: 'groups',
          groupRoles,
        },
        dial,
        clock,
        log: hub?.captured.log ?? pino({ level: 'silent' }),
      }),
  })
  workspaceId = (await hub.access.workspace('shop-dev')).id
})
afterAll(async () => {
  await hub.close()
  await dial.close()
  await idp.close()
})
beforeEach(() => hub.clock.advance(120_000))

const start = async () => (await hub.call('GET', '/auth/oidc/start')).body
const callback = (query: string) => hub.call('GET', `/auth/oidc/callback?${query}`)
const exchange = (code: string, binding: string) =>
  hub.call('POST', '/auth/oidc/session', { body: { code, binding } })

/** All three steps. */
async function signOn(login: string) {
  const { authorization_url, binding } = await start()
  const returned = await callback(await idp.signOn(authorization_url, login))
  return returned.status === 200 ? exchange(returned.body.code, binding) : returned
}

describe('sign-on with the identity provider', () => {
  test('asks for a code with PKCE S256, state and nonce', async () => {
    const { authorization_url, binding } = await start()
    const asked = Object.fromEntries(new URL(authorization_url).searchParams)
    expect(asked).toMatchObject({
      response_type: 'code',
      code_challenge_method: 'S256',
      redirect_uri: CALLBACK,
    })
    expect(
      [asked.state, asked.nonce, asked.code_challenge].every((value) => (value ?? '').length >= 43),
    ).toBe(true)
    const kept = JSON.stringify(await hub.query("select *, encode(sealed, 'escape') from operator_ticket"))
    for (const secret of [asked.state, asked.nonce, binding]) expect(kept).not.toContain(secret)
  })

  test('lets somebody in who has an account with the verified address, and knows them by subject from then on', async () => {
    const who = await hub.person({ workspaceId, role: 'support' })
    idp.persons.set('anna', { email: who.email.toUpperCase(), email_verified: true })
    const first = await signOn('anna')
    expect(first.body).toMatchObject({ status: 'signed_on' })
    idp.persons.set('anna', { email: 'someone.else@example.com', email_verified: false })
    const second = await signOn('anna')
    const session = await hub.call('GET', '/auth/session', { token: second.body.session_token })
    expect(session.body).toMatchObject({
      operator: { email: who.email },
      session: { method: 'oidc', mfa: false },
    })
  })

  test('lets nobody in by an address that is not verified, or with no account', async () => {
    const who = await hub.person({ workspaceId, role: 'support' })
    idp.persons.set('mallory', { email: who.email, email_verified: false })
    idp.persons.set('stranger', {
      email: 'stranger@example.com',
      email_verified: true,
      groups: ['ops', 'eyes'],
    })
    for (const login of ['mallory', 'stranger'])
      expect(await signOn(login)).toMatchObject({ status: 401, body: { code: 'login_refused' } })
    expect(await hub.query("select from operator where email = 'stranger@example.com'")).toEqual([])
  })

  test('gives an account to one subject of the provider only', async () => {
    const who = await hub.person()
    idp.persons.set('first', { email: who.email, email_verified: true })
    idp.persons.set('second', { email: who.email, email_verified: true })
    expect((await signOn('first')).status).toBe(200)
    expect((await signOn('second')).status).toBe(401)
  })

  test('accepts the open invitations of a verified address', async () => {
    const token = (await hub.access.bearer(workspaceId, { roles: ['admin'], scopes: [] })).slice(7)
    const body = { email: 'newcomer@example.com', role: 'support', reason: 'a test' }
    await hub.call('POST', '/invitations', { token, body })
    idp.persons.set('newcomer', { email: 'newcomer@example.com', email_verified: true })
    const answer = await signOn('newcomer')
    const session = await hub.call('GET', '/auth/session', { token: answer.body.session_token })
    expect(session.body.workspaces).toMatchObject([{ id: workspaceId, role: 'support' }])
    const login = await hub.call('POST', '/auth/login', { body: { email: body.email, password: PASSWORD } })
    expect(login.status).toBe(401)
  })

  test('asks for the second factor of the hub, unless the provider has asked for one', async () => {
    const who = await hub.person({ workspaceId, role: 'admin' })
    const { secret } = await hub.enrolled(who)
    idp.persons.set('ben', { email: who.email, email_verified: true, amr: ['pwd'] })
    const asked = await signOn('ben')
    expect(asked.body.status).toBe('mfa_required')
    const shown = { ticket: asked.body.ticket, code: hub.codeOf(secret) }
    expect((await hub.call('POST', '/auth/mfa', { body: shown })).body.status).toBe('signed_on')
    idp.persons.set('ben', { email: who.email, email_verified: true, amr: ['pwd', 'otp'] })
    const trusted = await signOn('ben')
    const session = await hub.call('GET', '/auth/session', { token: trusted.body.session_token })
    expect(session.body.session).toMatchObject({ mfa: true })
  })

  test('gives roles of groups to this session only', async () => {
    const who = await hub.person()
    idp.persons.set('gus', {
      email: who.email,
      email_verified: true,
      groups: ['ops', 'lost', 'others'],
      amr: ['otp'],
    })
    const { body } = await signOn('gus')
    const token = await hub.call('POST', '/auth/token', {
      token: body.session_token,
      body: { workspace_id: workspaceId },
    })
    expect(token.body.roles).toEqual(['support'])
    idp.persons.set('gus', { email: who.email, email_verified: true, groups: [] })
    const later = await signOn('gus')
    const none = await hub.call('POST', '/auth/token', {
      token: later.body.session_token,
      body: { workspace_id: workspaceId },
    })
    expect(none.status).toBe(404)
    expect(await hub.query('select from operator_role where operator_id = $1', [who.operator.id])).toEqual([])
  })

  test('takes each state, code and binding once, and only together', async () => {
    const who = await hub.person()
    idp.persons.set('dora', { email: who.email, email_verified: true })
    const { authorization_url, binding } = await start()
    const query = await idp.signOn(authorization_url, 'dora')
    const returned = await callback(query)
    expect(returned.status).toBe(200)
    expect((await callback(query)).status).toBe(401)
    const foreign = await start()
    expect((await exchange(returned.body.code, foreign.binding)).status).toBe(401)
    expect((await exchange(returned.body.code, binding)).status).toBe(401)
    const again = await start()
    const other = await callback(await idp.signOn(again.authorization_url, 'dora'))
    await hub.clock.advance(61_000)
    expect((await exchange(other.body.code, again.binding)).status).toBe(401)
  })

  test('refuses an answer of another sign-on, another issuer or none', async () => {
    const who = await hub.person()
    idp.persons.set('eve', { email: who.email, email_verified: true })
    const [mine, theirs] = [await start(), await start()]
    const query = new URLSearchParams(await idp.signOn(theirs.authorization_url, 'eve'))
    // A code of another sign-on: PKCE and nonce do not fit.
    query.set('state', new URL(mine.authorization_url).searchParams.get('state') ?? '')
    expect((await callback(query.toString())).status).toBe(401)
    const elsewhere = await start()
    const mixed = new URLSearchParams(await idp.signOn(elsewhere.authorization_url, 'eve'))
    mixed.set('iss', 'https://evil.example.com')
    expect((await callback(mixed.toString())).status).toBe(401)
    const denied = new URL((await start()).authorization_url).searchParams.get('state') ?? ''
    expect((await callback(`error=access_denied&state=${denied}`)).status).toBe(401)
    expect((await callback('code=x&state=unknown')).status).toBe(401)
    expect((await callback('code=x')).status).toBe(400)
  })
})

describe('without the identity provider', () => {
  test('sign-on with it says so, and the password still works', async () => {
    const who = await hub.person()
    const away = createOidcProvider({
      settings: {
        issuer: 'http://127.0.0.1:9',
        clientId: 'x',
        clientSecret: undefined,
        redirectUrl: CALLBACK,
        mfaValues: [],
        groupsClaim: 'groups',
        groupRoles: [],
      },
      dial,
      clock: hub.clock,
      log: hub.captured.log,
    })
    await expect(away.begin()).rejects.toMatchObject({ code: 'identity_provider_unavailable' })
    const { authorization_url } = await start()
    const query = await idp.signOn(authorization_url, 'nobody')
    await idp.close()
    expect((await callback(query)).body.code).toBe('identity_provider_unavailable')
    const login = await hub.call('POST', '/auth/login', { body: { email: who.email, password: PASSWORD } })
    expect(login.status).toBe(200)
  })

  test.each([
    ['ops=admin@shop-dev', 'may not give the role admin'],
    ['ops=platform_admin', 'may not give the role platform_admin'],
    ['ops=break_glass_admin', 'may not give the role break_glass_admin'],
    ['ops=support', 'must be entries like'],
    ['ops', 'must be entries like'],
    ['ops=platform_auditor@shop-dev', 'must be entries like'],
  ])('groups that may not be written so: %s', (text, fault) => expect(parseGroupRoles(text)).toContain(fault))
})
