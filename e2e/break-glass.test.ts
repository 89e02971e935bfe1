/**
 * An emergency, as it would come: only Postgres and the control process live; the identity provider, Redis and every
 * other process are gone, and the workspace is suspended. Real people with real passwords and codes.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { totpAt } from '../server/src/features/operators/totp.ts'
import { emptyDatabase } from '../server/testing/database.ts'
import { bytesOfBase32 } from '../server/testing/people.ts'
import { call } from './hub-client.ts'
import {
  freePorts,
  type HubHome,
  hubHome,
  type RunningCommand,
  runCli,
  startRole,
  tokenFor,
} from './hub-process.ts'

const DEAD = '127.0.0.1:1'
const ADA = 'ada@example.com'
const PASSWORD = 'a staple of nine horses'
const reason = 'a drill of the emergency'

let database: { readonly url: string; drop(): Promise<void> }
let home: HubHome
let running: RunningCommand
let emergencyUrl: string
let workspaceId: string
let platform: string
/** What the alert address was sent, and what it answers. */
const alerts: { subject: string; admins: string[] }[] = []
let alertStatus = 204
const alertSink = createServer((request, response) => {
  let text = ''
  request.on('data', (chunk) => {
    text += chunk
  })
  request.on('end', () => {
    alerts.push(JSON.parse(text))
    response.writeHead(alertStatus).end()
  })
})

beforeAll(async () => {
  database = await emptyDatabase()
  await new Promise<void>((resolve) => alertSink.listen(0, '127.0.0.1', resolve))
  const [port = 0] = await freePorts(1)
  emergencyUrl = `http://127.0.0.1:${port}`
  home = await hubHome({
    DATABASE_URL: database.url,
    REDIS_URL: `redis://${DEAD}`,
    OIDC_ISSUER: `http://${DEAD}`,
    OIDC_CLIENT_ID: 'hub',
    OIDC_REDIRECT_URL: `http://${DEAD}/callback`,
    BREAK_GLASS_PORT: String(port),
    BREAK_GLASS_ALERT_URL: `http://127.0.0.1:${(alertSink.address() as AddressInfo).port}/alert`,
  })
  expect((await runCli(home, 'migrate')).code).toBe(0)
  running = await startRole(home, 'control')
  platform = await tokenFor(home, 'control', '--platform-admin')
})
afterAll(async () => {
  await running?.stop('SIGTERM')
  await home?.remove()
  await database?.drop()
  await new Promise((resolve) => alertSink.close(resolve))
})

// biome-ignore lint/suspicious/noExplicitAny: the test looks into whatever an answer has.
type Body = any
async function post(url: string, body: object, token?: string): Promise<Body> {
  const answer = await call<Body>(url, { body, ...(token !== undefined && { token }) })
  return { ...answer.body, http: answer.status }
}
const control = (path: string, body: object, token: string) =>
  post(`${home.urls.control}${path}`, body, token)
const emergency = (path: string, body: object, token?: string) => post(`${emergencyUrl}${path}`, body, token)

/** Somebody who was invited to a role of the platform, with an app for codes. */
async function somebody(email: string, role: string): Promise<{ session: string; secret: string }> {
  const invited = await control('/operators/invitations', { email, role, reason }, platform)
  const token = invited.token ?? invited.invitation_token
  expect(token, JSON.stringify(invited)).toBeTypeOf('string')
  const { session_token } = await post(`${home.urls.control}/auth/invitations/accept`, {
    token,
    name: email,
    password: PASSWORD,
  })
  const { secret } = await control('/auth/totp', {}, session_token)
  const confirmed = await control('/auth/totp/confirm', { code: codeOf(secret) }, session_token)
  expect(confirmed.http, JSON.stringify(confirmed)).toBe(200)
  return { session: confirmed.session_token, secret }
}

/** The code of the app; of the step after this one, which clocks that differ allow, when this one's is used up. */
const codeOf = (secret: string, steps = 0): string =>
  totpAt(bytesOfBase32(secret), Date.now() + steps * 30_000)

test('with Postgres alone a break-glass admin gets in, is told of, is thrown out, and is reviewed', async () => {
  const slug = 'shop-dev'
  const made = await control('/workspaces', { slug, name: 'Shop', template: 'empty', reason }, platform)
  workspaceId = made.id
  expect((await control(`/workspaces/${workspaceId}/suspend`, { reason }, platform)).http).toBe(200)
  const { session, secret } = await somebody(ADA, 'break_glass_admin')

  const proof = { email: ADA, password: PASSWORD, reason, ticket: 'INC-1' }
  // An alert that nobody takes opens nothing. It has used the code up: somebody might have seen it.
  alertStatus = 500
  expect(await emergency('/break-glass/open', { ...proof, code: codeOf(secret, 1) })).toMatchObject({
    http: 503,
    code: 'alert_failed',
  })
  alertStatus = 204
  expect(await emergency('/break-glass/open', { ...proof, code: codeOf(secret, 1) })).toMatchObject({
    http: 401,
    code: 'login_refused',
  })
  // The code of the next step, when its time has come.
  let opened: Body
  await expect
    .poll(
      async () => {
        const code = codeOf(secret, 1)
        opened = await emergency('/break-glass/open', { ...proof, code, minutes: 5 })
        return opened.http
      },
      { interval: 6_000, timeout: 70_000 },
    )
    .toBe(201)
  expect(alerts.at(-1)).toMatchObject({ subject: `operator:${ADA}`, type: 'break_glass.opening' })

  // The suspended workspace is resumed from there, and its events tell of the emergency.
  const { access_token: inside } = await emergency(
    '/break-glass/enter',
    { workspace_id: workspaceId, reason },
    opened.access_token,
  )
  expect((await emergency(`/workspaces/${workspaceId}/resume`, { reason }, inside)).http).toBe(200)
  const events = await call<{ data: { type: string; severity: string }[] }>(
    `${emergencyUrl}/events?type=break_glass.opened`,
    { token: inside },
  )
  expect(events.body.data).toMatchObject([{ type: 'break_glass.opened', severity: 'error' }])
  const audit = await call<{ data: { action: string; role: string; actor: string }[] }>(
    `${emergencyUrl}/audit?limit=10`,
    { token: inside },
  )
  expect(audit.body.data).toContainEqual(
    expect.objectContaining({ action: 'workspace.resumed', actor: `operator:${ADA}`, role: 'emergency' }),
  )

  // Nobody acts as somebody else here: such a call is no ordinary one.
  const posing = { token: inside, headers: { 'x-impersonate-operator': workspaceId } }
  expect((await call(`${emergencyUrl}/audit`, posing)).status).toBe(403)

  // The tokens of one listener are none on the other.
  expect((await call(`${home.urls.control}/audit`, { token: inside })).status).toBe(401)
  expect((await call(`${emergencyUrl}/audit`, { token: platform })).status).toBe(401)
  expect((await control('/auth/token', {}, session)).http).toBeLessThan(500)

  // Somebody else stops it, by the account; how it is closed from within has tests of its own.
  const people = await call<Body>(`${home.urls.control}/operators`, { token: platform })
  const ada = people.body.data.find((one: { email: string }) => one.email === ADA)
  expect((await emergency(`/operators/${ada.id}/reset-mfa`, { reason }, opened.access_token)).http).toBe(403)
  expect((await control(`/operators/${ada.id}/lock`, { reason }, platform)).http).toBe(200)
  expect((await call(`${emergencyUrl}/audit`, { token: inside })).status).toBe(401)
  expect((await call(`${emergencyUrl}/audit`, { token: opened.access_token })).status).toBe(401)

  const inspected = await call<Body>(`${home.urls.control}/break-glass/${opened.id}`, { token: platform })
  expect(inspected.body.entries.map((entry: { action: string }) => entry.action)).toEqual([
    'break_glass.opened',
    'break_glass.entered',
    'workspace.resumed',
  ])
  const reviewed = await control(
    `/break-glass/${opened.id}/review`,
    { review: 'as it should be', reason },
    platform,
  )
  expect(reviewed).toMatchObject({ http: 200, review: 'as it should be' })
}, 150_000)
