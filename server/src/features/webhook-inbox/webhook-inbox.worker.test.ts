import { afterAll, beforeAll, beforeEach, expect, test, vi } from 'vitest'
import { type InboxFixture, inboxFixture, SECRET } from '../../../testing/inbox-fixture.ts'
import { runAllPlans } from '../../../testing/inbox-plans.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import type { LaneKey } from '../../queue/job.ts'
import { forgetItems, forgetPlans, forgetSubjects } from './plan-items.sql.ts'
import { commitPlan, getPlan, makePlan, type PlanRequest } from './plans.ts'
import { createInboxWork } from './webhook-inbox.worker.ts'

let fixture: InboxFixture
let tenantId: string
let number = 0

beforeAll(async () => {
  fixture = await inboxFixture()
})
beforeEach(async () => {
  number += 1
  tenantId = await fixture.hub.workspace(`work-${number}-dev`)
  await fixture.hub.route(tenantId, { secret: `${SECRET}_${number}` })
})
afterAll(() => fixture.drop())

const receive = (object: object = {}) => fixture.receive({ secret: `${SECRET}_${number}`, object })
const plan = (request: Pick<PlanRequest, 'action' | 'selection'>) =>
  makePlan(fixture.db, {
    ...{ tenantId, configVersion: 1, actor: 'svc:planner', call: CHANGE.call, ratePerSecond: 1_000 },
    ...request,
  })
const expire = (id: string) =>
  fixture.hub.query(
    `update webhook_plan set created_at = now() - interval '2 days', expires_at = now() - interval '1 day' where id = $1`,
    [id],
  )

test('a worker searches and runs plans by itself, wakes their lanes and counts', async () => {
  const hints: LaneKey[] = []
  const work = createInboxWork({
    ...{ ...fixture.work, platform: fixture.platform },
    wakeUp: { hint: (lanes) => void hints.push(...lanes) },
  })
  work.start()
  try {
    const ids = [await receive(), await receive()]
    for (const id of ids) await fixture.cancel(tenantId, id)
    const { id } = await plan({ action: 'retry', selection: { ids } })
    const state = async () => (await getPlan(fixture.db, { tenantId, id, action: 'retry' })).state
    await vi.waitFor(async () => expect(await state()).toBe('planned'), 10_000)
    await commitPlan(fixture.db, { tenantId, id, action: 'retry' }, CHANGE)
    await vi.waitFor(async () => expect(await state()).toBe('done'), 10_000)
    await vi.waitFor(() => expect(hints).toHaveLength(2))
    const told = await fixture.platform.metrics.registry.metrics()
    expect(told).toMatch(/webhook_inbox_actions_total\{[^}]*action="retry",result="done"[^}]*\} 2/)
  } finally {
    await work.stop()
  }
})

test('an expired plan forgets its subject, then what it was to do, then itself', async () => {
  await receive({ customer: 'cus_1' })
  const subject = { pointer: '/data/object/customer', equals: 'cus_1' }
  const { id } = await plan({ action: 'erase', selection: { subject } })
  const anywhere = await plan({ action: 'erase', selection: { subject: { contains: 'cus_1' } } })
  const named = await plan({ action: 'erase', selection: { event_id: 'evt_1' } })
  await runAllPlans(fixture.work)
  const rows = async () => {
    const { rows: found } = await fixture.db.execute<{ selection: object; items: number }>(
      {
        name: '',
        text: `select selection, (select count(*)::int from webhook_plan_item i where i.plan_id = p.id) as items
               from webhook_plan p where tenant_id = $1 order by id`,
      },
      [tenantId],
    )
    return found
  }
  const before = await rows()
  expect(before.map(({ items }) => items)).toEqual([1, 1, 0])
  expect([
    await forgetSubjects(fixture.db, { limit: 10 }),
    await forgetItems(fixture.db, { limit: 10 }),
  ]).toEqual([0, 0])
  expect(await rows()).toEqual(before)
  for (const one of [id, anywhere.id, named.id]) await expire(one)
  expect(await forgetSubjects(fixture.db, { limit: 10 })).toBe(2)
  expect(await forgetSubjects(fixture.db, { limit: 10 })).toBe(0)
  expect(await forgetItems(fixture.db, { limit: 10 })).toBe(2)
  expect(await rows()).toEqual([
    { selection: { subject: { pointer: '/data/object/customer' } }, items: 0 },
    { selection: { subject: {} }, items: 0 },
    { selection: { event_id: 'evt_1' }, items: 0 },
  ])
  expect(await forgetPlans(fixture.db, { days: 90, limit: 10 })).toBe(3)
  expect(await rows()).toEqual([])
})
