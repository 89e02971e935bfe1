/**
 * A stranger who sends whatever they like, in a hub with the default settings scaled down (1/64): what they cannot name or
 * sign keeps its room. They know accounts, but neither the path of a route nor a secret.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { manualClock } from '../../../testing/manual-clock.ts'
import { QUARANTINE_LIMITS, type QuarantineHub, quarantineHub } from '../../../testing/quarantine-hub.ts'
import { stripe } from '../../../testing/webhook-samples/stripe.ts'
import { newId } from '../../platform/ids.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'

const SCALE = 64
const LIMITS = {
  maxBytes: QUARANTINE_LIMITS.maxBytes / SCALE,
  maxRows: Math.floor(QUARANTINE_LIMITS.maxRows / SCALE),
  maxBodyBytes: Math.floor(QUARANTINE_LIMITS.maxBodyBytes / SCALE),
  maxUnprovenBodyBytes: QUARANTINE_LIMITS.maxUnprovenBodyBytes / SCALE,
}
const FORGED = 'whsec_of_a_stranger'
const OF_B = 'whsec_of_b'

let database: TestDatabase
let hub: QuarantineHub
const clock = manualClock()
let a: string
let ofA: WebhookRoute

beforeAll(async () => {
  database = await testDatabase()
  hub = quarantineHub({ ...database.platform, clock }, LIMITS)
  a = await hub.workspace('a-dev')
  ofA = await hub.route(a, { secret: 'whsec_a_mistake_in_copying', account: 'acct_of_a' })
  await hub.route(await hub.workspace('b-dev'), { secret: OF_B })
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})
beforeEach(() => hub.query('delete from quarantine'))

/** A forged event of about so many bytes. */
async function forge(bytes: number, where: { readonly routeId?: string; readonly account?: string } = {}) {
  const { account, ...sent } = where
  const event = { id: `evt_${newId()}`, ...(account !== undefined && { account }) }
  const body = JSON.parse(stripe.body(event).toString())
  const filled = Buffer.from(JSON.stringify({ ...body, filler: 'x'.repeat(bytes) }))
  await clock.advance(50)
  return hub.send({ ...event, ...sent, body: filled, secret: FORGED, atMs: clock.now() })
}

/** Large ones first, then smaller and smaller ones until nothing more fits between them. */
async function flood(where: { readonly routeId?: string; readonly account?: string } = {}) {
  for (let count = 0; count < 60; count += 1) await forge(80_000, where)
  for (let bytes = 64_000; bytes > 1; bytes /= 1.3) await forge(Math.floor(bytes), where)
  for (let count = 0; count < 300; count += 1) await forge(1, where)
}
const room = () =>
  hub.query<{ share: string; rows: number; bytes: number }>(
    'select share, sum(rows)::int as rows, sum(bytes)::int as bytes from quarantine_room group by share',
  )

test('what comes to the path of a route, and what is signed, is kept through a flood of both kinds', async () => {
  const before = { id: 'evt_before', secret: 'whsec_of_another' }
  expect(await hub.send({ ...before, routeId: ofA.id, atMs: clock.now() })).toBe('signature_invalid')
  await flood()
  await flood({ account: 'acct_of_a' })
  for (const { share, rows, bytes } of await room()) {
    const eighths = share === 'routed' ? 2 : 1
    expect(bytes, share).toBeLessThanOrEqual((LIMITS.maxBytes / 8) * eighths)
    expect(rows, share).toBeLessThanOrEqual((LIMITS.maxRows / 8) * eighths)
  }
  const wrongSecret = { id: 'evt_wrong_secret', secret: 'whsec_of_another', routeId: ofA.id }
  expect(await hub.send({ ...wrongSecret, atMs: clock.now() })).toBe('signature_invalid')
  const unknown = { id: 'evt_signed', secret: OF_B, account: 'acct_of_nobody', atMs: clock.now() }
  expect(await hub.send(unknown)).toBe('quarantined')
  const rows = await hub.rows()
  const has = (id: string) => rows.some(({ events }) => events.some((event) => event.id === id))
  expect(['evt_before', 'evt_wrong_secret', 'evt_signed'].filter((id) => !has(id))).toEqual([])
  // The newest of the forgeries, and of a genuine one that only names the account.
  await hub.send({ id: 'evt_late', secret: 'whsec_of_another', account: 'acct_of_a', atMs: clock.now() })
  expect((await hub.rows()).at(-1)).toMatchObject({ tenant_id: a, sealed: true, seen: 1 })
})

test('who knows one path fills a quarter of what paths have, and takes nothing from the others', async () => {
  const c = await hub.workspace(`c${newId().slice(-6)}-dev`)
  const ofC = await hub.route(c, { secret: 'whsec_of_c' })
  await forge(1, { routeId: ofC.id })
  await flood({ routeId: ofA.id })
  const own = (await hub.rows()).filter(({ tenant_id }) => tenant_id === a)
  const bytes = own.reduce((sum, { bytes: body }) => sum + (body?.length ?? 0), 0)
  expect(bytes).toBeLessThanOrEqual(LIMITS.maxBytes / 16)
  expect(own.length).toBeGreaterThan(10)
  expect(await forge(1, { routeId: ofC.id })).toBe('signature_invalid')
  expect((await hub.rows()).filter(({ tenant_id }) => tenant_id === c)).toHaveLength(2)
  expect((await hub.rows()).filter(({ tenant_id }) => tenant_id === NO_WORKSPACE)).toEqual([])
})
