import { afterAll, beforeAll, expect, test } from 'vitest'
import { SHOP_DOWN } from '../../testing/dead-letters.ts'
import {
  claimLane,
  eventsOf,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  silence,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { newId } from '../platform/ids.ts'
import { enqueueJobs } from './enqueue.ts'
import type { NewJob, Outcome } from './job.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'
import { runJobsNow } from './run-now.ts'
import { settleJobs } from './settle.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterAll(() => fixture.drop())

const DAY_MS = 86_400_000
const runNow = (tenantId: string, ids: readonly string[]) =>
  fixture.db.transaction((tx) =>
    runJobsNow(tx, { tenantId, ids, actor: 'svc:test', why: 'it is back', planId: null }),
  )

async function ended(tenantId: string, outcome: Outcome): Promise<NewJob> {
  const job = sampleJob({ tenantId })
  await enqueueJobs(fixture.db, [job])
  const { jobs } = await claimLane(fixture.claimDb, await registerNode(fixture.db), job, 1)
  await settleJobs(
    fixture.claimDb,
    jobs.map(({ job: held }) => ({ job: held, outcome })),
  )
  return job
}

test('what waits for a retry, a snooze or its time can be claimed at once, and an event says who wanted it', async () => {
  const tenantId = newId()
  const retrying = await ended(tenantId, {
    ...{ kind: 'retry', delayMs: DAY_MS, error: SHOP_DOWN, why: 'Retry-After.' },
  })
  const snoozed = await ended(tenantId, { kind: 'snooze', delayMs: DAY_MS, why: 'Later.' })
  const scheduled = sampleJob({ tenantId, runAt: new Date(Date.now() + DAY_MS) })
  const other = sampleJob({ tenantId, runAt: new Date(Date.now() + DAY_MS) })
  await enqueueJobs(fixture.db, [scheduled, other])

  const moved = await runNow(tenantId, [retrying.id, snoozed.id, scheduled.id])
  expect(new Set(moved.map(({ id }) => id))).toEqual(new Set([retrying.id, snoozed.id, scheduled.id]))
  expect(moved[0]).toMatchObject({ tenantId, queue: 'default', lane: 1 })
  expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  expect(await whereIs(fixture.db, other)).toMatchObject({ deferred: 1 })
  expect((await eventsOf(fixture.db, retrying)).at(-1)).toMatchObject({
    type: 'job.run_now',
    message: expect.stringMatching(/^svc:test has it run now, not at .*: it is back$/),
    data: { actor: 'svc:test', reason: 'it is back', cause: 'retry', attempt: 2 },
  })
  const { jobs } = await claimLane(fixture.claimDb, await registerNode(fixture.db), retrying)
  expect(new Map(jobs.map(({ job }) => [job.id, job.attempt]))).toEqual(
    new Map([
      [retrying.id, 2],
      [snoozed.id, 1],
      [scheduled.id, 1],
    ]),
  )
})

test('what is elsewhere, of another workspace, or rescued from a lost node stays', async () => {
  const tenantId = newId()
  const ready = sampleJob({ tenantId, lane: 2 })
  const scheduled = sampleJob({ tenantId, lane: 3, runAt: new Date(Date.now() + DAY_MS) })
  const lost = sampleJob({ tenantId, lane: 4 })
  await enqueueJobs(fixture.db, [ready, scheduled, lost])
  const nodeId = await registerNode(fixture.db)
  await claimLane(fixture.claimDb, nodeId, lost, 1)
  await silence(fixture.db, { nodeId })
  await rescue(fixture.db, { limits: RESCUE_LIMITS, log: fixture.platform.log })
  expect(await whereIs(fixture.db, lost)).toMatchObject({ deferred: 1 })
  expect(await runNow(tenantId, [ready.id, lost.id, newId()])).toEqual([])
  expect(await runNow(newId(), [scheduled.id])).toEqual([])
  expect(await whereIs(fixture.db, scheduled)).toMatchObject({ deferred: 1, ready: 0 })
})

test('of many who want it now one moves it', async () => {
  const tenantId = newId()
  const jobs = Array.from({ length: 5 }, () =>
    sampleJob({ tenantId, lane: 5, runAt: new Date(Date.now() + DAY_MS) }),
  )
  await enqueueJobs(fixture.db, jobs)
  const ids = jobs.map(({ id }) => id)
  const answers = await Promise.all([runNow(tenantId, ids), runNow(tenantId, [...ids].reverse())])
  expect(answers.flat()).toHaveLength(5)
  expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
})
