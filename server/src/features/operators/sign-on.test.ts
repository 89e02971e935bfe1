import { randomBytes } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { bytesOfBase32, PASSWORD, type PeopleHub, type Person, people } from '../../../testing/people.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { envKeys } from '../../platform/envelope/env-keys.ts'
import { EnvelopeFailure, openEnvelope } from '../../platform/envelope.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { membersControl } from './members.control.ts'
import { operatorsControl } from './operators.control.ts'
import { holdProven, proveOperator, rewrapSecondFactors } from './operators.ts'
import { ownAccountControl } from './own-account.control.ts'
import { secondFactorControl } from './second-factor.control.ts'
import { takeAppCode } from './second-factor.ts'
import { signOnControl } from './sign-on.control.ts'
import { logIn } from './sign-on.ts'
import { totpAt } from './totp.ts'

const addRoutes: Parameters<typeof people>[0] = (app, deps) => {
  for (const add of [signOnControl, ownAccountControl, secondFactorControl, membersControl, operatorsControl])
    add(app, deps)
}

let hub: PeopleHub
let workspaceId: string

beforeAll(async () => {
  hub = await people(addRoutes)
  workspaceId = (await hub.access.workspace('shop-dev')).id
})
afterAll(() => hub.close())
// Tests share the limits of one process; a minute later they are as new.
beforeEach(() => hub.clock.advance(120_000))

const login = (email: string, password = PASSWORD, ip = '127.0.0.1') =>
  hub.call('POST', '/auth/login', { body: { email, password }, ip })

const mfa = (ticket: string, code: string) => hub.call('POST', '/auth/mfa', { body: { ticket, code } })

/** What an answer is without what differs in every request. */
const shapeOf = ({ body: { request_id, trace_id, instance, ...rest } }: { body: Record<string, unknown> }) =>
  rest

describe('signing on with a password', () => {
  test('gives a session that says who it is', async () => {
    const { email } = await hub.person({ workspaceId, role: 'support' })
    const answer = await login(` ${email.toUpperCase()}`)
    expect(answer).toMatchObject({ status: 200, body: { status: 'signed_on', idle_seconds: 1_800 } })
    expect(answer.body.session_token).toMatch(/^ses_[A-Za-z0-9_-]{43}$/)
    const who = await hub.call('GET', `/auth/session?workspace_id=${workspaceId}`, {
      token: answer.body.session_token,
    })
    expect(who.body).toMatchObject({
      operator: { email, subject: `operator:${email}` },
      mfa: { enrolled: false, required: false },
      workspaces: [{ slug: 'shop-dev', role: 'support' }],
    })
    expect(who.body.permissions).toContain('jobs.cancel')
    expect(who.body.permissions).not.toContain('secrets.write')
  })

  test('is refused with the same answer for every cause', async () => {
    const { email } = await hub.person()
    const locked = await hub.person()
    await hub.query('update operator set locked_at = now() where id = $1', [locked.operator.id])
    const answers = [
      await login(email, 'not the password'),
      await login('nobody@example.com'),
      await login(locked.email),
    ]
    expect(answers.map(({ status }) => status)).toEqual([401, 401, 401])
    expect(new Set(answers.map((answer) => JSON.stringify(shapeOf(answer)))).size).toBe(1)
  })

  test('writes neither password nor name of a stranger into the log, nor a token', async () => {
    const { email } = await hub.person()
    const { body } = await login(email)
    await login('my-secret-typed-into-name@example.com', 'my secret password')
    const text = hub.captured.text()
    for (const secret of [PASSWORD, 'my-secret-typed', 'my secret password', body.session_token])
      expect(text).not.toContain(secret)
    const dump = JSON.stringify(await hub.query('select * from operator_session'))
    expect(dump).not.toContain(body.session_token)
  })

  test('rests longer after each failure beyond the fifth, also for the right password', async () => {
    const { email } = await hub.person()
    for (let tries = 0; tries < 5; tries += 1) expect((await login(email, 'wrong password')).status).toBe(401)
    expect((await login(email)).status).toBe(401)
    await hub.clock.advance(31_000)
    expect((await login(email, 'wrong password')).status).toBe(401)
    await hub.clock.advance(31_000)
    expect((await login(email)).status).toBe(401)
    await hub.clock.advance(31_000)
    expect((await login(email)).status).toBe(200)
  })

  test('hears few of ten thousand guesses in a day, from as many addresses', async () => {
    const { email, operator } = await hub.person()
    const before = await hub.query<{ failures: number }>('select failures from operator_try where key = $1', [
      `password ${operator.id}`,
    ])
    expect(before).toEqual([])
    const { log } = hub.captured
    const call = { requestId: 'r', correlationId: 'r', traceId: 'a'.repeat(32), traceparent: '' }
    const codes = new Set<string>()
    for (let guess = 0; guess < 10_000; guess += 1) {
      const client = { ip: `10.1.${guess >> 8}.${guess & 255}`, userAgent: null }
      const given = { email, password: new Secret(`guess number ${guess}`) }
      await logIn(hub.deps, given, { client, call, log }).catch(({ code }) => codes.add(code))
      await hub.clock.advance(8_600)
    }
    expect([...codes]).toEqual(['login_refused'])
    const [heard] = await hub.query<{ failures: number }>(
      'select failures from operator_try where key = $1',
      [`password ${operator.id}`],
    )
    expect(heard?.failures).toBeLessThan(40)
  })

  test('refuses a flood before it costs a hash', async () => {
    const { email } = await hub.person()
    const answers = await Promise.all(Array.from({ length: 30 }, () => login(email, 'wrong password')))
    expect(answers.filter(({ status }) => status === 429).length).toBeGreaterThanOrEqual(20)
    expect(answers.find(({ status }) => status === 429)?.body.code).toBe('rate_limited')
  })

  test('hears only some of many guesses that come at the same moment', async () => {
    const { email, operator } = await hub.person()
    await Promise.all(Array.from({ length: 10 }, (_, at) => login(email, 'wrong password', `10.2.0.${at}`)))
    const [heard] = await hub.query<{ failures: number }>(
      'select failures from operator_try where key = $1',
      [`password ${operator.id}`],
    )
    expect(heard?.failures).toBe(5)
  })
})

describe('the second factor', () => {
  test('is asked for, and a code works once', async () => {
    const who = await hub.person({ workspaceId, role: 'admin' })
    const { secret } = await hub.enrolled(who)
    const first = await login(who.email)
    expect(first.body).toMatchObject({ status: 'mfa_required' })
    expect(first.body.session_token).toBeUndefined()
    const code = hub.codeOf(secret)
    expect((await mfa(first.body.ticket, code)).body).toMatchObject({ status: 'signed_on' })
    expect((await mfa(first.body.ticket, code)).status).toBe(401)
    const second = await login(who.email)
    expect((await mfa(second.body.ticket, code)).body.code).toBe('login_refused')
    await hub.clock.advance(30_000)
    expect((await mfa(second.body.ticket, hub.codeOf(secret))).status).toBe(200)
  })

  test('gives one session for two equal codes at the same moment', async () => {
    const who = await hub.person()
    const { secret } = await hub.enrolled(who)
    const tickets = [(await login(who.email)).body.ticket, (await login(who.email)).body.ticket]
    const code = hub.codeOf(secret)
    const answers = await Promise.all(tickets.map((ticket) => mfa(ticket, code)))
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401])
  })

  test('takes one of many equal codes at the same moment', async () => {
    const who = await hub.person()
    const { secret } = await hub.enrolled(who)
    const given = { operatorId: who.operator.id, code: new Secret(hub.codeOf(secret)) }
    const taken = await Promise.all(Array.from({ length: 10 }, () => takeAppCode(hub.deps, given)))
    expect(taken.filter(Boolean)).toHaveLength(1)
  })

  test('gives one session for one ticket with two good codes at the same moment', async () => {
    const who = await hub.person()
    const { secret, codes } = await hub.enrolled(who)
    const { ticket } = (await login(who.email)).body
    const answers = await Promise.all([mfa(ticket, hub.codeOf(secret)), mfa(ticket, codes[0] ?? '')])
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 401])
  })

  test('takes five tries with one ticket', async () => {
    const who = await hub.person()
    const { secret } = await hub.enrolled(who)
    const { ticket } = (await login(who.email)).body
    for (let tries = 0; tries < 5; tries += 1) {
      expect((await mfa(ticket, '000000')).status).toBe(401)
      await hub.clock.advance(31_000)
    }
    expect((await mfa(ticket, hub.codeOf(secret))).status).toBe(401)
  })

  test('rests after five wrong codes, though the password was right each time', async () => {
    const who = await hub.person()
    const { secret } = await hub.enrolled(who)
    for (let tries = 0; tries < 5; tries += 1) await mfa((await login(who.email)).body.ticket, '000000')
    const { ticket } = (await login(who.email)).body
    expect((await mfa(ticket, hub.codeOf(secret))).status).toBe(401)
    await hub.clock.advance(60_000)
    const later = (await login(who.email)).body.ticket
    expect((await mfa(later, hub.codeOf(secret))).status).toBe(200)
  })

  test('is a recovery code once, however it is written', async () => {
    const who = await hub.person()
    const { codes } = await hub.enrolled(who)
    expect(codes).toHaveLength(10)
    const written = (codes[3] ?? '').toLowerCase().replaceAll('-', ' ')
    expect((await mfa((await login(who.email)).body.ticket, written)).status).toBe(200)
    expect((await mfa((await login(who.email)).body.ticket, codes[3] ?? '')).status).toBe(401)
    const stored = JSON.stringify(await hub.query('select * from operator_recovery_code'))
    for (const code of codes) expect(stored).not.toContain(code)
  })

  test('lies sealed, for this operator only', async () => {
    const [one, two] = [await hub.person(), await hub.person()]
    const { secret } = await hub.enrolled(one)
    await hub.enrolled(two)
    const dump = JSON.stringify(await hub.query('select encode(totp_sealed, $1) from operator', ['escape']))
    expect(dump).not.toContain(secret)
    expect(dump).not.toContain(bytesOfBase32(secret).toString('base64'))
    await hub.query(
      'update operator set totp_sealed = (select totp_sealed from operator where id = $1) where id = $2',
      [one.operator.id, two.operator.id],
    )
    const { ticket } = (await login(two.email)).body
    expect((await mfa(ticket, hub.codeOf(secret))).status).toBe(500)
  })
})

test('a new key-encryption key wraps second factors anew, and the old one can go', async () => {
  const who = await hub.person()
  const { secret } = await hub.enrolled(who)
  const next = new Secret(randomBytes(32).toString('base64'))
  const both = openEnvelope({ keys: envKeys({ current: next, previous: [hub.key], where: 'KEK' }) })
  const alone = openEnvelope({ keys: envKeys({ current: next, previous: [], where: 'KEK' }) })
  const take = () =>
    takeAppCode(
      { ...hub.deps, envelope: alone },
      { operatorId: who.operator.id, code: new Secret(hub.codeOf(secret)) },
    )
  await expect(take()).rejects.toThrow()
  await hub.query('update operator set totp_sealed = null where id <> $1', [who.operator.id])
  // Somebody else's bytes: it does not open, and keeps nobody else from being wrapped.
  const broken = await hub.person()
  await hub.query(
    'update operator set totp_sealed = (select totp_sealed from operator where id = $1) where id = $2',
    [who.operator.id, broken.operator.id],
  )
  expect(await rewrapSecondFactors(hub.db, both)).toMatchObject({
    rewrapped: 1,
    broken: [expect.stringContaining(`second factor of operator ${broken.operator.id}: `)],
    left: 1,
  })
  expect(await rewrapSecondFactors(hub.db, both)).toMatchObject({ rewrapped: 0, left: 1 })
  expect(await take()).toBe(true)
})

describe('proof for an emergency', () => {
  const prove = (who: Person, code: string, password = PASSWORD) =>
    proveOperator(
      hub.deps,
      {
        email: who.email,
        password: new Secret(password),
        code: new Secret(code),
        role: 'break_glass_admin',
      },
      { client: { ip: '127.0.0.1', userAgent: null }, call: CHANGE.call, log: hub.platform.log },
    )

  test('takes password and code together, and each code once', async () => {
    const who = await hub.person({ workspaceId: null, role: 'break_glass_admin' })
    const { secret } = await hub.enrolled(who)
    const code = hub.codeOf(secret)
    await expect(prove(who, code, 'wrong password')).rejects.toMatchObject({ code: 'login_refused' })
    await expect(prove(who, '000000')).rejects.toMatchObject({ code: 'login_refused' })
    expect(await prove(who, code)).toMatchObject({ email: who.email })
    await expect(prove(who, code)).rejects.toMatchObject({ code: 'login_refused' })
    await expect(mfa((await login(who.email)).body.ticket, code)).resolves.toMatchObject({ status: 401 })
  })

  test('takes no recovery code, and nobody without a second factor', async () => {
    const who = await hub.person({ workspaceId: null, role: 'break_glass_admin' })
    await expect(prove(who, '123456')).rejects.toMatchObject({ code: 'login_refused' })
    const { codes } = await hub.enrolled(who)
    await expect(prove(who, codes[0] ?? '')).rejects.toMatchObject({ code: 'login_refused' })
  })

  test('leaves a trace when it is refused, of more than a guess at the password in the audit log', async () => {
    const who = await hub.person({ workspaceId: null, role: 'platform_admin' })
    const { secret } = await hub.enrolled(who)
    const code = hub.codeOf(secret)
    const refusals: unknown[] = []
    for (const [tried, password] of [
      [code, 'wrong password'],
      ['000000', PASSWORD],
      [code, PASSWORD],
    ] as const)
      await prove(who, tried, password).catch((error: Error) =>
        refusals.push({ ...error, text: error.message }),
      )
    // Nobody learns how far they came.
    expect(refusals).toEqual([refusals[0], refusals[0], refusals[0]])
    expect(refusals[0]).toMatchObject({ code: 'login_refused' })
    const lines = hub.captured
      .lines()
      .filter((line) => line.operator_id === who.operator.id && String(line.step).startsWith('break_glass'))
    expect(lines.map(({ step }) => step)).toEqual([
      'break_glass password',
      'break_glass code',
      'break_glass role',
    ])
    const entries = await hub.query(
      `select actor, reason from audit_entry where tenant_id = $1 and action = 'break_glass.refused'
       and object = $2 order by seq`,
      [NO_WORKSPACE, `operator:${who.email}`],
    )
    expect(entries).toEqual([
      { actor: `operator:${who.email}`, reason: 'the password was right, the code was not' },
      {
        actor: `operator:${who.email}`,
        reason: 'password and code were right, the role break_glass_admin was missing',
      },
    ])
    expect(JSON.stringify([entries, lines])).not.toContain(code)
  })

  test('holds the role until the end of the transaction, and is worth nothing without it', async () => {
    const role = 'break_glass_admin'
    const [fit, without, locked] = [
      await hub.person({ workspaceId: null, role }),
      await hub.person({ workspaceId: null, role: 'platform_admin' }),
      await hub.person({ workspaceId: null, role }),
    ]
    await hub.query('update operator set locked_at = now() where id = $1', [locked.operator.id])
    const hold = ({ operator: { id } }: Person) => hub.db.transaction((tx) => holdProven(tx, { id, role }))
    await expect(hold(fit)).resolves.toBeUndefined()
    for (const one of [without, locked])
      await expect(hold(one)).rejects.toMatchObject({ code: 'login_refused' })
    await hub.db.transaction(async (tx) => {
      await holdProven(tx, { id: fit.operator.id, role })
      const taken = hub.query('select from operator_role where operator_id = $1 for update nowait', [
        fit.operator.id,
      ])
      await expect(taken).rejects.toThrow()
    })
  })

  test('is asked for again once the person has another password', async () => {
    const who = await hub.person({ workspaceId: null, role: 'break_glass_admin' })
    const { token } = await hub.enrolled(who)
    await hub.query(
      `insert into break_glass_session (id, environment, subject, reason, ticket, ip, expires_at)
       values ($1, 'dev', $2, 'the hub is on fire', 'T-1', '127.0.0.1', now() + interval '9 minutes')`,
      [newId(), who.operator.subject],
    )
    const body = { current_password: PASSWORD, new_password: 'nine staples of a horse' }
    expect((await hub.call('POST', '/auth/password', { body, token })).status).toBe(200)
    const ended = await hub.query('select ended_by from break_glass_session where subject = $1', [
      who.operator.subject,
    ])
    expect(ended).toEqual([{ ended_by: who.operator.subject }])
  })

  test('says that the key-encryption key is missing, as signing on does', async () => {
    const who = await hub.person({ workspaceId: null, role: 'break_glass_admin' })
    const { secret } = await hub.enrolled(who)
    const { ticket } = (await login(who.email)).body
    const open = vi.spyOn(hub.deps.envelope, 'open')
    open.mockRejectedValue(new EnvelopeFailure('key_unavailable', 'Vault does not answer.'))
    try {
      await expect(prove(who, hub.codeOf(secret))).rejects.toMatchObject({ code: 'secrets_unavailable' })
      expect(await mfa(ticket, hub.codeOf(secret))).toMatchObject({
        status: 503,
        body: { code: 'secrets_unavailable' },
      })
    } finally {
      open.mockRestore()
    }
  })

  test('is not closed by guesses at the ordinary door', async () => {
    const who = await hub.person({ workspaceId: null, role: 'break_glass_admin' })
    const { secret } = await hub.enrolled(who)
    for (let tries = 0; tries < 12; tries += 1) await login(who.email, 'wrong password', '10.3.0.1')
    expect((await login(who.email)).status).toBe(429)
    expect(await prove(who, hub.codeOf(secret))).toMatchObject({ email: who.email })
  })

  test('knows clocks that are a minute and a half off as wrong', async () => {
    const who = await hub.person()
    const { secret } = await hub.enrolled(who)
    for (const shift of [-90_000, 90_000])
      await expect(prove(who, totpAt(bytesOfBase32(secret), hub.clock.now() + shift))).rejects.toMatchObject({
        code: 'login_refused',
      })
  })
})
