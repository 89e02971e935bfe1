import { afterAll, beforeAll, expect, test } from 'vitest'
import { type QueueFixture, queueFixture, sampleJob, whereIs } from '../../testing/queue-fixture.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import { enqueueJobs } from './enqueue.ts'
import { dropCancelled } from './housekeeping.sql.ts'
import { pauseLane } from './pause.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterAll(() => fixture.drop())

const jobsOf = async (tenantId: string, lane: number) => {
  const jobs = Array.from({ length: 4 }, () => sampleJob({ tenantId, lane }))
  await enqueueJobs(fixture.db, jobs)
  return jobs
}
const ready = async (jobs: Awaited<ReturnType<typeof jobsOf>>) =>
  (await Promise.all(jobs.map((job) => whereIs(fixture.db, job)))).map((found) => found.ready)

test('jobs that were cancelled in a paused lane leave it; those that wait stay, and other lanes are left alone', async () => {
  const tenantId = newId()
  const [paused, open] = [await jobsOf(tenantId, 1), await jobsOf(tenantId, 2)]
  await pauseLane(fixture.db, { tenantId, lane: 1, actor: 'svc:test', why: 'the product polls' })
  for (const [at, job] of [...paused.slice(0, 2), ...open.slice(0, 1)].entries())
    await cancelJob(fixture.db, { tenantId, id: job.id, actor: 'svc:shop', reason: `taken ${at}` })
  expect(await ready(paused)).toEqual([1, 1, 1, 1])

  expect(await dropCancelled(fixture.db, { limit: 1 })).toBe(1)
  expect(await dropCancelled(fixture.db, { limit: 100 })).toBe(1)
  expect(await ready(paused)).toEqual([0, 0, 1, 1])
  // The next claim of that lane drops it.
  expect(await ready(open)).toEqual([1, 1, 1, 1])
})
