import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type InboxFixture, inboxFixture, SECRET } from '../../../testing/inbox-fixture.ts'
import { runAllPlans, stepNow } from '../../../testing/inbox-plans.ts'
import { misplacedJobs } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { newId } from '../../platform/ids.ts'
import { abortPlan, commitPlan, getPlan, listPlans, makePlan, type PlanRequest } from './plans.ts'
import { runNextStep } from './run-plan.ts'
import { idAfter } from './search-plan.ts'
import type { Selection, StoredFilter } from './selection.ts'

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
  tenantId = await fixture.hub.workspace(`plans-${number}-dev`)
  await fixture.hub.route(tenantId, { secret })
})
afterAll(() => fixture.drop())

const receive = (type = 'invoice.paid') => fixture.receive({ secret, type })
const of = (id: string) => ({ tenantId, id, action: 'retry' }) as const
const now = (id: string) => getPlan(fixture.db, of(id))
const commit = (id: string) => commitPlan(fixture.db, of(id), CHANGE)
const plan = (selection: Selection, more: Partial<PlanRequest> = {}) =>
  makePlan(fixture.db, {
    ...{ tenantId, action: 'retry', selection, configVersion: 3, actor: 'svc:planner', call: CHANGE.call },
    ratePerSecond: 1_000,
    ...more,
  })
const filter = (more: Partial<StoredFilter> = {}): Selection => ({ filter: { statuses: ['done'], ...more } })
const searched = async (selection: Selection, more?: Partial<PlanRequest>) => {
  const { id } = await plan(selection, more)
  await runAllPlans(fixture.work)
  return now(id)
}
const queued = async () => {
  const [row] = await fixture.hub.query<{ count: number }>(
    `select count(*)::int as count from job where tenant_id = $1 and state = 'queued'`,
    [tenantId],
  )
  return row?.count
}
const delivered = async (count: number, type?: string): Promise<string[]> => {
  const ids: string[] = []
  for (let at = 0; at < count; at += 1) {
    ids.push(await receive(type))
    await fixture.deliver(tenantId)
  }
  return ids
}

describe('a plan', () => {
  test('finds what fits its filter, oldest first, and says on what it would run', async () => {
    const ids = await delivered(7)
    await delivered(1, 'customer.created')
    await receive()
    const found = await searched(filter({ type: 'invoice.*' }))
    expect(found).toMatchObject({ state: 'planned', total: 7, looked: 9, configVersion: 3, expired: false })
    expect(found.sample.map(({ inbox_id }) => inbox_id)).toEqual(ids.slice(0, 5))
    expect(found.oldestAt?.toISOString()).toBe(found.sample[0]?.received_at)
    expect(await queued()).toBe(1)
  })

  test('by times, route, account and provider', async () => {
    const [first = '', second = ''] = await delivered(2)
    const { rows } = await fixture.db.execute<{ received_at: Date; route_id: string }>(
      { name: '', text: 'select received_at, route_id from webhook_inbox where id = $1' },
      [second],
    )
    const [row] = rows
    const at = row?.received_at.toISOString() ?? ''
    const namesOf = async (more: Partial<StoredFilter>) =>
      (await searched(filter(more))).sample.map(({ inbox_id }) => inbox_id)
    expect(await namesOf({ received_before: at })).toEqual([first])
    expect(await namesOf({ received_after: at })).toEqual([second])
    expect(await namesOf({ route_id: row?.route_id ?? '' })).toEqual([first, second])
    expect(await namesOf({ route_id: newId() })).toEqual([])
    expect(await namesOf({ provider: 'github' })).toEqual([])
    expect(await namesOf({ account: 'acct_1' })).toEqual([])
  })

  test('looks through an inbox of any size in steps that go on where the last one was', async () => {
    await fixture.hub.query(
      `insert into webhook_inbox (tenant_id, id, route_id, provider, livemode, event_id, event_type, occurred_at,
         state, connector, size, request_id, correlation_id, trace_id)
       select $1, (substr(first_id_at(clock_timestamp())::text, 1, 24) || lpad(to_hex(n), 12, '0'))::uuid, $2, 'stripe', false, 'evt_' || n, 'a.b', now(), 'ignored',
              'product', 1, 'r', 'c', 't'
       from generate_series(1, 4500) as n`,
      [tenantId, newId()],
    )
    const { id } = await plan(filter({}))
    const looked: number[] = []
    while (await stepNow(fixture.work)) looked.push((await now(id)).looked)
    expect(looked).toEqual([2_000, 4_000, 4_500])
    const { id: ignored } = await plan({ filter: { statuses: ['ignored'] } })
    await runAllPlans(fixture.work)
    expect(await now(ignored)).toMatchObject({ state: 'planned', total: 4_500 })
  })

  test('names of events that are not there are refused', async () => {
    const id = await receive()
    const stranger = await fixture.hub.workspace(`stranger-${number}-dev`)
    await expect(plan({ ids: [id, newId()] })).rejects.toMatchObject({
      code: 'not_found',
      extra: { details: [{ path: '/body/ids/1', message: expect.any(String) }] },
    })
    await expect(plan({ ids: [id] }, { tenantId: stranger })).rejects.toMatchObject({ code: 'not_found' })
  })

  test('of another action or workspace is not there', async () => {
    const { id } = await searched({ ids: await delivered(1) })
    const stranger = await fixture.hub.workspace(`stranger-${number}-dev`)
    for (const wrong of [
      { ...of(id), action: 'erase' as const },
      { ...of(id), tenantId: stranger },
    ]) {
      await expect(getPlan(fixture.db, wrong)).rejects.toMatchObject({ code: 'not_found' })
      await expect(commitPlan(fixture.db, wrong, CHANGE)).rejects.toMatchObject({ code: 'not_found' })
      await expect(abortPlan(fixture.db, wrong, CHANGE)).rejects.toMatchObject({ code: 'not_found' })
    }
    expect(await listPlans(fixture.db, { tenantId, action: 'erase', limit: 10 })).toEqual([])
    expect(
      (await listPlans(fixture.db, { tenantId, action: 'retry', limit: 10 })).map((one) => one.id),
    ).toEqual([id])
  })

  test('about nothing, expired, or ended cannot be committed', async () => {
    const nothing = await searched(filter({ type: 'no.such.*' }))
    await expect(commit(nothing.id)).rejects.toMatchObject({ code: 'conflict' })
    const old = await searched({ ids: await delivered(1) })
    await fixture.hub.query(
      `update webhook_plan set created_at = now() - interval '1 hour', expires_at = now() - interval '1 minute' where id = $1`,
      [old.id],
    )
    await expect(commit(old.id)).rejects.toMatchObject({ message: expect.stringContaining('expired') })
    const aborted = await searched({ ids: await delivered(1) })
    await abortPlan(fixture.db, of(aborted.id), CHANGE)
    await expect(commit(aborted.id)).rejects.toMatchObject({ message: expect.stringContaining('aborted') })
    await expect(abortPlan(fixture.db, of(aborted.id), CHANGE)).rejects.toMatchObject({ code: 'conflict' })
  })
})

describe('a commit', () => {
  test('delivers all once more, at most at its rate, and counts what it left out', async () => {
    const ids = await delivered(5)
    const [cancelled = ''] = [await receive()]
    await fixture.cancel(tenantId, cancelled)
    const open = await receive()
    const { id } = await searched({ ids: [...ids, cancelled, open] }, { ratePerSecond: 10 })
    await commit(id)
    const steps = []
    for (let step = await stepNow(fixture.work); step; step = await stepNow(fixture.work))
      steps.push(step.done + step.skipped)
    expect(steps).toEqual([2, 2, 2, 1])
    expect(await now(id)).toMatchObject({
      ...{ state: 'done', total: 7, done: 6, committedBy: CHANGE.actor, reason: CHANGE.reason },
      skipped: { 'It is queued: its delivery goes on by itself.': 1 },
    })
    expect(await queued()).toBe(7)
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
    const [left] = await fixture.hub.query<{ items: number }>(
      'select count(*)::int as items from webhook_plan_item where plan_id = $1',
      [id],
    )
    expect(left?.items).toBe(0)
  })

  test('is paced: the next batch is not due at once', async () => {
    const { id } = await searched({ ids: await delivered(3) }, { ratePerSecond: 1 })
    await commit(id)
    expect(await runNextStep(fixture.work)).toMatchObject({ done: 1 })
    expect(await runNextStep(fixture.work)).toBeUndefined()
    await abortPlan(fixture.db, of(id), CHANGE)
    expect(await now(id)).toMatchObject({ state: 'aborted', done: 1, total: 3, endedWhy: CHANGE.reason })
    await runAllPlans(fixture.work)
    expect(await queued()).toBe(1)
  })

  test('of many workers delivers each event once', async () => {
    const { id } = await searched({ ids: await delivered(6) }, { ratePerSecond: 5 })
    await commit(id)
    for (let round = 0; round < 12; round += 1)
      await Promise.all([stepNow(fixture.work), stepNow(fixture.work), stepNow(fixture.work)])
    expect(await now(id)).toMatchObject({ state: 'done', done: 6, skipped: {} })
    expect(await queued()).toBe(6)
  })

  test('that fails is tried again and has failed after five times, with nothing half done', async () => {
    const { id } = await searched({ ids: await delivered(2) })
    await commit(id)
    const broken = {
      ...fixture.work,
      target: async () => {
        throw new Error('a fault of ours')
      },
    }
    for (let at = 0; at < 4; at += 1) await stepNow(broken)
    expect(await now(id)).toMatchObject({ state: 'running', done: 0 })
    await stepNow(broken)
    expect(await now(id)).toMatchObject({ state: 'failed', endedWhy: expect.stringContaining('log') })
    expect(await queued()).toBe(0)
    const told = await fixture.hub.query<{ type: string; severity: string }>(
      `select type, severity from event where tenant_id = $1 and type like 'webhook_inbox.%' order by seq`,
      [tenantId],
    )
    expect(told).toEqual([
      { type: 'webhook_inbox.retry_started', severity: 'info' },
      { type: 'webhook_inbox.plan_failed', severity: 'error' },
    ])
  })
})

test('ten plans of a workspace are at work at a time', async () => {
  const ids = await delivered(1)
  for (let at = 0; at < 10; at += 1) await plan({ ids })
  await expect(plan({ ids })).rejects.toMatchObject({ code: 'conflict' })
  await runAllPlans(fixture.work)
  await plan({ ids })
  await runAllPlans(fixture.work)
})

test('the id after an id', () => {
  expect(idAfter('0195f1c2-0000-7000-8000-0000000000ff')).toBe('0195f1c2-0000-7000-8000-000000000100')
  expect(idAfter('0195f1c2-ffff-ffff-ffff-ffffffffffff')).toBe('0195f1c3-0000-0000-0000-000000000000')
})
