/**
 * Large bodies through real processes, with the payload store on disk: a webhook, the input and the result of a job, of
 * 2 MiB each; what happens while the disk is away; a process that dies between object and row.
 */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { Client } from 'pg'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { emptyDatabase } from '../server/testing/database.ts'
import { UNLIMITED } from '../server/testing/unlimited.ts'
import { stripe, stripeSignature } from '../server/testing/webhook-samples/stripe.ts'
import { call } from './hub-client.ts'
import { type HubHome, hubHome, type RunningCommand, runCli, startRole, tokenFor } from './hub-process.ts'

const SLUG = 'shop-dev'
const SIGNING_SECRET = `whsec_${Buffer.from('a key for callbacks, 24+ bytes').toString('base64')}`
const WITHIN = { timeout: 20_000, interval: 50 }
const TEST_MS = 60_000
const MIB = 1024 * 1024
const reason = 'end to end'

let database: { readonly url: string; drop(): Promise<void> }
let owner: Client
let home: HubHome
let folder: string
/** Gives back what it gets, and remembers it. */
let echo: Server
const received: { path: string; body: Buffer }[] = []
const tokens = { exec: '', control: '' }
let routeId: string

beforeAll(async () => {
  echo = createServer(async (request, response) => {
    const chunks: Buffer[] = []
    for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
    const body = Buffer.concat(chunks)
    received.push({ path: request.url ?? '', body })
    response.writeHead(200, { 'content-type': 'application/json' }).end(body)
  }).listen(0, '127.0.0.1')
  await once(echo, 'listening')
  const url = `http://127.0.0.1:${(echo.address() as AddressInfo).port}`
  database = await emptyDatabase()
  owner = new Client({ connectionString: database.url })
  await owner.connect()
  home = await hubHome({ DATABASE_URL: database.url, LIMITS: 'per-node' })
  folder = join(home.dataDir, 'disk', 'payloads')
  home = home.with({ PAYLOAD_DIR: folder, PAYLOAD_SPOOL_LIMIT_BYTES: String(3 * MIB) })
  expect((await runCli(home, 'migrate')).code).toBe(0)
  await Promise.all((['control', 'exec', 'ingress', 'worker'] as const).map((role) => startRole(home, role)))
  const admin = await tokenFor(home, 'control', '--platform-admin')
  const body = { slug: SLUG, name: 'Shop', template: 'empty', reason }
  expect((await call(`${home.urls.control}/workspaces`, { token: admin, body })).status).toBe(201)
  tokens.exec = await tokenFor(home, 'exec', '--workspace', SLUG)
  tokens.control = await tokenFor(home, 'control', '--workspace', SLUG)
  const secrets = join(home.dataDir, 'secrets', SLUG)
  await mkdir(secrets, { recursive: true, mode: 0o700 })
  for (const [name, value] of Object.entries({ signing: SIGNING_SECRET, stripe: stripe.secrets[0] })) {
    await writeFile(join(secrets, name), value, { mode: 0o600 })
    await change('PUT', `/secret-refs/${name}`, { ref: `file://${name}` })
  }
  await change('PUT', '/policies/default', {
    policy: { ...UNLIMITED, job_retry: { schedule_ms: [0, 500, 500] } },
  })
  const operations = {
    echo: { method: 'POST', path: '/echo', body: '{{input}}' },
  }
  await change('PUT', '/connectors/echo', {
    connector: { kind: 'http', policy: 'default', settings: { base_url: url, operations } },
  })
  await change('PUT', '/connectors/product', {
    connector: {
      ...{ kind: 'callback', policy: 'default', settings: { url: `${url}/hooks` } },
      secrets: { signing_secret: 'signing' },
    },
  })
  const route = { provider: 'stripe', livemode: false, connector: 'product', secret_refs: ['stripe'] }
  routeId = (await change<{ id: string }>('POST', '/webhook-routes', route)).id
}, TEST_MS)
afterAll(async () => {
  echo.close()
  await owner.end()
  await home.remove()
  await database.drop()
})

const control = <Body = Record<string, unknown>>(path: string, options: Parameters<typeof call>[1] = {}) =>
  call<Body>(`${home.urls.control}${path}`, { token: tokens.control, ...options })
const exec = <Body>(path: string, body?: unknown) =>
  call<Body>(`${home.urls.exec}${path}`, { token: tokens.exec, body })

async function change<Body = Record<string, unknown>>(
  method: 'POST' | 'PUT',
  path: string,
  body: Record<string, unknown>,
): Promise<Body> {
  const answer = await control<Body>(path, { method, body: { ...body, reason } })
  expect(answer.status, `${method} ${path}: ${JSON.stringify(answer.body)}`).toBeLessThan(300)
  return answer.body
}

interface Ref {
  readonly id: string
  readonly size: number
  readonly sha256: string
}
interface Job {
  readonly job: {
    readonly state: string
    readonly input: unknown
    readonly input_ref: Ref | null
    readonly result: unknown
    readonly result_ref: Ref | null
  }
}
const jobIs = (id: string, state: string) =>
  vi.waitFor(async () => {
    const { body } = await exec<Job>(`/jobs/${id}`)
    expect(body.job.state).toBe(state)
    return body.job
  }, WITHIN)

const objects = async (): Promise<string[]> =>
  (await readdir(folder, { recursive: true, withFileTypes: true }))
    .filter((entry) => entry.isFile() && !entry.parentPath.endsWith('.unfinished'))
    .map(({ name }) => name)
const rows = async (kind: string) =>
  (
    await owner.query<{ id: string; size: number }>('select id, size from payload where owner_kind = $1', [
      kind,
    ])
  ).rows
const inSpool = async () => (await owner.query('select from payload_spool')).rowCount

/** A Stripe event of so many bytes, and what the ingress says to it. */
async function sendEvent(id: string, size: number) {
  const event = JSON.parse(stripe.body({ id }).toString()) as { data: { object: Record<string, unknown> } }
  event.data.object.note = randomBytes(size / 2).toString('hex')
  const body = Buffer.from(JSON.stringify(event))
  const answer = await fetch(`${home.urls.ingress}/webhooks/stripe/${routeId}`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'stripe-signature': stripeSignature(body, [stripe.secrets[0]], Date.now()),
    },
    body,
  })
  return {
    status: answer.status,
    event,
    body,
    said: (await answer.json()) as { inbox_id: string; code?: string },
  }
}
const delivered = (eventId: string) =>
  vi.waitFor(() => {
    const found = received.find(({ path, body }) => path === '/hooks' && body.includes(eventId))
    if (!found) throw new Error('it has not been delivered')
    return JSON.parse(found.body.toString()) as { data: { payload: unknown } }
  }, WITHIN)

test(
  'a webhook of 2 MiB is kept as an object, byte for byte, and delivered whole',
  async () => {
    const { status, event, body } = await sendEvent('evt_large', 2 * MIB)
    expect(status).toBe(200)
    const [row] = await rows('webhook')
    expect(row?.size).toBe(body.length)
    expect(await objects()).toEqual([row?.id])
    expect((await delivered('evt_large')).data.payload).toEqual(event)
    // Its bytes, with the signature that was made over them: by a link that needs no token.
    const link = await control<{ url: string }>(`/payloads/${row?.id}/download`)
    const answer = await fetch(`${home.urls.control}${link.body.url}`)
    expect(answer.headers.get('content-disposition')).toContain('attachment')
    expect(Buffer.from(await answer.arrayBuffer()).equals(body)).toBe(true)
  },
  TEST_MS,
)

test(
  'a job with an input and a result of 2 MiB: both are objects, and the product reads them',
  async () => {
    const input = { note: randomBytes(MIB).toString('hex') }
    const { status, body } = await exec<{ job_id: string }>('/jobs', {
      connector: 'echo',
      operation: 'echo',
      input,
    })
    expect(status).toBe(202)
    const job = await jobIs(body.job_id, 'done')
    expect(job.input).toEqual(input)
    const size = Buffer.byteLength(JSON.stringify(input))
    expect(job).toMatchObject({ input_ref: { size }, result: null, result_ref: { size } })
    const read = await fetch(`${home.urls.exec}/payloads/${job.result_ref?.id}`, {
      headers: { authorization: `Bearer ${tokens.exec}` },
    })
    expect(JSON.parse(await read.text())).toEqual(input)
  },
  TEST_MS,
)

test(
  'while the disk is away bodies wait in the database and are delivered from there; then they move',
  async () => {
    const before = await objects()
    const disk = join(home.dataDir, 'disk')
    await rename(disk, `${disk}-away`)
    await writeFile(disk, '')
    const { status, event } = await sendEvent('evt_away', MIB)
    expect(status).toBe(200)
    expect((await delivered('evt_away')).data.payload).toEqual(event)
    const ready = await call<{ ready: boolean; checks: { name: string; ok: boolean }[] }>(
      `${home.urls.ingress}/ready`,
    )
    expect(ready.status).toBe(200)
    await vi.waitFor(async () => {
      const { body } = await call<typeof ready.body>(`${home.urls.ingress}/ready`)
      expect(body.checks).toContainEqual(expect.objectContaining({ name: 'payload store (disk)', ok: false }))
    }, WITHIN)
    expect(await inSpool()).toBe(1)
    // Never a 2xx without the bytes.
    const rowsBefore = (await rows('webhook')).length
    const refused = await sendEvent('evt_too_much', 2.5 * MIB)
    expect(refused.status).toBe(503)
    const inbox = await owner.query(`select from webhook_inbox where event_id = 'evt_too_much'`)
    expect([inbox.rowCount, (await rows('webhook')).length, await inSpool()]).toEqual([0, rowsBefore, 1])
    await rm(disk)
    await rename(`${disk}-away`, disk)
    await vi.waitFor(async () => expect(await inSpool()).toBe(0), WITHIN)
    expect((await objects()).length).toBe(before.length + 1)
  },
  TEST_MS,
)

test(
  'a process that dies after the object and before the row has answered nobody, and the event comes again',
  async () => {
    const objectsBefore = await objects()
    const rowsBefore = (await rows('webhook')).length
    let dying: RunningCommand | undefined
    const own = await hubHome({
      ...home.env,
      ...portsOf(await hubHome()),
      FAIL_POINTS: 'payloads.after_keep',
    })
    try {
      dying = await startRole(own, 'ingress')
      const event = JSON.parse(stripe.body({ id: 'evt_dies' }).toString()) as {
        data: { object: Record<string, unknown> }
      }
      event.data.object.note = 'x'.repeat(200_000)
      const bytes = Buffer.from(JSON.stringify(event))
      const signature = stripeSignature(bytes, [stripe.secrets[0]], Date.now())
      const post = (url: string) =>
        fetch(`${url}/webhooks/stripe/${routeId}`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'stripe-signature': signature },
          body: bytes,
        })
      await expect(post(own.urls.ingress)).rejects.toThrow()
      expect((await dying.ended).signal).toBe('SIGKILL')
      expect(await rows('webhook')).toHaveLength(rowsBefore)
      // The object is there and belongs to nobody: the sweep's.
      expect(await objects()).toHaveLength(objectsBefore.length + 1)
      const again = await post(home.urls.ingress)
      expect([again.status, ((await again.json()) as { duplicate: boolean }).duplicate]).toEqual([200, false])
      expect((await delivered('evt_dies')).data.payload).toEqual(event)
    } finally {
      await own.remove()
    }
  },
  TEST_MS,
)

/** Free ports, by their variables. */
const portsOf = ({ env }: HubHome): Record<string, string> =>
  Object.fromEntries(Object.entries(env).filter(([name]) => name.endsWith('_PORT')))
