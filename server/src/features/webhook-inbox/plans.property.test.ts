/**
 * The state machine of plans: whatever is asked of a plan in whatever order (searches, commits, aborts, steps of several
 * workers at once, faults, new events), it stays on its way, counts hold, and each event is acted on at most once.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { type InboxFixture, inboxFixture } from '../../../testing/inbox-fixture.ts'
import { stepNow } from '../../../testing/inbox-plans.ts'
import { misplacedJobs } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { Problem } from '../../problems.ts'
import { type InboxPlan, skippedOf } from './plan.ts'
import { abortPlan, commitPlan, getPlan, makePlan } from './plans.ts'

let fixture: InboxFixture
let number = 0

beforeAll(async () => {
  fixture = await inboxFixture()
})
afterAll(() => fixture.drop())

const STEPS = ['step', 'together', 'fault', 'commit', 'abort', 'expire', 'event', 'deliver'] as const
type Step = (typeof STEPS)[number]

/** Where a plan may go from each state. */
const ALLOWED: Readonly<Record<InboxPlan['state'], readonly InboxPlan['state'][]>> = {
  searching: ['searching', 'planned', 'aborted', 'failed'],
  planned: ['planned', 'running', 'aborted'],
  running: ['running', 'done', 'aborted', 'failed'],
  done: ['done'],
  aborted: ['aborted'],
  failed: ['failed'],
}

test('a plan keeps its promises in any order of things', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        action: fc.constantFrom('retry' as const, 'erase' as const),
        events: fc.integer({ min: 0, max: 5 }),
        rate: fc.constantFrom(5, 10, 1_000),
        // Most of the time it goes its way.
        steps: fc.array(fc.constantFrom<Step>('step', 'step', 'step', 'commit', 'commit', ...STEPS), {
          minLength: 4,
          maxLength: 16,
        }),
      }),
      holds,
    ),
    { numRuns: 80 },
  )
}, 120_000)

async function holds(of: {
  action: 'retry' | 'erase'
  events: number
  rate: number
  steps: readonly Step[]
}): Promise<void> {
  number += 1
  // Those of the runs before: an event is compared with so many routes only.
  await fixture.hub.query('delete from webhook_route')
  const secret = `whsec_property_${number}`
  const tenantId = await fixture.hub.workspace(`property-${number}-dev`)
  await fixture.hub.route(tenantId, { secret })
  const receive = () => fixture.receive({ secret, object: { customer: 'cus_1' } })
  for (let at = 0; at < of.events; at += 1) {
    await receive()
    await fixture.deliver(tenantId)
  }
  const made = await makePlan(fixture.db, {
    ...{ tenantId, action: of.action, ratePerSecond: of.rate, configVersion: 3, actor: 'svc:planner' },
    selection:
      of.action === 'retry' ? { filter: { statuses: ['done'] } } : { subject: { contains: 'cus_1' } },
    call: CHANGE.call,
  })
  const ref = { tenantId, id: made.id, action: of.action }
  const broken = {
    ...fixture.work,
    target: () => Promise.reject(new Error('a fault')),
    eraseQuarantined: () => Promise.reject(new Error('a fault')),
  }
  const acts: Readonly<Record<Step, () => Promise<unknown>>> = {
    step: () => stepNow(fixture.work),
    together: () => Promise.all([stepNow(fixture.work), stepNow(fixture.work)]),
    fault: () => stepNow(broken),
    commit: () => commitPlan(fixture.db, ref, CHANGE),
    abort: () => abortPlan(fixture.db, ref, CHANGE),
    expire: () =>
      fixture.hub.query(
        `update webhook_plan set created_at = now() - interval '1 hour', expires_at = now() - interval '1 second'
         where id = $1 and state = 'planned'`,
        [made.id],
      ),
    event: receive,
    deliver: () => fixture.deliver(tenantId).catch(() => undefined),
  }
  let before = await getPlan(fixture.db, ref)
  let commits = 0
  for (const step of of.steps) {
    const refused = await acts[step]().then(
      () => false,
      (error: unknown) => {
        expect(error).toBeInstanceOf(Problem)
        expect(error).toMatchObject({ code: 'conflict' })
        return true
      },
    )
    const after = await getPlan(fixture.db, ref)
    if (step === 'commit' && !refused) commits += 1
    check(before, after, { step, refused })
    before = after
  }
  for (let left = 0; left < 20 && before.state === 'running'; left += 1) {
    await stepNow(fixture.work)
    before = await getPlan(fixture.db, ref)
  }
  if (before.state === 'done') expect(before.done + skippedOf(before)).toBe(before.total)
  await checkEffects(tenantId, before, { commits, action: of.action })
}

function check(
  before: InboxPlan,
  after: InboxPlan,
  { step, refused }: { readonly step: Step; readonly refused: boolean },
): void {
  expect(ALLOWED[before.state]).toContain(after.state)
  expect(after.done + skippedOf(after)).toBeLessThanOrEqual(after.total)
  expect(after.done).toBeGreaterThanOrEqual(before.done)
  if (before.state !== 'searching') expect(after.total).toBe(before.total)
  if (before.state !== 'running') expect(after.done).toBe(before.done)
  if (step === 'commit')
    expect(refused).toBe(!(before.state === 'planned' && !before.expired && before.total > 0))
  if (step === 'abort') expect(refused).toBe(before.endedAt !== null)
  // Whom it was about goes with its end.
  if (after.endedAt !== null && after.action === 'erase') expect(after.selection).toEqual({ subject: {} })
}

async function checkEffects(
  tenantId: string,
  plan: InboxPlan,
  { commits, action }: { readonly commits: number; readonly action: 'retry' | 'erase' },
): Promise<void> {
  expect(commits).toBeLessThanOrEqual(1)
  const [counts] = await fixture.hub.query<Record<string, number>>(
    `select (select count(*) from audit_entry where tenant_id = $1 and action = 'webhook_inbox.' || $2 || '_started')::int as audited,
            (select count(*) from event where tenant_id = $1 and type = 'webhook.retried')::int as retried,
            (select count(*) from webhook_payload where tenant_id = $1 and erased_at is not null)::int as erased,
            (select count(*) from webhook_plan_item where tenant_id = $1)::int as items`,
    [tenantId, action],
  )
  expect(counts).toMatchObject({
    audited: commits,
    retried: action === 'retry' ? plan.done : 0,
    erased: action === 'erase' ? plan.done : 0,
  })
  if (plan.state === 'done') expect(counts?.items).toBe(0)
  expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
}
