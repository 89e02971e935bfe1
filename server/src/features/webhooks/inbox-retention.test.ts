import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { buryLane } from '../../../testing/dead-letters.ts'
import { closeOldDays, dayAgo, idOfDay, oldDaysOf, openDays } from '../../../testing/old-days.ts'
import {
  claimLane,
  clearQueue,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
} from '../../../testing/queue-fixture.ts'
import { systemClock } from '../../platform/clock.ts'
import { createRetention } from '../../platform/db/retention.ts'
import { newId } from '../../platform/ids.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { NewJob } from '../../queue/job.ts'
import { settleJobs } from '../../queue/settle.ts'
import { getInboxDetail } from '../webhook-inbox/webhook-inbox.ts'
import { inboxRetention } from './webhooks.ts'

let fixture: QueueFixture
let nodeId: string
const TABLES = ['webhook_inbox', 'webhook_payload'] as const
const OLD = dayAgo(40)

beforeAll(async () => {
  fixture = await queueFixture()
})
beforeEach(async () => {
  nodeId = await registerNode(fixture.db)
  await openDays(fixture.owner, TABLES, [OLD, dayAgo(20)])
})
afterEach(async () => {
  await clearQueue(fixture.owner, undefined)
  await closeOldDays(fixture.owner, TABLES)
})
afterAll(() => fixture.drop())

async function round() {
  const { db, log, metrics } = fixture.platform
  const clock = { ...systemClock, sleep: async () => undefined }
  const run = createRetention({ db, log, metrics, clock, rules: async () => [inboxRetention(30)] })
  return (await run()).map(({ day, result, why }) => ({ day, result, why }))
}

/** An event of that day with the job that delivers it; `null`: an ignored one. */
async function receive(day: string, job: NewJob | null = sampleJob({ tenantId: newId() })): Promise<NewJob> {
  const id = idOfDay(day)
  const owner = job ?? sampleJob({ tenantId: newId() })
  await fixture.db.execute(
    {
      name: '',
      text: `with payload as (
               insert into webhook_payload (tenant_id, id, body, sha256, headers)
               values ($1, $2, 'x', sha256('x'), '{}'))
             insert into webhook_inbox (tenant_id, id, route_id, provider, livemode, event_id, event_type, occurred_at,
                                        state, connector, job_id, secret_ref, size, request_id, correlation_id, trace_id)
             values ($1, $2, $2, 'stripe', false, 'evt', 'paid', now(), $4, 'product', $3, 'key', 1, 'r', 'c', 't')`,
    },
    [owner.tenantId, id, job?.id ?? null, job ? 'accepted' : 'ignored'],
  )
  if (job) await enqueueJobs(fixture.db, [{ ...job, inboxId: id }])
  return { ...owner, inboxId: id }
}

async function deliver(job: NewJob): Promise<void> {
  const { jobs } = await claimLane(fixture.claimDb, nodeId, job, 1)
  const outcome = { kind: 'done', result: null, why: 'Done.' } as const
  await settleJobs(
    fixture.claimDb,
    jobs.map(({ job: held }) => ({ job: held, outcome })),
  )
}

test('a day of the inbox goes with its bytes when all is delivered, whether its jobs are kept or not', async () => {
  await receive(OLD, null)
  const kept = await receive(OLD)
  await deliver(kept)
  await receive(dayAgo(20))
  expect(await round()).toEqual([{ day: OLD, result: 'dropped', why: undefined }])
  for (const table of TABLES) expect(await oldDaysOf(fixture.db, table)).toEqual([dayAgo(20)])
  const gone = getInboxDetail(
    fixture.db,
    { target: async () => undefined, workspaces: { find: async () => undefined } },
    kept.tenantId,
    kept.inboxId ?? '',
  )
  await expect(gone).rejects.toMatchObject({ code: 'not_found' })
})

const held = [{ day: OLD, result: 'held', why: 'events that are not delivered' }]

test.each<[string, Partial<NewJob>, (job: NewJob) => Promise<unknown>]>([
  ['waits', {}, async () => undefined],
  ['runs', {}, (job) => claimLane(fixture.claimDb, nodeId, job, 1)],
  ['waits for a time', { runAt: new Date(Date.now() + 3_600_000) }, async () => undefined],
  ['is a dead letter', {}, (job) => buryLane(fixture, nodeId, job)],
])('it stays while the job of one event %s', async (_, job, act) => {
  const event = await receive(OLD, sampleJob({ tenantId: newId(), ...job }))
  await deliver(await receive(OLD))
  await act(event)
  expect(await round()).toEqual(held)
})

test('what is in the bin counts as a dead letter, what has left it does not', async () => {
  const event = await receive(OLD)
  await buryLane(fixture, nodeId, event)
  await fixture.db.execute({ name: '', text: 'update job_dead set purged_at = now()' }, [])
  expect(await round()).toEqual(held)
  await fixture.db.execute({ name: '', text: 'delete from job_dead' }, [])
  expect(await round()).toMatchObject([{ result: 'dropped' }])
})
