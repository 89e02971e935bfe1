import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { canaryScan } from '../../../testing/canary-scan.ts'
import { everyRow } from '../../../testing/every-row.ts'
import { type InboxFixture, inboxFixture, SECRET } from '../../../testing/inbox-fixture.ts'
import { runAllPlans, stepNow } from '../../../testing/inbox-plans.ts'
import { misplacedJobs } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { Problem } from '../../problems.ts'
import { findJob } from '../../queue/read.ts'
import { createDeliveryInput } from '../webhooks/webhooks.ts'
import { getInboxDetail } from './inbox-detail.ts'
import { abortPlan, commitPlan, getPlan, makePlan } from './plans.ts'
import { retryInbox, retryOne } from './retry.ts'
import type { Subject } from './selection.ts'

const CANARY = 'canary-of-ada-7f31c9d2'
const find = canaryScan({ ada: CANARY })

let fixture: InboxFixture
let tenantId: string
let secret: string
let number = 0

beforeAll(async () => {
  fixture = await inboxFixture()
})
beforeEach(async () => {
  number += 1
  secret = `${SECRET}_${number}`
  tenantId = await fixture.hub.workspace(`erase-${number}-dev`)
})
afterAll(() => fixture.drop())

const route = (settings: object = {}) => fixture.hub.route(tenantId, { secret, ...settings })
const about = (customer: string, more: { id?: string; object?: object } = {}) =>
  fixture.receive({ secret, ...more, object: { customer, ...more.object } })
const detail = (id: string) => getInboxDetail(fixture.db, fixture.detailDeps, tenantId, id)
const hits = async () =>
  [...(await everyRow(fixture.url))].flatMap(([table, text]) => find(table, text)).map(({ place }) => place)

const plan = (selection: { event_id: string } | { subject: Subject }) =>
  makePlan(fixture.db, {
    ...{ tenantId, action: 'erase', selection, configVersion: null, actor: 'operator:admin' },
    call: CHANGE.call,
  })
const ref = (id: string) => ({ tenantId, id, action: 'erase' }) as const

async function erase(selection: Parameters<typeof plan>[0]) {
  const { id } = await plan(selection)
  await runAllPlans(fixture.work)
  await commitPlan(fixture.db, ref(id), { ...CHANGE, reason: 'Ada asked for it' })
  await runAllPlans(fixture.work)
  return getPlan(fixture.db, ref(id))
}

const byCustomer = { subject: { pointer: '/data/object/customer', equals: CANARY } } as const

describe('what a person is known by goes from the whole database', () => {
  test('wherever its deliveries are: done, dead, waiting for a worker, for a retry, in a line, held, ignored', async () => {
    await route({
      eventTypes: ['invoice.*', 'held.*'],
      ordering: { key: '/data/object/customer', limitMs: 60_000 },
    })
    const done = await about(CANARY)
    await fixture.deliver(tenantId)
    const dead = await about(CANARY)
    await fixture.bury(tenantId)
    const started = await about(CANARY)
    const waiting = await about(CANARY)
    const ignored = await fixture.receive({ secret, type: 'other.thing', object: { customer: CANARY } })
    fixture.hub.connectors.delete(`${tenantId}/product`)
    const held = await fixture.receive({ secret, type: 'held.thing', object: { customer: CANARY } })
    fixture.hub.connectors.set(`${tenantId}/product`, { lane: 7, configVersion: 3 })
    const large = await about(CANARY, { object: { text: 'x'.repeat(200_000) } })
    const other = await about('cus_of_nobody')
    const all = [done, dead, started, waiting, ignored, held, large]
    const statuses = await Promise.all(all.map(async (id) => (await detail(id)).status))
    expect(statuses).toEqual(['done', 'dead', 'queued', 'waiting', 'ignored', 'held', 'waiting'])
    const [object] = await fixture.hub.query<{ payload_id: string }>(
      'select payload_id from webhook_payload where id = $1',
      [large],
    )
    expect(object?.payload_id).toEqual(expect.any(String))
    expect(await hits()).not.toEqual([])

    const ended = await erase(byCustomer)
    expect(ended).toMatchObject({ state: 'done', total: 7, done: 7, skipped: {} })
    expect(await hits()).toEqual([])
    await expect(fixture.hub.payloads.read(tenantId, object?.payload_id ?? '')).rejects.toMatchObject({
      code: 'payload_gone',
    })
    for (const id of all) {
      const { payload, row } = await detail(id)
      expect(payload).toMatchObject({ text: null, storedAs: null, headers: {}, erasedAt: expect.any(Date) })
      expect(payload?.sha256).toMatch(/^[0-9a-f]{64}$/)
      expect(row).toMatchObject({ event_id: expect.stringMatching(/^evt_/), provider: 'stripe' })
    }
    expect((await detail(other)).payload?.text).toContain('cus_of_nobody')
    expect((await detail(started)).status).toBe('cancelled')
    expect((await detail(held)).status).toBe('ignored')
    const inLine = 'select inbox_id from webhook_line where tenant_id = $1'
    expect(await fixture.hub.query(inLine, [tenantId])).toEqual([{ inbox_id: other }])
    // The other one is still delivered.
    expect((await fixture.deliver(tenantId)).inboxId).toBe(other)
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('also inputs and results that jobs of an older version hold themselves', async () => {
    await route()
    const id = await about(CANARY)
    await fixture.deliver(tenantId)
    const jobId = await fixture.jobOf(id)
    const input = JSON.stringify({ type: 'x', data: { payload: { customer: CANARY } } })
    await fixture.hub.query('update job_payload set input = $2, input_ref = null where job_id = $1', [
      jobId,
      input,
    ])
    await fixture.hub.query('update job_attempt set result = $2 where job_id = $1', [jobId, input])
    await erase(byCustomer)
    expect(await hits()).toEqual([])
    expect(await findJob(fixture.db, { tenantId, id: jobId })).toMatchObject({ job: { state: 'done' } })
  })

  test('by the id of an event, also from the quarantine', async () => {
    const { id: routeId } = await route()
    const id = await about(CANARY, { id: 'evt_of_ada' })
    const quarantined = (tenant: string, eventId: string, body: string) =>
      fixture.hub.query(
        `insert into quarantine (tenant_id, id, because_of, provider, reason, authentic, sealed, accounts, events, body,
           sha256, size, copies, room, expires_at, request_id, correlation_id, trace_id)
         values ($1, gen_random_uuid(), $1, 'stripe', 'ambiguous', true, false, '{}', $2, $3, sha256($3), 1, '[]', 1,
           now() + interval '1 day', 'r', 'c', 't')`,
        [tenant, JSON.stringify([{ id: eventId, type: 'x' }]), Buffer.from(body)],
      )
    await quarantined(tenantId, 'evt_of_ada', CANARY)
    const stranger = await fixture.hub.workspace(`stranger-${number}-dev`)
    await quarantined(stranger, 'evt_of_ada', 'the stranger’s own')
    expect(await erase({ event_id: 'evt_of_ada' })).toMatchObject({ total: 1, done: 1 })
    expect(await hits()).toEqual([])
    const kept = await fixture.hub.query('select tenant_id from quarantine where state = $1', ['kept'])
    expect(kept).toEqual([{ tenant_id: stranger }])
    expect((await detail(id)).row.route_id).toBe(routeId)
  })
})

test('a plan changes nothing, shows no value, and covers nothing that comes later', async () => {
  await route()
  const id = await about(CANARY)
  const planned = await plan(byCustomer)
  expect(planned).toMatchObject({ state: 'searching', total: 0 })
  await expect(commitPlan(fixture.db, ref(planned.id), CHANGE)).rejects.toMatchObject({
    code: 'conflict',
    message: expect.stringContaining('still searches'),
  })
  await about('cus_other')
  await runAllPlans(fixture.work)
  const later = await about(CANARY)
  const found = await getPlan(fixture.db, ref(planned.id))
  expect(found).toMatchObject({ state: 'planned', total: 1, looked: expect.any(Number) })
  expect(found.sample).toEqual([expect.objectContaining({ inbox_id: id, event_type: 'invoice.paid' })])
  expect((await detail(id)).payload?.text).toContain(CANARY)
  await commitPlan(fixture.db, ref(planned.id), CHANGE)
  await runAllPlans(fixture.work)
  expect((await detail(id)).payload?.text).toBeNull()
  expect((await detail(later)).payload?.text).toContain(CANARY)
  await erase({ subject: { contains: CANARY } })
  expect(await hits()).toEqual([])
})

test('an aborted plan forgets whom it was about', async () => {
  await route()
  const { id } = await plan({ subject: { contains: 'canary-of-bob-112233' } })
  await runAllPlans(fixture.work)
  await abortPlan(fixture.db, ref(id), CHANGE)
  const ofBob = canaryScan({ bob: 'canary-of-bob-112233' })
  expect([...(await everyRow(fixture.url))].flatMap(([table, text]) => ofBob(table, text))).toEqual([])
  expect((await getPlan(fixture.db, ref(id))).selection).toEqual({ subject: {} })
})

test('who erased what and why stays, without what was erased', async () => {
  await route()
  const id = await about(CANARY)
  await erase(byCustomer)
  const [entry] = await fixture.hub.query(
    `select action, actor, reason, diff from audit_entry where tenant_id = $1 order by seq desc limit 1`,
    [tenantId],
  )
  expect(entry).toMatchObject({
    action: 'webhook_inbox.erase_started',
    actor: CHANGE.actor,
    reason: 'Ada asked for it',
    diff: [{ after: { subject: { pointer: '/data/object/customer' }, total: 1 } }],
  })
  const [event] = await fixture.hub.query(
    `select message, data from event where inbox_id = $1 and type = 'webhook.erased'`,
    [id],
  )
  expect(event).toMatchObject({ message: expect.stringContaining('Ada asked for it') })
})

test('what was erased is delivered by nobody any more', async () => {
  await route()
  const id = await about(CANARY)
  await erase(byCustomer)
  await expect(
    retryOne(fixture.db, fixture.work, { tenantId, id, newMessageId: null }, CHANGE),
  ).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining('was erased') })
  const input = createDeliveryInput({
    ...{ db: fixture.db, readPayload: fixture.hub.payloads.read, together: false },
  })
  const job = { tenantId, inboxId: id, input: {}, inputRef: { kind: 'inbox' } }
  await expect(input(job)).rejects.toMatchObject({ code: 'payload_erased' })
  expect(await erase({ event_id: (await detail(id)).row.event_id })).toMatchObject({
    done: 0,
    skipped: { 'It was erased before.': 1 },
  })
})

test('a delivery that is made while the erasure waits for the row is ended too', async () => {
  await route()
  const id = await about(CANARY)
  await fixture.deliver(tenantId)
  const eventId = (await detail(id)).row.event_id
  const made = await plan({ event_id: eventId })
  await runAllPlans(fixture.work)
  await commitPlan(fixture.db, ref(made.id), { ...CHANGE, reason: 'Ada asked for it' })
  let erasing: Promise<void> | undefined
  await fixture.db.transaction(async (tx) => {
    await retryInbox(tx, fixture.work, {
      ...{ tenantId, ids: [id], newMessageId: null, actor: 'operator:x', why: 'again', planId: null },
      call: CHANGE.call,
    })
    erasing = runAllPlans(fixture.work)
    await vi.waitFor(async () =>
      expect(
        await fixture.hub.query(
          "select from pg_locks where not granted and locktype in ('transactionid', 'tuple')",
        ),
      ).not.toEqual([]),
    )
  })
  await erasing
  expect(await getPlan(fixture.db, ref(made.id))).toMatchObject({ state: 'done', done: 1 })
  expect((await detail(id)).status).toBe('cancelled')
  expect(await hits()).toEqual([])
})

test('a provider that sends it again does not bring it back', async () => {
  await route({ eventTypes: ['invoice.*'] })
  const dead = await about(CANARY, { id: 'evt_dead' })
  await fixture.bury(tenantId)
  const ignored = await fixture.receive({
    secret,
    id: 'evt_ignored',
    type: 'other.thing',
    object: { a: CANARY },
  })
  await erase({ subject: { contains: CANARY } })
  await fixture.hub.query(`update webhook_route set event_types = '{*}' where tenant_id = $1`, [tenantId])
  expect(await about(CANARY, { id: 'evt_dead' })).toBe(dead)
  expect(
    await fixture.receive({ secret, id: 'evt_ignored', type: 'other.thing', object: { a: CANARY } }),
  ).toBe(ignored)
  expect([(await detail(dead)).status, (await detail(ignored)).status]).toEqual(['dead', 'ignored'])
  expect(await hits()).toEqual([])
})

test('a search goes on where it was, and waits for a store that is away', async () => {
  await route()
  for (let at = 0; at < 3; at += 1) await about(CANARY, { object: { text: `${at}`.repeat(200_000) } })
  const { id } = await plan(byCustomer)
  let away = true
  const work = {
    ...fixture.work,
    readPayload: async (tenant: string, payload: string) => {
      if (away) throw new Problem('payload_store_unavailable', 'The store is away.')
      return fixture.work.readPayload(tenant, payload)
    },
  }
  for (let at = 0; at < 10; at += 1) await stepNow(work)
  expect(await getPlan(fixture.db, ref(id))).toMatchObject({ state: 'searching', total: 0 })
  away = false
  await runAllPlans(work)
  expect(await getPlan(fixture.db, ref(id))).toMatchObject({ state: 'planned', total: 3 })
})
