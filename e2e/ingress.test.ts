/**
 * Two real ingress processes on one database: what one of them has answered with 2xx survives its kill -9 under load, and
 * copies of an event that reach both are one delivery.
 */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { UNLIMITED } from '../server/testing/unlimited.ts'
import { stripe, stripeSignature } from '../server/testing/webhook-samples/stripe.ts'
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
import { type Receiver, startReceiver } from './webhook-receiver.ts'

const SLUG = 'shop-dev'
const SIGNING_SECRET = `whsec_${Buffer.from('a key for callbacks, 24+ bytes').toString('base64')}`
const WITHIN = { timeout: 20_000, interval: 50 }
const TEST_MS = 60_000
const EVENTS = 600
const SENDERS = 24
/** So many 2xx come before the kill. */
const KILL_AFTER = 200
const COPIES = 200

let database: { readonly url: string; drop(): Promise<void> }
let owner: Client
let home: HubHome
let other: HubHome
let doomed: RunningCommand
let receiver: Receiver

beforeAll(async () => {
  database = await emptyDatabase()
  owner = new Client({ connectionString: database.url })
  await owner.connect()
  home = await hubHome({ DATABASE_URL: database.url, LIMITS: 'per-node' })
  const [port] = await freePorts(1)
  other = home.with({ INGRESS_PORT: String(port) })
  receiver = await startReceiver(SIGNING_SECRET)
  expect((await runCli(home, 'migrate')).code).toBe(0)
  const roles = Promise.all([
    startRole(home, 'ingress'),
    startRole(other, 'ingress'),
    startRole(home, 'worker'),
    startRole(home, 'control'),
  ])
  doomed = (await roles)[0]
  const admin = await tokenFor(home, 'control', '--platform-admin')
  const workspace = { slug: SLUG, name: 'Shop', template: 'empty' }
  await change('POST', '/workspaces', admin, workspace)
  const token = await tokenFor(home, 'control', '--workspace', SLUG)
  const folder = join(home.dataDir, 'secrets', SLUG)
  await mkdir(folder, { recursive: true, mode: 0o700 })
  for (const [name, value] of Object.entries({ signing: SIGNING_SECRET, stripe: stripe.secrets[0] })) {
    await writeFile(join(folder, name), value, { mode: 0o600 })
    await change('PUT', `/secret-refs/${name}`, token, { ref: `file://${name}` })
  }
  await change('PUT', '/policies/default', token, { policy: UNLIMITED })
  const product = {
    ...{ kind: 'callback', policy: 'default' },
    settings: { url: `${receiver.url}/product` },
    secrets: { signing_secret: 'signing' },
  }
  await change('PUT', '/connectors/product', token, { connector: product })
  const route = { provider: 'stripe', livemode: false, connector: 'product', secret_refs: ['stripe'] }
  await change('POST', '/webhook-routes', token, route)
}, TEST_MS)
afterAll(async () => {
  await receiver.stop()
  await owner.end()
  await home.remove()
  await database.drop()
})

async function change(
  method: 'POST' | 'PUT',
  path: string,
  token: string,
  body: Record<string, unknown>,
): Promise<void> {
  const answer = await call(`${home.urls.control}${path}`, {
    ...{ method, token, body: { ...body, reason: 'end to end' } },
  })
  expect(answer.status, `${method} ${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
}

interface Taken {
  readonly inbox_id: string
  readonly duplicate: boolean
}

/** What Stripe would send; rejects when no answer comes. */
async function send({ urls }: HubHome, id: string): Promise<Taken> {
  const body = stripe.body({ id })
  const headers = {
    'content-type': 'application/json',
    'stripe-signature': stripeSignature(body, [stripe.secrets[0]], Date.now()),
  }
  const answer = await fetch(`${urls.ingress}/webhooks/stripe`, { method: 'POST', headers, body })
  expect(answer.status).toBe(200)
  return (await answer.json()) as Taken
}

/** Everything that belongs to an event that was taken, by its inbox id; a part that is missing leaves it out. */
async function whole(): Promise<Map<string, string>> {
  const { rows } = await owner.query<{ id: string; event_id: string }>(
    `select i.id, i.event_id from webhook_inbox i
     join webhook_payload p on p.tenant_id = i.tenant_id and p.id = i.id
     join webhook_dedupe d on d.tenant_id = i.tenant_id and d.inbox_id = i.id and d.event_id = i.event_id
     join job j on j.tenant_id = i.tenant_id and j.id = i.job_id
     where exists (select from event e where e.inbox_id = i.id and e.type = 'webhook.received')`,
  )
  return new Map(rows.map(({ id, event_id }) => [id, event_id]))
}

const jobsOf = async (inboxIds: readonly string[]): Promise<number> =>
  (
    await owner.query<{ n: number }>('select count(*)::int as n from job where inbox_id = any($1)', [
      inboxIds,
    ])
  ).rows[0]?.n ?? 0

test(
  'what was answered with 2xx survives a kill -9 under load, and is known when it comes again',
  async () => {
    const ids = Array.from({ length: EVENTS }, (_, at) => `evt_killed_${at}`)
    const answered = new Map<string, string>()
    const queue = [...ids]
    let killing: Promise<void> | undefined
    let unanswered = 0
    const sender = async (): Promise<void> => {
      for (let id = queue.shift(); id !== undefined; id = queue.shift())
        try {
          answered.set(id, (await send(home, id)).inbox_id)
          if (answered.size >= KILL_AFTER) killing ??= doomed.killHard()
        } catch (error) {
          if (!killing) throw error
          unanswered += 1
        }
    }
    await Promise.all(Array.from({ length: SENDERS }, sender))
    await killing
    expect(answered.size).toBeGreaterThanOrEqual(KILL_AFTER)
    expect(unanswered).toBeGreaterThan(0)

    const stored = await whole()
    for (const [id, inboxId] of answered) expect(stored.get(inboxId)).toBe(id)

    // The provider sends everything again; the other process takes it.
    const again = new Map<string, Taken>()
    for (const id of ids) again.set(id, await send(other, id))
    for (const [id, inboxId] of answered)
      expect(again.get(id)).toMatchObject({ inbox_id: inboxId, duplicate: true })
    const inboxIds = [...again.values()].map(({ inbox_id }) => inbox_id)
    expect(new Set(inboxIds).size).toBe(EVENTS)
    expect(await jobsOf(inboxIds)).toBe(EVENTS)
    await vi.waitFor(() => expect(new Set(receiver.deliveries.map(({ id }) => id)).size).toBe(EVENTS), WITHIN)
    expect(receiver.deliveries.map(({ id }) => id).sort()).toEqual(inboxIds.map((id) => `inbox-${id}`).sort())
  },
  TEST_MS,
)

test(
  'copies of an event over two processes are one delivery',
  async () => {
    await startRole(home, 'ingress')
    const before = receiver.deliveries.length
    const taken = await Promise.all(
      Array.from({ length: COPIES }, (_, at) => send(at % 2 === 0 ? home : other, 'evt_copied')),
    )
    expect(taken.filter(({ duplicate }) => !duplicate)).toHaveLength(1)
    const [inboxId = '', ...more] = new Set(taken.map(({ inbox_id }) => inbox_id))
    expect(more).toEqual([])
    expect(await jobsOf([inboxId])).toBe(1)
    // What comes after it is delivered after it: by then a second delivery would have been made, too.
    const last = await send(other, 'evt_last')
    const arrived = () => receiver.deliveries.slice(before).map(({ id }) => id)
    await vi.waitFor(() => expect(arrived()).toContain(`inbox-${last.inbox_id}`), WITHIN)
    await vi.waitFor(() => expect(arrived()).toContain(`inbox-${inboxId}`), WITHIN)
    expect(arrived()).toHaveLength(2)
  },
  TEST_MS,
)
