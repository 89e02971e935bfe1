import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { SHOP_DOWN } from '../../../testing/dead-letters.ts'
import { type InboxFixture, inboxFixture, SECRET } from '../../../testing/inbox-fixture.ts'
import { claimLane, eventsOf, misplacedJobs, registerNode, whereIs } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { purgeLetters } from '../../queue/dead-letters.ts'
import { findJob } from '../../queue/read.ts'
import type { Change } from '../audit/audit.ts'
import { getInboxDetail } from './inbox-detail.ts'
import { retryOne } from './retry.ts'
import { jobsOfInbox, timelineOf } from './timeline.ts'

let fixture: InboxFixture
let tenantId: string
let number = 0

beforeAll(async () => {
  fixture = await inboxFixture()
})
beforeEach(async () => {
  number += 1
  tenantId = await fixture.hub.workspace(`retry-${number}-dev`)
  await fixture.hub.route(tenantId, { secret: `${SECRET}_${number}`, eventTypes: ['invoice.*'] })
})
afterAll(() => fixture.drop())

const receive = (type?: string) =>
  fixture.receive({ secret: `${SECRET}_${number}`, ...(type !== undefined && { type }) })
const retry = (id: string, newMessageId: boolean | null = null, change: Change = CHANGE) =>
  retryOne(fixture.db, fixture.work, { tenantId, id, newMessageId }, change)
const status = async (id: string) =>
  (await getInboxDetail(fixture.db, fixture.detailDeps, tenantId, id)).status
const job = async (id: string) => (await findJob(fixture.db, { tenantId, id }))?.job

describe('an event is delivered once more', () => {
  test('one that was delivered gets a new job as a new message, with the same event', async () => {
    const id = await receive()
    const first = await fixture.deliver(tenantId)
    const retried = await retry(id)
    expect(retried).toMatchObject({ inboxId: id, newMessageId: true, queue: 'webhook', lane: 7 })
    const second = await job(retried.jobId)
    expect(second).toMatchObject({ state: 'queued', inboxId: id, createdBy: CHANGE.actor })
    expect(second?.idempotencyKey).not.toBe(first.idempotencyKey)
    expect(second).toMatchObject({ traceId: first.call.traceId, correlationId: first.call.correlationId })
    const again = await fixture.deliver(tenantId)
    expect({ input: again.input, ref: again.inputRef }).toEqual({ input: first.input, ref: first.inputRef })
    expect(await status(id)).toBe('done')
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('the same message when that is asked for, and for what was never delivered', async () => {
    const delivered = await receive()
    const first = await fixture.deliver(tenantId)
    const same = await retry(delivered, false)
    expect((await job(same.jobId))?.idempotencyKey).toBe(first.idempotencyKey)
    await fixture.deliver(tenantId)
    const cancelled = await receive()
    await fixture.cancel(tenantId, cancelled)
    expect(await retry(cancelled)).toMatchObject({ newMessageId: false })
  })

  test('a dead letter is replayed: the same job with its history', async () => {
    const id = await receive()
    const dead = await fixture.bury(tenantId)
    expect(await status(id)).toBe('dead')
    const retried = await retry(id)
    expect(retried).toMatchObject({ jobId: dead.id, newMessageId: false })
    expect(await whereIs(fixture.db, { tenantId, id: dead.id })).toMatchObject({ ready: 1, dead: 0 })
    expect((await eventsOf(fixture.db, { id: dead.id })).map(({ type }) => type)).toContain('job.replayed')
    expect(await status(id)).toBe('queued')
    await fixture.deliver(tenantId)
  })

  test('one that waits for its next attempt has it now, as the same message', async () => {
    const id = await receive()
    const wait = { kind: 'retry', delayMs: 86_400_000, error: SHOP_DOWN, why: 'Retry-After.' } as const
    const first = await fixture.end(tenantId, wait)
    expect(await status(id)).toBe('retrying')
    const retried = await retry(id, null, { ...CHANGE, reason: 'the product is back' })
    expect(retried).toMatchObject({ jobId: first.id, newMessageId: false, queue: 'webhook', lane: 7 })
    expect(await whereIs(fixture.db, { tenantId, id: first.id })).toMatchObject({ ready: 1, deferred: 0 })
    expect((await eventsOf(fixture.db, { id: first.id })).at(-1)).toMatchObject({
      type: 'job.run_now',
      message: expect.stringContaining('the product is back'),
    })
    const again = await fixture.deliver(tenantId)
    expect(again).toMatchObject({ id: first.id, attempt: 2, idempotencyKey: first.idempotencyKey })
    expect(await status(id)).toBe('done')
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('of two who want a waiting one now one succeeds', async () => {
    const id = await receive()
    await fixture.end(tenantId, { kind: 'snooze', delayMs: 86_400_000, why: 'Later.' })
    const results = await Promise.allSettled([retry(id), retry(id), retry(id)])
    expect(results.map(({ status: how }) => how).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
    await fixture.deliver(tenantId)
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('an ignored one, and one whose job is no longer kept', async () => {
    const ignored = await receive('customer.created')
    expect(await status(ignored)).toBe('ignored')
    expect(await retry(ignored)).toMatchObject({ newMessageId: false })
    expect(await status(ignored)).toBe('queued')
    await fixture.deliver(tenantId)
    await fixture.hub.query('delete from job where tenant_id = $1', [tenantId])
    expect(await status(ignored)).toBe('archived')
    expect(await retry(ignored)).toMatchObject({ newMessageId: true })
  })

  test('it goes to where the route leads now, or to where it went when the route is gone', async () => {
    const id = await receive()
    await fixture.deliver(tenantId)
    await fixture.hub.query('delete from webhook_route where tenant_id = $1', [tenantId])
    expect(await job((await retry(id)).jobId)).toMatchObject({ connector: 'product', queue: 'webhook' })
  })
})

describe('refused, and nothing changes', () => {
  const refused = async (id: string, part: string) => {
    const jobs = await fixture.hub.query('select id from job where tenant_id = $1', [tenantId])
    const error = await retry(id).catch((caught: unknown) => caught)
    expect(error).toMatchObject({ code: 'conflict', message: expect.stringContaining(part) })
    expect(await fixture.hub.query('select id from job where tenant_id = $1', [tenantId])).toEqual(jobs)
    const retries = `select from audit_entry where tenant_id = $1 and action like 'webhook_inbox.%'`
    expect(await fixture.hub.query(retries, [tenantId])).toEqual([])
  }

  test('what goes on by itself', async () => {
    const id = await receive()
    await refused(id, 'it is queued: its delivery goes on by itself')
  })

  test('what runs', async () => {
    const id = await receive()
    const nodeId = await registerNode(fixture.db)
    await claimLane(fixture.claimDb, nodeId, { tenantId, queue: 'webhook', lane: 7 }, 1)
    await refused(id, 'it is running: its delivery goes on by itself')
  })

  test('what is held, and says why', async () => {
    fixture.hub.connectors.delete(`${tenantId}/product`)
    await refused(await receive(), 'is held: it goes on by itself when nothing is in its way any more')
  })

  test('what has nowhere to go', async () => {
    const id = await receive()
    await fixture.deliver(tenantId)
    fixture.hub.connectors.delete(`${tenantId}/product`)
    await refused(id, 'the active config has no connector product')
  })

  test('what is of a paused route', async () => {
    const id = await receive()
    await fixture.deliver(tenantId)
    await fixture.hub.query(
      `update webhook_route set paused_at = now(), paused_by = 'x', paused_why = 'x' where tenant_id = $1`,
      [tenantId],
    )
    await refused(id, 'is of a webhook route that is paused')
  })

  test('a dead letter in the bin', async () => {
    const id = await receive()
    const { id: jobId } = await fixture.bury(tenantId)
    await fixture.db.transaction((tx) =>
      purgeLetters(tx, { tenantId, ids: [jobId], actor: 'svc:test', why: 'x', planId: null }),
    )
    await refused(id, 'in the bin: restore it first')
  })

  test('what does not exist, or is of another workspace', async () => {
    const id = await receive()
    await fixture.cancel(tenantId, id)
    const stranger = await fixture.hub.workspace(`stranger-${number}-dev`)
    for (const of of [
      { tenantId: stranger, id },
      { tenantId, id: newId() },
    ])
      await expect(
        retryOne(fixture.db, fixture.work, { ...of, newMessageId: null }, CHANGE),
      ).rejects.toMatchObject({
        code: 'not_found',
      })
  })
})

test('of two who retry the same event one succeeds', async () => {
  const id = await receive()
  await fixture.cancel(tenantId, id)
  const results = await Promise.allSettled([retry(id), retry(id), retry(id)])
  expect(results.map(({ status: how }) => how).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
  const [row] = await fixture.hub.query<{ jobs: number }>(
    `select count(*)::int as jobs from job where tenant_id = $1 and state = 'queued'`,
    [tenantId],
  )
  expect(row?.jobs).toBe(1)
})

test('a retry is audited and in the timeline, which has all deliveries', async () => {
  const id = await receive()
  const first = await fixture.deliver(tenantId)
  const { jobId } = await retry(id, null, { ...CHANGE, reason: 'the product lost it' })
  await fixture.deliver(tenantId)
  const row = (await getInboxDetail(fixture.db, fixture.detailDeps, tenantId, id)).row
  expect(await jobsOfInbox(fixture.db, tenantId, row)).toEqual([first.id, jobId].sort())
  const entries = await timelineOf(fixture.db, { tenantId, id, limit: 100 })
  const told = entries.map((entry) => (entry.kind === 'event' ? entry.event.type : 'attempt'))
  expect(told.slice(0, 2)).toEqual(['webhook.received', 'job.queued'])
  expect(told.filter((type) => type === 'attempt')).toHaveLength(2)
  expect(told.indexOf('webhook.retried')).toBeGreaterThan(told.indexOf('job.succeeded'))
  const retriedEvent = entries.find(
    (entry) => entry.kind === 'event' && entry.event.type === 'webhook.retried',
  )
  expect(retriedEvent).toMatchObject({
    event: { data: { job_id: jobId, previous_job_id: first.id, was: 'done', reason: 'the product lost it' } },
  })
  const [entry] = await fixture.hub.query(
    `select action, reason, object from audit_entry where tenant_id = $1 order by seq desc limit 1`,
    [tenantId],
  )
  expect(entry).toEqual({
    action: 'webhook_inbox.retried',
    reason: 'the product lost it',
    object: `webhook_inbox:${id}`,
  })
})

test('a timeline is paged without gap or repetition', async () => {
  const id = await receive()
  await fixture.bury(tenantId)
  await retry(id)
  await fixture.deliver(tenantId)
  const all = await timelineOf(fixture.db, { tenantId, id, limit: 100 })
  const seen = []
  for (let page = await timelineOf(fixture.db, { tenantId, id, limit: 2 }); page.length > 0; ) {
    seen.push(...page)
    const after = page.at(-1)?.key
    page = after ? await timelineOf(fixture.db, { tenantId, id, after, limit: 2 }) : []
  }
  expect(seen).toEqual(all)
  expect(all.length).toBeGreaterThan(6)
})
