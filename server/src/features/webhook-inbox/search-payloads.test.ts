import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { type InboxFixture, inboxFixture, SECRET } from '../../../testing/inbox-fixture.ts'
import { runAllPlans, stepNow } from '../../../testing/inbox-plans.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { Problem, type ProblemCode } from '../../problems.ts'
import { abortPlan, commitPlan, getPlan, makePlan } from './plans.ts'
import { planView } from './views.ts'

const ADA = 'cus_of_ada'

let fixture: InboxFixture
let tenantId: string
let secret: string
let number = 0
/** Payloads of the store that are not given, by their ids; all when it has `*`. */
let failing: Map<string, ProblemCode>
let warned: unknown[]

beforeAll(async () => {
  fixture = await inboxFixture()
})
beforeEach(async () => {
  number += 1
  secret = `${SECRET}_${number}`
  tenantId = await fixture.hub.workspace(`search-${number}-dev`)
  await fixture.hub.route(tenantId, { secret })
  failing = new Map()
  warned = []
})
afterAll(() => fixture.drop())

const work = () => ({
  ...fixture.work,
  log: Object.assign(Object.create(fixture.work.log), { warn: (fields: unknown) => warned.push(fields) }),
  readPayload: async (tenant: string, id: string) => {
    const code = failing.get(id) ?? failing.get('*')
    if (code) throw new Problem(code, 'The bytes cannot be read.')
    return fixture.work.readPayload(tenant, id)
  },
})
const small = () => fixture.receive({ secret, object: { customer: ADA } })
async function large(): Promise<{ readonly id: string; readonly payloadId: string }> {
  const id = await fixture.receive({ secret, object: { customer: ADA, text: 'x'.repeat(100_000) } })
  const [row] = await fixture.hub.query<{ payload_id: string }>(
    'select payload_id from webhook_payload where id = $1',
    [id],
  )
  return { id, payloadId: row?.payload_id ?? '' }
}
const ref = (id: string) => ({ tenantId, id, action: 'erase' }) as const
const now = async (id: string) => planView(await getPlan(fixture.db, ref(id)))
const plan = async () => {
  const selection = { subject: { pointer: '/data/object/customer', equals: ADA } }
  const made = await makePlan(fixture.db, {
    ...{ tenantId, action: 'erase', selection, configVersion: null, actor: 'operator:admin' },
    call: CHANGE.call,
  })
  return made.id
}
const steps = async (count: number) => {
  for (let at = 0; at < count; at += 1) await stepNow(work())
}

test('a store that is away is waited for, however long; the plan says so and the log once', async () => {
  await small()
  const first = await large()
  await large()
  failing.set('*', 'payload_store_unavailable')
  const id = await plan()
  await steps(40)
  expect(await now(id)).toMatchObject({
    ...{ state: 'searching', examined: 1, count: 1, unreadable: { count: 0, ids: [] } },
    waiting_for: expect.stringContaining(first.id),
    waiting_since: expect.any(String),
  })
  expect(warned).toHaveLength(1)
  failing.clear()
  await runAllPlans(work())
  const found = { state: 'planned', count: 3, waiting_for: null, waiting_since: null }
  expect(await now(id)).toMatchObject(found)
})

test('one payload that cannot be read while others can is passed over, and told everywhere', async () => {
  const ids = [await small()]
  const lost = await large()
  ids.push((await large()).id, await small())
  failing.set(lost.payloadId, 'payload_store_unavailable')
  const id = await plan()
  await steps(5)
  expect(await now(id)).toMatchObject({ state: 'searching', unreadable: { count: 0, ids: [] } })
  await steps(20)
  const unreadable = { count: 1, ids: [lost.id] }
  expect(await now(id)).toMatchObject({ state: 'planned', count: 3, examined: 4, unreadable })
  await commitPlan(fixture.db, ref(id), CHANGE)
  await runAllPlans(work())
  expect(await now(id)).toMatchObject({ state: 'done', unreadable, progress: { done: 3, skipped: 0 } })
  const [event] = await fixture.hub.query(
    `select severity, message, data from event where tenant_id = $1 and type = 'webhook_inbox.plan_done'`,
    [tenantId],
  )
  expect(event).toMatchObject({
    severity: 'warning',
    message: expect.stringContaining('1 of the events could not be looked into'),
    data: { unreadable: 1 },
  })
  const [entry] = await fixture.hub.query<{ diff: unknown }>(
    `select diff from audit_entry where tenant_id = $1 and action = 'webhook_inbox.erase_started'`,
    [tenantId],
  )
  expect(entry?.diff).toMatchObject([{ after: { unreadable: 1, unreadable_ids: [lost.id] } }])
})

test('the only payload of a store is given up after more tries', async () => {
  const lost = await large()
  await small()
  failing.set('*', 'payload_store_unavailable')
  const id = await plan()
  await steps(15)
  expect(await now(id)).toMatchObject({ state: 'searching', waiting_for: expect.any(String) })
  await steps(15)
  expect(await now(id)).toMatchObject({ state: 'planned', count: 1, unreadable: { ids: [lost.id] } })
})

test.each(['payload_damaged', 'payload_gone'] as const)('%s counts as unreadable', async (code) => {
  const lost = await large()
  await small()
  failing.set(lost.payloadId, code)
  const id = await plan()
  await runAllPlans(work())
  expect(await now(id)).toMatchObject({ state: 'planned', count: 1, unreadable: { ids: [lost.id] } })
})

test('a payload that was erased while the search looked is not unreadable', async () => {
  const { id: inboxId } = await large()
  const id = await plan()
  const erasing = {
    ...work(),
    readPayload: async () => {
      await fixture.hub.query(
        'update webhook_payload set payload_id = null, erased_at = now() where id = $1',
        [inboxId],
      )
      throw new Problem('payload_gone', 'They were erased.')
    },
  }
  await runAllPlans(erasing)
  expect(await now(id)).toMatchObject({ state: 'planned', count: 0, unreadable: { count: 0, ids: [] } })
})

test('an aborted plan waits for nothing', async () => {
  await large()
  failing.set('*', 'payload_store_unavailable')
  const id = await plan()
  await steps(1)
  await abortPlan(fixture.db, ref(id), CHANGE)
  expect(await now(id)).toMatchObject({ state: 'aborted', waiting_for: null, waiting_since: null })
})
