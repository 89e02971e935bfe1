/** People, from the first command on the machine of the hub to their end, on two control processes. */
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { totpAt } from '../server/src/features/operators/totp.ts'
import { emptyDatabase } from '../server/testing/database.ts'
import { bytesOfBase32 } from '../server/testing/people.ts'
import { call } from './hub-client.ts'
import { freePorts, type HubHome, hubHome, runCli, startRole } from './hub-process.ts'

const TEST_MS = 90_000
const PASSWORD = 'a staple of nine horses'
/** How long an end may take to reach the other process. */
const EFFECT_MS = 5_000
let database: Awaited<ReturnType<typeof emptyDatabase>>
let one: HubHome
let two: HubHome

beforeAll(async () => {
  database = await emptyDatabase()
  one = await hubHome({ DATABASE_URL: database.url })
  const [port] = await freePorts(1)
  two = one.with({ CONTROL_PORT: String(port) })
  expect((await runCli(one, 'migrate')).code).toBe(0)
  await startRole(one, 'control')
  await startRole(two, 'control')
  expect((await runCli(one, 'workspace', 'create', 'shop-dev', '--name', 'Shop')).code).toBe(0)
}, TEST_MS)
afterAll(async () => {
  await one.remove()
  await database.drop()
})

const operator = (...args: readonly string[]) => runCli(one, 'operator', ...args)
const control = async (home: HubHome, path: string, options: Parameters<typeof call>[1] = {}) =>
  call<Record<string, string>>(`${home.urls.control}${path}`, options)

/** Invites by the command, accepts, enrols an app; gives the session. */
async function join(email: string, ...as: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await operator('invite', email, ...as)
  expect([code, stderr]).toEqual([0, ''])
  const token = /inv_[A-Za-z0-9_-]{43}/.exec(stdout)?.[0] ?? ''
  const accept = { token, name: 'Somebody', password: PASSWORD }
  const accepted = await control(one, '/auth/invitations/accept', { body: accept })
  expect(accepted.status).toBe(200)
  const session = accepted.body.session_token ?? ''
  const refused = await control(one, '/auth/token', { token: session, body: {} })
  expect(refused.body.code).toBe('mfa_enrolment_required')
  const { body: enrolment } = await control(one, '/auth/totp', { token: session, body: {} })
  const code6 = totpAt(bytesOfBase32(enrolment.secret ?? ''), Date.now())
  const confirmed = await control(two, '/auth/totp/confirm', { token: session, body: { code: code6 } })
  expect(confirmed.status).toBe(200)
  expect((await control(one, '/auth/session', { token: session })).status).toBe(401)
  return confirmed.body.session_token ?? ''
}

test(
  'come by the command, work with a token of one workspace, and are gone on every process within seconds',
  async () => {
    const admin = await join('boss@example.com', '--role', 'platform_admin')
    const ann = await join('Ann@Example.com', '--role', 'admin', '--workspace', 'shop-dev')
    expect((await operator('list')).stdout).toMatch(/ann@example\.com +mfa +admin@/)
    expect((await operator('invite', 'ann@example.com', '--role', 'support')).code).toBe(1)
    expect((await operator('invite', 'x@example.com', '--role', 'king')).code).toBe(1)
    expect((await operator('invite', 'x@example.com')).stderr).toContain('Usage')

    const who = await call<{ workspaces: { id: string }[] }>(`${two.urls.control}/auth/session`, {
      token: ann,
    })
    const workspace_id = who.body.workspaces[0]?.id
    const issued = await control(one, '/auth/token', { token: ann, body: { workspace_id } })
    const token = issued.body.access_token ?? ''
    const members = () => control(two, '/members', { token })
    expect((await members()).status).toBe(200)
    expect((await control(two, '/operators', { token })).status).toBe(403)

    const { access_token = '' } = (await control(one, '/auth/token', { token: admin, body: {} })).body
    const { body: all } = await call<{ data: { id: string; email: string }[] }>(
      `${one.urls.control}/operators`,
      { token: access_token },
    )
    const id = all.data.find(({ email }) => email === 'ann@example.com')?.id
    const body = { reason: 'she left' }
    expect((await control(one, `/operators/${id}/end-sessions`, { token: access_token, body })).status).toBe(
      200,
    )
    expect((await control(two, '/auth/session', { token: ann })).status).toBe(401)
    await vi.waitFor(async () => expect((await members()).status).toBe(401), {
      timeout: EFFECT_MS,
      interval: 50,
    })
    const last = await control(one, `/operators/${id}/lock`, { token: access_token, body })
    expect(last.body.code).toBe('last_admin')
    expect((await operator('reset-mfa', 'ann@example.com')).code).toBe(0)
    expect((await operator('reset-mfa', 'nobody@example.com')).stderr).toContain('no operator')
  },
  TEST_MS,
)
