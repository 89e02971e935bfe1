/**
 * A secret that is wrong loses nothing, on real processes: what was refused meanwhile is released when it is right, and
 * is at the product. A flood of forgeries takes the place of nothing.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { stripe, stripeSignature } from '../server/testing/webhook-samples/stripe.ts'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, runCli, startRole, tokenFor } from './hub-process.ts'
import { type Receiver, startReceiver } from './webhook-receiver.ts'

const SLUG = 'shop-dev'
const SIGNING_SECRET = `whsec_${Buffer.from('a key for callbacks, 24+ bytes').toString('base64')}`
const [RIGHT, OTHER] = stripe.secrets
const WITHIN = { timeout: 20_000, interval: 50 }
const TEST_MS = 60_000
const reason = 'end to end'

let database: { readonly url: string; drop(): Promise<void> }
let home: HubHome
let receiver: Receiver
let admin: string
let token: string
let workspaceId: string
let routeId: string

beforeAll(async () => {
  database = await emptyDatabase()
  home = await hubHome({ DATABASE_URL: database.url, LIMITS: 'per-node' })
  receiver = await startReceiver(SIGNING_SECRET)
  expect((await runCli(home, 'migrate')).code).toBe(0)
  await Promise.all((['control', 'ingress', 'worker'] as const).map((role) => startRole(home, role)))
  admin = await tokenFor(home, 'control', '--platform-admin')
  workspaceId = (await post<{ id: string }>('/workspaces', { slug: SLUG, name: 'Shop' }, admin)).id
  token = await tokenFor(home, 'control', '--workspace', SLUG)
  await putSecret('signing', SIGNING_SECRET)
  await putSecret('stripe', 'whsec_a_mistake_in_copying')
  for (const name of ['signing', 'stripe']) await put(`/secret-refs/${name}`, { ref: `file://${name}` })
  await put('/connectors/product', {
    connector: {
      ...{ kind: 'callback', settings: { url: `${receiver.url}/product` } },
      secrets: { signing_secret: 'signing' },
    },
  })
  const route = { provider: 'stripe', livemode: false, connector: 'product', secret_refs: ['stripe'] }
  routeId = (await post<{ id: string }>('/webhook-routes', route)).id
}, TEST_MS)
afterAll(async () => {
  await receiver.stop()
  await home.remove()
  await database.drop()
})

async function putSecret(name: string, value: string): Promise<void> {
  const folder = join(home.dataDir, 'secrets', SLUG)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  await writeFile(join(folder, name), value, { mode: 0o600 })
}

const answered = async <Body>(answer: ReturnType<typeof call<Body>>): Promise<Body> => {
  const { status, body } = await answer
  expect(status, JSON.stringify(body)).toBeLessThan(300)
  return body
}
const post = <Body>(path: string, body: object = {}, as = token) =>
  answered(call<Body>(`${home.urls.control}${path}`, { token: as, body: { ...body, reason } }))
const put = (path: string, body: object) =>
  answered(call(`${home.urls.control}${path}`, { token, method: 'PUT', body: { ...body, reason } }))

interface Entry {
  readonly id: string
  readonly events: readonly { readonly id: string }[]
}
const list = async (path: string, as = token) =>
  (await answered(call<{ data: readonly Entry[] }>(`${home.urls.control}${path}`, { token: as }))).data

/** What Stripe would send; gives the status. */
async function send(
  path: string,
  id: string,
  { secret = RIGHT, account }: { secret?: string; account?: string } = {},
) {
  const body = stripe.body({ id, ...(account !== undefined && { account }) })
  const headers = {
    'content-type': 'application/json',
    'stripe-signature': stripeSignature(body, [secret], Date.now()),
  }
  const answer = await fetch(`${home.urls.ingress}/webhooks/stripe${path}`, { method: 'POST', headers, body })
  await answer.arrayBuffer()
  return answer.status
}
/** Ids of events that the product has taken. */
const delivered = () =>
  receiver.deliveries.filter(({ answered: status }) => status === 204).map(({ eventId }) => eventId)

test(
  'refused while the secret was wrong, released when it is right, once at the product',
  async () => {
    for (const id of ['evt_lost_1', 'evt_lost_2']) expect(await send(`/${routeId}`, id)).toBe(401)
    await vi.waitFor(async () => expect(await list('/quarantine')).toHaveLength(2), WITHIN)
    expect(await post('/quarantine/verify')).toMatchObject({ examined: 2, released: 0 })
    expect(delivered()).toEqual([])

    await putSecret('stripe', RIGHT)
    // A replaced value is in use everywhere after some seconds. Stripe sends one of the two again itself.
    await vi.waitFor(async () => expect(await send(`/${routeId}`, 'evt_lost_1')).toBe(200), WITHIN)
    await vi.waitFor(async () => {
      await post('/quarantine/verify')
      expect(await list('/quarantine?state=released')).toHaveLength(2)
    }, WITHIN)
    await vi.waitFor(() => expect(delivered()).toHaveLength(2), WITHIN)
    for (const id of ['evt_lost_1', 'evt_lost_2'])
      expect(delivered().filter((one) => one === id)).toHaveLength(1)
  },
  TEST_MS,
)

test(
  'a flood of forgeries is refused and bounded, and what the provider really sent is kept beside it',
  async () => {
    const before = (await list('/platform/quarantine?limit=200', admin)).length
    const statuses = await Promise.all(
      Array.from({ length: 400 }, (_, number) =>
        send('', `evt_forged_${number}`, { secret: 'whsec_of_nobody' }),
      ),
    )
    expect(new Set(statuses)).toEqual(new Set([401]))
    // In the middle of a flood the hub does not ask every route: the provider sends it again.
    const stranger = () => send('', 'evt_of_a_stranger', { account: 'acct_of_nobody' })
    await vi.waitFor(async () => expect(await stranger()).toBe(202), { timeout: 20_000, interval: 500 })
    const kept = await list('/platform/quarantine?limit=200', admin)
    expect(kept.some(({ events }) => events[0]?.id === 'evt_of_a_stranger')).toBe(true)
    // A burst of 100, and 20 a second for as long as it took.
    await vi.waitFor(async () => {
      const metrics = await (await fetch(`${home.urls.ingress}/metrics`)).text()
      expect(metrics).toMatch(/orchestrator_webhook_quarantine_dropped_total\{[^}]*why="rate"[^}]*\} \d\d+/)
    }, WITHIN)
    expect(kept.length - before).toBeLessThan(200)
    expect(await list('/quarantine?state=kept')).toEqual([])
  },
  TEST_MS,
)

test(
  'a platform admin says whose it is: it is at the product, and both audit logs tell it',
  async () => {
    expect(await send('', 'evt_assigned', { secret: OTHER, account: 'acct_unknown' })).toBe(401)
    const id = await vi.waitFor(async () => {
      const found = await list('/platform/quarantine?reason=unknown_account&limit=200', admin)
      return found.find(({ events }) => events[0]?.id === 'evt_assigned')?.id ?? expect.unreachable('not yet')
    }, WITHIN)
    await post(`/platform/quarantine/${id}/assign`, { workspace_id: workspaceId, route_id: routeId }, admin)
    await vi.waitFor(() => expect(delivered()).toContain('evt_assigned'), WITHIN)
    const entries = `audit?object=quarantine:${id}`
    for (const [path, as] of [
      [`/${entries}`, token],
      [`/platform/${entries}`, admin],
    ] as const)
      expect(await list(path, as)).toMatchObject([{ action: 'quarantine.assigned', reason }])
  },
  TEST_MS,
)
