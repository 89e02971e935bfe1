/**
 * From a provider to the product, on real processes: deliveries that the SDK verifies, what is held and released, a worker
 * that dies while it releases, and a product that polls. Each connector is a path of one receiver.
 */
import { randomUUID } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { UNLIMITED } from '../server/testing/unlimited.ts'
import { stripe, stripeSignature } from '../server/testing/webhook-samples/stripe.ts'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningCommand, runCli, startRole, tokenFor } from './hub-process.ts'
import { type Receiver, startReceiver } from './webhook-receiver.ts'

const SLUG = 'shop-dev'
const SIGNING_SECRET = `whsec_${Buffer.from('a key for callbacks, 24+ bytes').toString('base64')}`
const WITHIN = { timeout: 20_000, interval: 50 }
const TEST_MS = 60_000
const reason = 'end to end'

let database: { readonly url: string; drop(): Promise<void> }
let owner: Client
let home: HubHome
let worker: RunningCommand
let receiver: Receiver
let admin: string
let workspaceId: string
const tokens = { exec: '', control: '' }

beforeAll(async () => {
  database = await emptyDatabase()
  owner = new Client({ connectionString: database.url })
  await owner.connect()
  home = await hubHome({ DATABASE_URL: database.url, LIMITS: 'per-node' })
  receiver = await startReceiver(SIGNING_SECRET)
  expect((await runCli(home, 'migrate')).code).toBe(0)
  const [doomed] = await Promise.all([
    // Dies at its first release: after everything is written, before the commit.
    startRole(home.with({ FAIL_POINTS: 'webhooks.release' }), 'worker'),
    ...(['control', 'exec', 'ingress'] as const).map((role) => startRole(home, role)),
  ])
  worker = doomed
  admin = await tokenFor(home, 'control', '--platform-admin')
  const made = await call<{ id: string }>(`${home.urls.control}/workspaces`, {
    token: admin,
    body: { slug: SLUG, name: 'Shop', template: 'empty', reason },
  })
  expect(made.status).toBe(201)
  workspaceId = made.body.id
  const [exec, control] = await Promise.all(
    (['exec', 'control'] as const).map((plane) => tokenFor(home, plane, '--workspace', SLUG)),
  )
  Object.assign(tokens, { exec, control })
  const folder = join(home.dataDir, 'secrets', SLUG)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  const secrets = { signing: SIGNING_SECRET, stripe: stripe.secrets[0], polled: stripe.secrets[1] }
  for (const [name, value] of Object.entries(secrets)) {
    await writeFile(join(folder, name), value, { mode: 0o600 })
    await change('PUT', `/secret-refs/${name}`, { ref: `file://${name}` })
  }
  await change('PUT', '/policies/default', {
    policy: { ...UNLIMITED, job_retry: { schedule_ms: [0, 500, 500, 60_000] } },
  })
}, TEST_MS)
afterAll(async () => {
  await receiver.stop()
  await owner.end()
  await home.remove()
  await database.drop()
})

const control = <Body = Record<string, unknown>>(path: string, options: Parameters<typeof call>[1] = {}) =>
  call<Body>(`${home.urls.control}${path}`, { token: tokens.control, ...options })
const exec = <Body>(path: string, body?: unknown) =>
  call<Body>(`${home.urls.exec}${path}`, { token: tokens.exec, body })

/** A change on control, which must be taken. */
async function change<Body = Record<string, unknown>>(
  method: 'POST' | 'PUT' | 'PATCH' | 'DELETE',
  path: string,
  body: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Promise<Body> {
  const answer = await control<Body>(method === 'DELETE' ? `${path}?reason=${reason}` : path, {
    method,
    headers,
    ...(method !== 'DELETE' && { body: { ...body, reason } }),
  })
  expect(answer.status, `${method} ${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
  return answer.body
}

/** A callback connector with a path of its own, and the route of an account to it. */
async function routeTo(connector: string, account: string, secret = 'stripe'): Promise<string> {
  await addConnector(connector)
  const route = { provider: 'stripe', account, livemode: false, connector, secret_refs: [secret] }
  return (await change<{ id: string }>('POST', '/webhook-routes', route)).id
}

const addConnector = (name: string) =>
  change('PUT', `/connectors/${name}`, {
    connector: {
      ...{ kind: 'callback', policy: 'default' },
      settings: { url: `${receiver.url}/${name}` },
      secrets: { signing_secret: 'signing' },
    },
  })

/** What Stripe would send; gives the answer. */
async function send(account: string, id: string, secret = stripe.secrets[0]) {
  const body = stripe.body({ id, account })
  const headers = {
    'content-type': 'application/json',
    'stripe-signature': stripeSignature(body, [secret], Date.now()),
  }
  const answer = await fetch(`${home.urls.ingress}/webhooks/stripe`, { method: 'POST', headers, body })
  expect(answer.status).toBe(200)
  return (await answer.json()) as { inbox_id: string; duplicate: boolean }
}

const arrived = (path: string) => receiver.deliveries.filter((delivery) => delivery.path === `/${path}`)
const taken = (path: string) => arrived(path).filter(({ answered }) => answered === 204)
const eventsOf = async (type: string, connector: string) =>
  (
    await exec<{ data: { message: string; severity: string; job_id: string; inbox_id: string }[] }>(
      `/events?type=${type}&connector=${connector}&limit=200`,
    )
  ).body.data
/** The log shows an event when nothing that began before it is still open: a moment after its commit. */
const told = (type: string, connector: string, expected: unknown) =>
  vi.waitFor(async () => expect(await eventsOf(type, connector)).toMatchObject(expected as object), WITHIN)
const ofEvents = (inboxIds: readonly string[]) => inboxIds.map((inbox_id) => ({ inbox_id }))

test(
  'an event of the provider is at the product, signed, whole and under one id',
  async () => {
    await routeTo('direct', 'acct_direct')
    const { inbox_id } = await send('acct_direct', 'evt_direct')
    expect(await send('acct_direct', 'evt_direct')).toEqual({ received: true, inbox_id, duplicate: true })
    await vi.waitFor(() => expect(taken('direct')).toHaveLength(1), WITHIN)
    expect(arrived('direct')).toMatchObject([
      {
        id: `inbox-${inbox_id}`,
        message: {
          type: 'stripe.invoice.paid',
          data: {
            inbox_id,
            payload: JSON.parse(String(stripe.body({ id: 'evt_direct', account: 'acct_direct' }))),
          },
        },
      },
    ])
  },
  TEST_MS,
)

test(
  'a receiver that aborts gets a message once, and not when the provider sends it again; it is a dead letter that says so',
  async () => {
    await routeTo('aborting', 'acct_aborting')
    receiver.answer('/aborting', { status: 500, headers: { 'webhook-delivery': 'abort' } })
    await send('acct_aborting', 'evt_aborted')
    const dead = async () =>
      (await control<{ data: { reason: string; connector: string }[] }>('/dlq/webhook')).body.data
    await vi.waitFor(
      async () =>
        expect(await dead()).toMatchObject([{ connector: 'aborting', reason: 'aborted_by_receiver' }]),
      WITHIN,
    )
    expect(await send('acct_aborting', 'evt_aborted')).toMatchObject({ duplicate: true })
    // What comes after it is there; what was aborted is still the only one of its kind.
    receiver.answer('/aborting', { status: 204 })
    const { inbox_id } = await send('acct_aborting', 'evt_wanted')
    await vi.waitFor(
      () => expect(taken('aborting').map(({ id }) => id)).toEqual([`inbox-${inbox_id}`]),
      WITHIN,
    )
    expect(arrived('aborting')).toHaveLength(2)
    expect(await dead()).toHaveLength(1)
  },
  TEST_MS,
)

test(
  'a product that cannot receive polls: it finds the event, reads all of it and takes it',
  async () => {
    await routeTo('polled', 'acct_polled', 'polled')
    await change('POST', '/connectors/polled/pause', {})
    const { inbox_id } = await send('acct_polled', 'evt_polled', stripe.secrets[1])
    await told('webhook.received', 'polled', [{ inbox_id, job_id: expect.any(String) }])
    const [found] = await eventsOf('webhook.received', 'polled')
    const jobOf = async () =>
      (await exec<{ job: Record<string, unknown> }>(`/jobs/${found?.job_id}`)).body.job
    expect(await jobOf()).toMatchObject({
      state: 'queued',
      blocked_by: [{ reason: 'connector_paused' }],
      input: { type: 'stripe.invoice.paid', data: { inbox_id, payload: { id: 'evt_polled' } } },
      input_missing: null,
    })
    const took = await exec(`/jobs/${found?.job_id}/cancel`, { reason: 'taken by polling' })
    expect(took).toMatchObject({ status: 200, body: { status: 'cancelled' } })
    // What the provider sends again does not bring it back.
    expect(await send('acct_polled', 'evt_polled', stripe.secrets[1])).toMatchObject({ duplicate: true })
    expect(await jobOf()).toMatchObject({ state: 'cancelled' })
    await told('webhook.duplicate', 'polled', ofEvents([inbox_id]))
    await told('job.queued', 'polled', [{ inbox_id, job_id: found?.job_id }])
    expect(arrived('polled')).toEqual([])
  },
  TEST_MS,
)

test(
  'a receiver that is gone pauses its route; what is held survives a kill -9 of the worker that releases it',
  async () => {
    const routeId = await routeTo('gone', 'acct_gone')
    receiver.answer('/gone', { status: 410 })
    const sent = [(await send('acct_gone', 'evt_1')).inbox_id]
    const pausedBy = async () =>
      (await control<{ paused: { by: string } | null }>(`/webhook-routes/${routeId}`)).body.paused?.by
    await vi.waitFor(async () => expect(await pausedBy()).toBe('hub'), WITHIN)
    for (const id of ['evt_2', 'evt_3']) sent.push((await send('acct_gone', id)).inbox_id)
    await told('webhook.held', 'gone', ofEvents(sent))
    await told('webhook_route.paused', 'gone', [
      { severity: 'error', message: expect.stringContaining('HTTP 410') },
    ])
    expect(arrived('gone')).toHaveLength(1)

    receiver.answer('/gone', { status: 204 })
    await change('POST', `/webhook-routes/${routeId}/resume`)
    expect((await worker.ended).signal).toBe('SIGKILL')
    expect(await eventsOf('webhook.released', 'gone')).toEqual([])
    worker = await startRole(home, 'worker')
    await vi.waitFor(() => expect(taken('gone')).toHaveLength(3), WITHIN)
    expect(taken('gone').map(({ id }) => id)).toEqual(sent.map((id) => `inbox-${id}`))
    await told('webhook.released', 'gone', ofEvents(sent))
  },
  TEST_MS,
)

test(
  'a suspended workspace gets its events when it goes on',
  async () => {
    await routeTo('suspended', 'acct_suspended')
    const turn = async (verb: string) => {
      const url = `${home.urls.control}/workspaces/${workspaceId}/${verb}`
      expect((await call(url, { token: admin, body: { reason } })).status).toBe(200)
    }
    await turn('suspend')
    // Ingress hears of it a moment later; what it takes until then waits as a job.
    const held = await vi.waitFor(async () => {
      const { inbox_id } = await send('acct_suspended', `evt_${randomUUID()}`)
      const { rows } = await owner.query<{ held_why: string | null }>(
        'select held_why from webhook_inbox where id = $1',
        [inbox_id],
      )
      expect(rows).toEqual([{ held_why: 'workspace_suspended' }])
      return inbox_id
    }, WITHIN)
    await turn('resume')
    await vi.waitFor(() => expect(taken('suspended').map(({ id }) => id)).toContain(`inbox-${held}`), WITHIN)
    await told('webhook.released', 'suspended', ofEvents([held]))
  },
  TEST_MS,
)

test(
  'a delivery whose connector is deleted goes to the one that the route names by then, under the same id',
  async () => {
    const routeId = await routeTo('old', 'acct_moving')
    await addConnector('new')
    receiver.answer('/old', { status: 503, headers: { 'retry-after': '1' } })
    const { inbox_id } = await send('acct_moving', 'evt_moving')
    await vi.waitFor(() => expect(arrived('old')).toHaveLength(1), WITHIN)
    await change('PATCH', `/webhook-routes/${routeId}`, { connector: 'new' }, { 'if-match': '"1"' })
    await change('DELETE', '/connectors/old')
    await vi.waitFor(() => expect(taken('new').map(({ id }) => id)).toEqual([`inbox-${inbox_id}`]), WITHIN)
    await told('webhook.held', 'old', ofEvents([inbox_id]))
  },
  TEST_MS,
)
