/**
 * Events that a provider could not deliver, on real processes: found through its own list, shown on control, pulled in
 * and delivered like any other; by another worker when the first one dies between two pages.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { stripeEvent, stripeEvents } from '../server/testing/event-lists.ts'
import { UNLIMITED } from '../server/testing/unlimited.ts'
import { startUpstream, type Upstream } from '../server/testing/upstream.ts'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningCommand, runCli, startRole, tokenFor } from './hub-process.ts'
import { type Receiver, startReceiver } from './webhook-receiver.ts'

const SLUG = 'shop-dev'
const SIGNING_SECRET = `whsec_${Buffer.from('a key for callbacks, 24+ bytes').toString('base64')}`
const WITHIN = { timeout: 20_000, interval: 50 }
const reason = 'end to end'

let database: { readonly url: string; drop(): Promise<void> }
let owner: Client
let home: HubHome
let worker: RunningCommand
let receiver: Receiver
let provider: Upstream
let token: string

beforeAll(async () => {
  database = await emptyDatabase()
  owner = new Client({ connectionString: database.url })
  await owner.connect()
  home = await hubHome({ DATABASE_URL: database.url, LIMITS: 'per-node' })
  receiver = await startReceiver(SIGNING_SECRET)
  provider = await startUpstream()
  expect((await runCli(home, 'migrate')).code).toBe(0)
  ;[worker] = await Promise.all([startRole(home, 'worker'), startRole(home, 'control')])
  const admin = await tokenFor(home, 'control', '--platform-admin')
  const made = await call(`${home.urls.control}/workspaces`, {
    token: admin,
    body: { slug: SLUG, name: 'Shop', template: 'empty', reason },
  })
  expect(made.status).toBe(201)
  token = await tokenFor(home, 'control', '--workspace', SLUG)
  const folder = join(home.dataDir, 'secrets', SLUG)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const [name, value] of Object.entries({ signing: SIGNING_SECRET, key: 'sk_test_of_nobody' })) {
    await writeFile(join(folder, name), value, { mode: 0o600 })
    await change('PUT', `/secret-refs/${name}`, { ref: `file://${name}` })
  }
  await change('PUT', '/policies/default', { policy: UNLIMITED })
  await change('PUT', '/connectors/product', {
    connector: {
      ...{ kind: 'callback', policy: 'default', secrets: { signing_secret: 'signing' } },
      settings: { url: `${receiver.url}/product` },
    },
  })
  await change('PUT', '/connectors/stripe', {
    connector: {
      ...{ kind: 'stripe', policy: 'default', secrets: { api_key: 'key' } },
      settings: { mode: 'test', base_url: provider.url },
    },
  })
}, 60_000)
afterAll(async () => {
  await receiver.stop()
  await provider.close()
  await owner.end()
  await home.remove()
  await database.drop()
})

const control = <Body>(path: string, options: Parameters<typeof call>[1] = {}) =>
  call<Body>(`${home.urls.control}${path}`, { token, ...options })

async function change<Body = { readonly id: string }>(
  method: 'POST' | 'PUT',
  path: string,
  body: Record<string, unknown>,
): Promise<Body> {
  const answer = await control<Body>(path, { method, body: { ...body, reason } })
  expect(answer.status, `${method} ${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
  return answer.body
}

interface Gap {
  readonly id: string
  readonly event_id: string
  readonly state: string
}
const gapsOf = async (routeId: string): Promise<readonly Gap[]> =>
  (await control<{ data: readonly Gap[] }>(`/webhook-gaps?route_id=${routeId}`)).body.data

/** A route whose check has to look ten days back. */
async function checkedRoute(account: string, pull: 'automatic' | 'manual'): Promise<string> {
  const { id } = await change('POST', '/webhook-routes', {
    ...{ provider: 'stripe', account, livemode: false, connector: 'product', secret_refs: ['signing'] },
  })
  // Before it is checked for the first time.
  await owner.query(
    `update webhook_route set created_at = now() - interval '10 days', gap_check = $2 where id = $1`,
    [id, JSON.stringify({ connector: 'stripe', pull, every_seconds: 3_600, settings: {} })],
  )
  return id
}

const daysAgo = (days: number): number => Math.floor(Date.now() / 1_000) - days * 86_400

test('what never arrived is shown, and pulled in when somebody wants it', async () => {
  const stripe = stripeEvents()
  stripe.events.push(stripeEvent('evt_shown', daysAgo(1)), stripeEvent('evt_unwanted', daysAgo(2)))
  provider.reset((...args) => stripe.answer(...args))
  const route = await checkedRoute('acct_1', 'manual')
  await vi.waitFor(async () => expect(await gapsOf(route)).toHaveLength(2), WITHIN)
  expect(receiver.deliveries).toEqual([])
  const [shown, unwanted] = (await gapsOf(route)).toSorted((left, right) =>
    left.event_id < right.event_id ? -1 : 1,
  )
  await change('POST', `/webhook-gaps/${unwanted?.id}/dismiss`, {})
  await change('POST', '/webhook-gaps/pull', { ids: [shown?.id] })
  await vi.waitFor(
    () => expect(receiver.deliveries).toMatchObject([{ eventId: 'evt_shown', id: expect.any(String) }]),
    WITHIN,
  )
  await vi.waitFor(
    async () =>
      expect((await gapsOf(route)).map(({ event_id, state }) => [event_id, state]).sort()).toEqual([
        ['evt_shown', 'pulled'],
        ['evt_unwanted', 'dismissed'],
      ]),
    WITHIN,
  )
}, 60_000)

test('a worker that dies between two pages loses nothing and delivers nothing twice', async () => {
  const stripe = stripeEvents(2)
  const names = Array.from({ length: 5 }, (_, at) => `evt_page_${at}`)
  for (const [at, name] of names.entries()) stripe.events.push(stripeEvent(name, daysAgo(1) - at))
  let silent = true
  provider.reset((response, request, number) => {
    // The second page is never answered to the first worker.
    if (silent && request.url.includes('starting_after')) return
    stripe.answer(response, request, number)
  })
  const route = await checkedRoute('acct_2', 'automatic')
  await vi.waitFor(
    () => expect(provider.requests.some(({ url }) => url.includes('starting_after'))).toBe(true),
    WITHIN,
  )
  await worker.killHard()
  silent = false
  // The lease of the dead is over.
  await owner.query('update webhook_gap_check set lease_until = now() where route_id = $1', [route])
  await owner.query('update webhook_gap set pull_at = now() where pull_at is not null')
  worker = await startRole(home, 'worker')
  await vi.waitFor(
    async () => expect((await gapsOf(route)).map(({ state }) => state)).toEqual(names.map(() => 'pulled')),
    WITHIN,
  )
  const delivered = () =>
    receiver.deliveries.map(({ eventId }) => eventId).filter((eventId) => names.includes(eventId))
  await vi.waitFor(() => expect(new Set(delivered())).toEqual(new Set(names)), WITHIN)
  const rows = await owner.query('select event_id from webhook_inbox where route_id = $1 order by 1', [route])
  expect(rows.rows.map(({ event_id }) => event_id)).toEqual(names)
}, 90_000)
