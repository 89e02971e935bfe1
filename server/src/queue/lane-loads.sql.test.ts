import { afterAll, beforeAll, expect, test } from 'vitest'
import { type QueueFixture, queueFixture, sampleJob } from '../../testing/queue-fixture.ts'
import { newId } from '../platform/ids.ts'
import { enqueueJobs } from './enqueue.ts'
import { jobAttemptsSince, LOAD_LIMIT, laneLoads } from './lane-loads.ts'

const MANY = 200_000
const tenantId = newId()
let database: QueueFixture

beforeAll(async () => {
  database = await queueFixture()
})
afterAll(() => database.drop())

const run = (text: string, values: readonly unknown[] = []) =>
  database.owner.execute({ name: '', text }, values)

test('counts what waits and runs in each lane, of one workspace only', async () => {
  const other = newId()
  const later = new Date(Date.now() + 3_600_000)
  await enqueueJobs(database.db, [
    sampleJob({ tenantId, lane: 1 }),
    sampleJob({ tenantId, lane: 1, queue: 'critical' }),
    sampleJob({ tenantId, lane: 1, runAt: later }),
    sampleJob({ tenantId, lane: 2 }),
    sampleJob({ tenantId: other, lane: 1 }),
  ])
  const loads = await laneLoads(database.db, { tenantId, lanes: [1, 2, 3] })
  expect([1, 2, 3].map((lane) => loads.get(lane))).toEqual([
    { ready: 2, deferred: 1, running: 0 },
    { ready: 1, deferred: 0, running: 0 },
    { ready: 0, deferred: 0, running: 0 },
  ])
  expect(await jobAttemptsSince(database.db, { tenantId, sinceMs: 0 })).toEqual(new Map())
})

test(`with ${MANY} jobs waiting it stops at its limit, and finds the few of a quiet lane by the claim index`, async () => {
  const [busy, quiet] = [newId(), newId()]
  for (const [tenant, jobs] of [
    [busy, MANY],
    [quiet, 300],
  ])
    await run(
      `insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
       select 2, $1, 1, 2, gen_random_uuid(), 1 from generate_series(1, $2::int)`,
      [tenant, jobs],
    )
  await run('vacuum analyze job_ready')
  const readyOf = async (tenant: string) =>
    (await laneLoads(database.db, { tenantId: tenant, lanes: [1] })).get(1)?.ready
  expect(await readyOf(busy)).toBe(LOAD_LIMIT)
  expect(await readyOf(quiet)).toBe(300)
  const { rows } = await run(
    `explain (format json)
     select count(*) from unnest('{0,1,2,3}'::smallint[]) as q (queue)
     cross join lateral (
       select from job_ready r where r.queue = q.queue and r.tenant_id = '${quiet}' and r.lane = 1 limit ${LOAD_LIMIT}
     ) as waiting`,
  )
  const plan = JSON.stringify(rows)
  expect(plan).toMatch(/job_ready_pkey/)
  expect(plan).not.toContain('Seq Scan')
})
