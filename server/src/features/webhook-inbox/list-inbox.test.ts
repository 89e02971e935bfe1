import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type InboxFixture, inboxFixture, SECRET } from '../../../testing/inbox-fixture.ts'
import { registerNode } from '../../../testing/queue-fixture.ts'
import { newId } from '../../platform/ids.ts'
import { claimJobs } from '../../queue/claim.ts'
import { getInboxDetail } from './inbox-detail.ts'
import { type InboxFilter, listInbox } from './list-inbox.ts'
import { INBOX_STATUSES, type InboxStatus } from './status.ts'

let fixture: InboxFixture
let tenantId: string
const secret = SECRET
/** One event in each state. */
const ids = {} as Record<InboxStatus, string>

const receive = (type = 'invoice.paid', customer = newId()) =>
  fixture.receive({ secret, type, object: { customer } })
const list = (filter: Partial<InboxFilter> = {}) => listInbox(fixture.db, { tenantId, limit: 50, ...filter })
/** Through all pages. */
async function idsOf(filter: Partial<InboxFilter> = {}): Promise<string[]> {
  const found: string[] = []
  for (let page = await list(filter); ; page = await list({ ...filter, before: page.next ?? undefined })) {
    found.push(...page.items.map(({ row }) => row.id))
    if (page.next === null) return found
  }
}
const RETRY = { class: 'http_5xx', message: 'The product answered 503.' }

beforeAll(async () => {
  fixture = await inboxFixture()
  tenantId = await fixture.hub.workspace('list-dev')
  await fixture.hub.route(tenantId, {
    secret,
    eventTypes: ['invoice.*'],
    ordering: { key: '/data/object/customer', limitMs: 60_000 },
  })
  ids.ignored = await receive('other.thing')
  ids.done = await receive()
  await fixture.deliver(tenantId)
  ids.archived = await receive()
  await fixture.deliver(tenantId)
  await fixture.hub.query('delete from job where inbox_id = $1', [ids.archived])
  ids.cancelled = await receive()
  await fixture.cancel(tenantId, ids.cancelled)
  ids.dead = await receive()
  await fixture.bury(tenantId)
  ids.retrying = await receive()
  await fixture.end(tenantId, { kind: 'retry', delayMs: 3_600_000, error: RETRY, why: 'Once more.' })
  ids.scheduled = await receive()
  await fixture.end(tenantId, { kind: 'snooze', delayMs: 3_600_000, why: 'Later.' })
  ids.running = await receive('invoice.paid', 'cus_running')
  const nodeId = await registerNode(fixture.db)
  const lane = { tenantId, queue: 'webhook', lane: 7, take: 1, low: [0, 0, 0, 0] } as const
  await claimJobs(fixture.claimDb, { nodeId, maxRunMs: 600_000, grants: [lane] })
  ids.waiting = await receive('invoice.paid', 'cus_running')
  fixture.hub.connectors.delete(`${tenantId}/product`)
  ids.held = await receive()
  fixture.hub.connectors.set(`${tenantId}/product`, { lane: 7, configVersion: 3 })
  ids.queued = await receive()
  // Much that is newer than all of them: what is rare has to be found behind it.
  await fixture.hub.query(
    `insert into webhook_inbox (tenant_id, id, route_id, provider, livemode, event_id, event_type, occurred_at,
       state, connector, size, request_id, correlation_id, trace_id)
     select $1, (substr(first_id_at(clock_timestamp() + interval '1 second')::text, 1, 24) || lpad(to_hex(n), 12, '0'))::uuid, $2, 'github', false,
       'evt_' || n, 'push', now(), 'ignored', 'product', 1, 'r', 'c', 't'
     from generate_series(1, 2500) as n`,
    [tenantId, newId()],
  )
})
afterAll(() => fixture.drop())

describe('events by their state', () => {
  test.each(['held', 'waiting', 'running', 'scheduled', 'retrying', 'dead'] as const)(
    '%s ones are found at once behind any number of newer events',
    async (status) => {
      expect(await list({ status })).toEqual({
        items: [expect.objectContaining({ status, row: expect.objectContaining({ id: ids[status] }) })],
        next: null,
      })
    },
  )

  test.each(INBOX_STATUSES)('%s ones are found page by page', async (status) => {
    expect(await idsOf({ status, provider: 'stripe', limit: 1 })).toEqual([ids[status]])
    expect((await getInboxDetail(fixture.db, fixture.detailDeps, tenantId, ids[status])).status).toBe(status)
  })

  test('each state is one: together they are all events', async () => {
    const all = await idsOf({ provider: 'stripe', limit: 3 })
    expect(all).toEqual(Object.values(ids).sort().reverse())
  })

  test('pages of dead events have no gap and no repetition', async () => {
    const other = await fixture.hub.workspace('dead-dev')
    await fixture.hub.route(other, { secret: 'whsec_of_the_dead' })
    const dead: string[] = []
    for (let at = 0; at < 5; at += 1) {
      dead.unshift(await fixture.receive({ secret: 'whsec_of_the_dead' }))
      await fixture.bury(other)
    }
    expect(await idsOf({ tenantId: other, status: 'dead', limit: 2 })).toEqual(dead)
  })
})

describe('filters', () => {
  test('types are globs, in which only the star is special', async () => {
    const id = await receive('invoice.a_b')
    expect(await idsOf({ type: 'invoice.a_b', provider: 'stripe' })).toEqual([id])
    expect(await idsOf({ type: 'invoice.a*', provider: 'stripe' })).toEqual([id])
    expect(await idsOf({ type: '*_b' })).toEqual([id])
    expect(await idsOf({ type: 'invoice_a_b' })).toEqual([])
    expect(await idsOf({ type: 'invoice.%' })).toEqual([])
  })

  test('a state goes with an event id and a trace', async () => {
    const { row } = await getInboxDetail(fixture.db, fixture.detailDeps, tenantId, ids.dead)
    expect(await idsOf({ eventId: row.event_id, status: 'dead' })).toEqual([ids.dead])
    expect(await idsOf({ eventId: row.event_id, status: 'done' })).toEqual([])
    expect(await idsOf({ traceId: row.trace_id, status: 'dead' })).toEqual([ids.dead])
    expect(await idsOf({ traceId: row.trace_id, eventId: 'evt_1' })).toEqual([])
  })

  test('a trace of any size is looked at in windows, and paged to its end', async () => {
    const seen = new Set<string>()
    const first = await list({ traceId: 't', status: 'done' })
    expect(first).toEqual({ items: [], next: expect.any(String) })
    expect(await list({ traceId: 't', status: 'done', before: first.next ?? '' })).toEqual({
      ...{ items: [], next: null },
    })
    for (let before: string | null | undefined; before !== null; ) {
      const page = await list({ traceId: 't', limit: 200, before })
      for (const { row } of page.items) seen.add(row.id)
      before = page.next
    }
    expect(seen.size).toBe(2_500)
  })

  test('times are those at which events were taken, to the millisecond', async () => {
    const { row } = await getInboxDetail(fixture.db, fixture.detailDeps, tenantId, ids.done)
    const at = row.received_at
    const next = new Date(at.getTime() + 1)
    const of = { provider: 'stripe', type: row.event_type }
    expect(await idsOf({ ...of, receivedAfter: at, receivedBefore: next })).toContain(ids.done)
    expect(await idsOf({ ...of, receivedAfter: next })).not.toContain(ids.done)
    expect(await idsOf({ ...of, receivedBefore: at })).not.toContain(ids.done)
  })

  test('by account and route', async () => {
    const { row } = await getInboxDetail(fixture.db, fixture.detailDeps, tenantId, ids.done)
    expect(await idsOf({ routeId: row.route_id, status: 'dead' })).toEqual([ids.dead])
    expect(await idsOf({ routeId: newId(), status: 'dead' })).toEqual([])
    expect(await idsOf({ account: 'acct_of_nobody' })).toEqual([])
  })
})

test('what waits says for what', async () => {
  const waits = async (status: InboxStatus) =>
    (await getInboxDetail(fixture.db, fixture.detailDeps, tenantId, ids[status])).waits
  // The connector was missing when it came; what counts is what is in its way now.
  const connector = `${tenantId}/product`
  const found = fixture.hub.connectors.get(connector)
  if (!found) throw new Error('no connector')
  expect(await waits('held')).toMatchObject([{ reason: 'release' }])
  fixture.hub.connectors.delete(connector)
  expect(await waits('held')).toEqual([
    { reason: 'connector_missing', message: expect.stringContaining('missing'), until: null },
  ])
  fixture.hub.connectors.set(connector, found)
  const pause = (at: 'now()' | 'null', said: string | null) =>
    fixture.hub.query(
      `update webhook_route set paused_at = ${at}, paused_by = $2, paused_why = $2
       where tenant_id = $1 and id = (select route_id from webhook_inbox where id = $3)`,
      [tenantId, said, ids.held],
    )
  await pause('now()', 'x')
  expect(await waits('held')).toMatchObject([{ reason: 'route_paused' }])
  await pause('null', null)
  expect(await waits('waiting')).toMatchObject([{ reason: 'earlier_event' }])
  expect(await waits('retrying')).toMatchObject([{ reason: 'retrying', until: expect.any(Date) }])
  expect(await waits('done')).toEqual([])
  await fixture.hub.query(
    `insert into lane_policy (tenant_id, lane, blocked_until, blocked_why, blocked_reason)
     values ($1, 7, now() + interval '1 hour', 'The breaker is open.', 'circuit_open')`,
    [tenantId],
  )
  const blocked = { reason: 'circuit_open', message: 'The breaker is open.', until: expect.any(Date) }
  expect(await waits('queued')).toEqual([blocked])
})
