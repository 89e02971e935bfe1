import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type QueueFixture, queueFixture, registerNode, sampleJob } from '../../testing/queue-fixture.ts'
import { type WatchedPlans, watchPlans } from '../../testing/watched-plans.ts'
import { run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { claimJobs } from './claim.ts'
import { enqueueJobs } from './enqueue.ts'
import { lockExpired } from './expire.sql.ts'
import { createLanes, type Lanes } from './lanes.ts'
import { promoteDue } from './promote.sql.ts'
import { createPromoter } from './promote.ts'
import { QUEUE_SESSION } from './queue.ts'

/**
 * What must not grow with the backlog, counted in pages: unlike milliseconds they are the same on every machine.
 * Each count at size is held against the same statement on tables that are nearly empty.
 */
let fixture: QueueFixture
let watched: WatchedPlans
let nodeId: string
beforeEach(async () => {
  fixture = await queueFixture()
  watched = await watchPlans(fixture.url, QUEUE_SESSION)
  nodeId = await registerNode(fixture.db)
})
afterEach(async () => {
  await watched.close()
  await fixture.drop()
})

const LANE = { queue: 'default', lane: 1 } as const
const enqueue = (tenantId: string, count: number) =>
  enqueueJobs(
    fixture.db,
    Array.from({ length: count }, () => sampleJob({ tenantId })),
  )
/** Claims from one lane; gives how many jobs it got. Filling tables takes longer than a node may be silent. */
async function claim(tenantId: string, take: number): Promise<number> {
  await registerNode(fixture.db, nodeId)
  const grants = [{ ...LANE, tenantId, take, low: [0, 0, 0, 0] }]
  return (await claimJobs(watched.db, { nodeId, maxRunMs: 60_000, grants })).jobs.length
}

/** Four fifths of it belong to one tenant, as in the worst hub; in the order of the index, which fills it fastest. */
const fillReady = run<{ readonly rows: number }>(
  'test.fill_ready',
  `insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
   select 2, case when n % 5 = 0 then uuid_of(1 + n % 2000) else uuid_of(0) end, 1 + n % 3, 1 + n % 4, uuid_of(n), 1
   from generate_series(1, $1::int) as n`,
  ({ rows }) => [rows],
)
const fillDeferred = run<{ readonly rows: number }>(
  'test.fill_deferred',
  `insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
   select uuid_of(n % 2000), uuid_of(n), now() + interval '1 hour' + n * interval '2 seconds', 2, 1, 2, 1, 'scheduled'
   from generate_series(1, $1::int) as n`,
  ({ rows }) => [rows],
)
/** Due an hour ago. */
const addPassed = run<{ readonly rows: number }>(
  'test.add_passed',
  `insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
   select uuid_of(n % 2000), uuid_of(n), now() - interval '1 hour' + n * interval '1 millisecond', 2, 1, 2, 1, 'scheduled'
   from generate_series(1, $1::int) as n`,
  ({ rows }) => [rows],
)
const makeUuidOf = run<undefined>(
  'test.uuid_of',
  `create or replace function uuid_of(n int) returns uuid language sql immutable
   return ('00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'))::uuid`,
  () => [],
)
const makeSomeDue = run<{ readonly rows: number }>(
  'test.make_some_due',
  `insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
   select gen_random_uuid(), gen_random_uuid(), now() - interval '1 second', 2, 1, 2, 1, 'scheduled'
   from generate_series(1, $1::int)`,
  ({ rows }) => [rows],
)

const fillExpiry = run<{ readonly rows: number }>(
  'test.fill_expiry',
  `insert into job_expiry (tenant_id, job_id, check_at)
   select uuid_of(n % 2000), uuid_of(n), now() + interval '1 hour' + n * interval '2 seconds'
   from generate_series(1, $1::int) as n`,
  ({ rows }) => [rows],
)
const makeSomeExpire = run<{ readonly rows: number }>(
  'test.make_some_expire',
  `insert into job_expiry (tenant_id, job_id, check_at)
   select gen_random_uuid(), gen_random_uuid(), now() - interval '1 second' from generate_series(1, $1::int)`,
  ({ rows }) => [rows],
)

describe('a million ready rows', () => {
  test('a claim reads its rows in the order of the index and touches hardly more pages than with none', async () => {
    const [small, large] = [newId(), newId()]
    await enqueue(small, 30)
    // The first one plans and fills caches.
    expect(await claim(small, 10)).toBe(10)
    expect(await claim(small, 10)).toBe(10)
    const alone = watched.pages()
    await makeUuidOf(fixture.owner, undefined)
    await fillReady(fixture.db, { rows: 1_000_000 })
    await enqueue(large, 30)
    expect(await claim(large, 10)).toBe(10)
    expect(await claim(large, 10)).toBe(10)
    expect(watched.pages()).toBeLessThan(2 * alone)
    expect(watched.plans()).toMatch(/"Node Type": "Index Scan",[^{]*"Index Name": "job_ready_pkey"/)
    expect(watched.plans()).not.toMatch(/"Node Type": "Seq Scan",[^{]*"Relation Name": "job/)
    // The order of the claim comes from the index: what is sorted is what was picked.
    for (const [, rows] of watched.plans().matchAll(/"Node Type": "Sort",[^{]*?"Actual Rows": (\d+)/g))
      expect(Number(rows)).toBeLessThanOrEqual(10)
  })
})

test('300,000 jobs that will expire: a look for those that have touches hardly more pages than with none', async () => {
  const look = async () => {
    expect(await lockExpired(watched.db, { limit: 1_000 })).toHaveLength(20)
    return watched.pages()
  }
  await makeSomeExpire(fixture.db, { rows: 20 })
  await look()
  const alone = await look()
  await makeUuidOf(fixture.owner, undefined)
  await fillExpiry(fixture.db, { rows: 300_000 })
  await look()
  expect(await look()).toBeLessThan(2 * alone)
})

test('a million scheduled jobs: a round of promotion touches hardly more pages than with none', async () => {
  const promote = async () => {
    await makeSomeDue(fixture.db, { rows: 20 })
    expect(await promoteDue(watched.db, { limit: 1_000, after: '-infinity' })).toMatchObject({ promoted: 20 })
    return watched.pages()
  }
  await promote()
  const alone = await promote()
  await makeUuidOf(fixture.owner, undefined)
  await fillDeferred(fixture.db, { rows: 1_000_000 })
  await promote()
  const full = await promote()
  expect(full).toBeLessThan(2 * alone)
})

const addReady = run<{ readonly tenantId: string; readonly rows: number }>(
  'test.add_ready',
  `insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
   select 2, $1, 1, 2, gen_random_uuid(), 1 from generate_series(1, $2::int)`,
  ({ tenantId, rows }) => [tenantId, rows],
)
const removeReady = run<{ readonly tenantId: string }>(
  'test.remove_ready',
  'delete from job_ready where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

test('200,000 dead rows that an old snapshot pins: the watermark leads a claim past them', async () => {
  const tenantId = newId()
  let now = 0
  const lanes: Lanes = createLanes(() => now)
  const claimOnce = async (take: number): Promise<number> => {
    await registerNode(fixture.db, nodeId)
    const grants = lanes.plan({ shared: take, reserved: 0, turn: 2 })
    const { jobs, answers } = await claimJobs(watched.db, { nodeId, maxRunMs: 60_000, grants })
    lanes.answered(grants, answers)
    now += 1_000
    return jobs.length
  }
  await fixture.db.transaction(async (tx) => {
    // The snapshot of this transaction stays open: whatever dies from here on stays in the way.
    await tx.execute({ name: '', text: 'set transaction isolation level repeatable read' }, [])
    await tx.execute({ name: '', text: 'select 1 from job_ready limit 1' }, [])
    await enqueue(tenantId, 20)
    lanes.hint([{ ...LANE, tenantId }])
    expect(await claimOnce(10)).toBe(10)
    expect(await claimOnce(10)).toBe(10)
    const alone = watched.pages()
    await addReady(fixture.db, { tenantId, rows: 200_000 })
    await removeReady(fixture.db, { tenantId })
    await enqueue(tenantId, 40)
    lanes.hint([{ ...LANE, tenantId }])
    expect(await claimOnce(10)).toBe(10)
    const through = watched.pages()
    expect(await claimOnce(10)).toBe(10)
    expect(await claimOnce(10)).toBe(10)
    const past = watched.pages()
    // The bug that the watermark is against is there: the first claim behind them walks them all.
    expect(through).toBeGreaterThan(10 * alone)
    expect(past).toBeLessThan(2 * alone)
  })
})

const killDeferred = run<undefined>('test.kill_deferred', 'delete from job_deferred', () => [])

test('200,000 dead promoted rows that an old snapshot pins: the next rounds begin behind them', async () => {
  const promote = createPromoter(
    watched.db,
    () => undefined,
    () => 0,
  )
  const pages = async () => {
    await makeSomeDue(fixture.db, { rows: 20 })
    await promote()
    return watched.pages()
  }
  await fixture.db.transaction(async (tx) => {
    await tx.execute({ name: '', text: 'set transaction isolation level repeatable read' }, [])
    await tx.execute({ name: '', text: 'select 1 from job_deferred limit 1' }, [])
    await pages()
    await makeUuidOf(fixture.owner, undefined)
    await addPassed(fixture.db, { rows: 200_000 })
    await killDeferred(fixture.db, undefined)
    const first = createPromoter(
      watched.db,
      () => undefined,
      () => 0,
    )
    await makeSomeDue(fixture.db, { rows: 20 })
    await first()
    const through = watched.pages()
    const past = await pages()
    // The bug that the mark is against is there: who begins at the beginning walks them all.
    expect(through).toBeGreaterThan(10 * past)
  })
})
