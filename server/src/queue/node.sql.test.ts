import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { capturedLog } from '../../testing/captured-log.ts'
import { manualClock } from '../../testing/manual-clock.ts'
import {
  claimLane,
  clearQueue,
  hashOf,
  makeDue,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  silence,
  whereIs,
} from '../../testing/queue-fixture.ts'
import type { Db } from '../platform/db/db.ts'
import { many, one, type Queryable, run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { createMetrics } from '../platform/metrics.ts'
import { cancelJob } from './cancel.ts'
import { enqueueJobs } from './enqueue.ts'
import { createHeart } from './heart.ts'
import { lead, removeExpiredKeys } from './housekeeping.sql.ts'
import { createHousekeeping } from './housekeeping.ts'
import type { ClaimedJob, LaneKey } from './job.ts'
import { removeDeadNodes } from './node.sql.ts'
import { createPromoter } from './promote.ts'
import { queueMetrics } from './queue-metrics.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'
import { settleJobs } from './settle.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
beforeEach(() => clearQueue(fixture.owner, undefined))
afterAll(() => fixture.drop())

const done = { kind: 'done', result: null, why: 'Done.' } as const
const nodesOf = many<undefined, { readonly node_id: string; readonly oldest_lease: number }>(
  'test.nodes',
  'select node_id, oldest_lease from node order by node_id',
  () => [],
)
const age = run<{ readonly nodeId: string }>(
  'test.age_runs',
  `update job_run set started_at = started_at - interval '1 minute' where node_id = $1`,
  ({ nodeId }) => [nodeId],
)

const loseJob = run<{ readonly id: string }>(
  'test.lose_job',
  'delete from job_ready where job_id = $1',
  ({ id }) => [id],
)

async function enqueue(count = 1) {
  const tenantId = newId()
  const jobs = Array.from({ length: count }, () => sampleJob({ tenantId }))
  await enqueueJobs(fixture.db, jobs)
  return jobs
}

/** A heart whose node claims by hand. */
function heartOf(nodeId: string) {
  const held = new Set<number>()
  const cancels: number[] = []
  const state = { claiming: false, failedClaims: 0 }
  const clock = manualClock()
  const heart = createHeart({
    db: fixture.db,
    nodeId,
    host: 'test',
    capacity: 10,
    clock,
    held: () => [...held],
    claiming: () => state.claiming,
    failedClaims: () => state.failedClaims,
    cancel: (lease) => cancels.push(lease),
  })
  const bound = async () =>
    (await nodesOf(fixture.db, undefined)).find(({ node_id }) => node_id === nodeId)?.oldest_lease
  return { heart, held, cancels, state, clock, bound }
}

async function claimOne(nodeId: string): Promise<ClaimedJob> {
  const [job] = await enqueue()
  const claim = job && (await claimLane(fixture.claimDb, nodeId, job, 1))
  const [first] = claim?.jobs ?? []
  if (!first) throw new Error('nothing to claim')
  return first.job
}

describe('heart', () => {
  test('registers the node, keeps its lower bound of leases true, and lets it rise', async () => {
    const nodeId = newId()
    const { heart, held, state, bound } = heartOf(nodeId)
    await heart.beat()
    const first = await claimOne(nodeId)
    held.add(first.leaseId)
    const second = await claimOne(nodeId)
    held.add(second.leaseId)
    await heart.beat()
    expect(await bound()).toBeLessThanOrEqual(first.leaseId)

    await settleJobs(fixture.claimDb, [{ job: first, outcome: done }])
    held.delete(first.leaseId)
    await heart.beat()
    expect(await bound()).toBe(second.leaseId)

    // A claim whose answer is still on its way has drawn a number that nobody here knows.
    held.delete(second.leaseId)
    state.claiming = true
    const unheard = await claimOne(nodeId)
    await heart.beat()
    await heart.beat()
    expect(await bound()).toBeLessThanOrEqual(unheard.leaseId)
  })

  test('a lease whose claim answer was lost counts under caps until it is given back', async () => {
    const nodeId = newId()
    const { heart, state, clock, bound } = heartOf(nodeId)
    const beats = async (times: number) => {
      for (let beat = 0; beat < times; beat += 1) await heart.beat()
    }
    await beats(1)
    const unheard = await claimOne(nodeId)
    state.failedClaims += 1
    await beats(6)
    expect(await bound()).toBeLessThanOrEqual(unheard.leaseId)
    await age(fixture.db, { nodeId })
    await clock.advance(11_000)
    await beats(3)
    expect(await whereIs(fixture.db, unheard)).toMatchObject({ ready: 1, run: 0 })
    await beats(2)
    expect(await bound()).toBeGreaterThan(unheard.leaseId)
  })

  test('brings cancel requests of its own jobs', async () => {
    const [mine, other] = [newId(), newId()]
    const { heart, held, cancels } = heartOf(mine)
    await heart.beat()
    await registerNode(fixture.db, other)
    const jobs = [await claimOne(mine), await claimOne(other)]
    for (const { leaseId } of jobs) held.add(leaseId)
    for (const { tenantId, id } of jobs) await cancelJob(fixture.db, { tenantId, id, actor: 'ada' })
    await heart.beat()
    expect(cancels).toEqual([jobs[0]?.leaseId])
  })

  test('gives back leases whose claim answer was lost, unspent, and no others', async () => {
    const nodeId = newId()
    const { heart, held } = heartOf(nodeId)
    await heart.beat()
    const [known, unknown] = [await claimOne(nodeId), await claimOne(nodeId)]
    held.add(known.leaseId)
    await age(fixture.db, { nodeId })
    const fresh = await claimOne(nodeId)
    await heart.beat()
    await heart.beat()
    expect(await whereIs(fixture.db, unknown)).toMatchObject({ ready: 1, run: 0 })
    for (const job of [known, fresh]) expect(await whereIs(fixture.db, job)).toMatchObject({ run: 1 })
    const again = await claimLane(fixture.claimDb, nodeId, unknown, 1)
    expect(again.jobs[0]?.job.attempt).toBe(1)
  })

  test('a lease whose claim answer was lost ends as cancelled when that was requested, long before its deadline', async () => {
    const nodeId = newId()
    const { heart, held } = heartOf(nodeId)
    await heart.beat()
    const [known, unknown] = [await claimOne(nodeId), await claimOne(nodeId)]
    held.add(known.leaseId)
    for (const { tenantId, id } of [known, unknown])
      expect(await cancelJob(fixture.db, { tenantId, id, actor: 'ada' })).toMatchObject({
        state: 'cancelling',
      })
    await age(fixture.db, { nodeId })
    const rescued = () => rescue(fixture.db, { limits: RESCUE_LIMITS, log: fixture.platform.log })
    await heart.beat()
    expect(await rescued()).toMatchObject({ cancelled: 0 })
    await heart.beat()
    expect(await rescued()).toMatchObject({ retried: 0, dead: 0, cancelled: 1 })
    expect(await whereIs(fixture.db, unknown)).toMatchObject({ state: 'cancelled', run: 0, ready: 0 })
    expect(await whereIs(fixture.db, known)).toMatchObject({ run: 1 })
  })
})

describe('promotion', () => {
  test('moves what is due, the longest due first, in batches, and knows when the next one is due', async () => {
    const tenantId = newId()
    const at = (ms: number) => new Date(Date.now() + 60_000 + ms)
    const jobs = [30, 10, 20].map((ms) => sampleJob({ tenantId, runAt: at(ms) }))
    await enqueueJobs(fixture.db, jobs)
    const promoted: [number, readonly LaneKey[]][] = []
    let now = 0
    const promote = createPromoter(
      fixture.claimDb,
      (count, lanes) => promoted.push([count, lanes]),
      () => now,
    )
    expect(await promote()).toBe(250)
    expect(promoted).toEqual([])

    // Due for a minute, as if it had been committed that late: it is found by the look back.
    await hurry(fixture.db, undefined)
    await promote()
    expect(promoted).toEqual([])
    now = 1_000
    await enqueueJobs(fixture.db, [sampleJob({ tenantId, runAt: new Date(Date.now() + 3_600_000) })])
    expect(await promote()).toBe(250)
    expect(promoted).toEqual([[3, [{ queue: 'default', tenantId, lane: 1 }]]])
    const nodeId = await registerNode(fixture.db)
    const claim = await claimLane(fixture.claimDb, nodeId, { queue: 'default', tenantId, lane: 1 })
    expect(claim.jobs.map(({ job }) => job.id)).toEqual([jobs[1]?.id, jobs[2]?.id, jobs[0]?.id])
  })

  test('a look back that took long is followed by a long rest', async () => {
    const tenantId = newId()
    let now = 0
    let tookMs = 0
    let found = 0
    const slow: Queryable = {
      execute: (statement, values) => {
        now += tookMs
        return fixture.claimDb.execute(statement, values)
      },
    }
    const promote = createPromoter(
      slow,
      (count) => {
        found += count
      },
      () => now,
    )
    await promote()
    now = 1_000
    tookMs = 500
    await promote()
    tookMs = 0
    await enqueueJobs(fixture.db, [sampleJob({ tenantId, runAt: new Date(Date.now() + 60_000) })])
    await hurry(fixture.db, undefined)
    now = 1_500 + 4_499
    await promote()
    expect(found).toBe(0)
    now += 1
    await promote()
    expect(found).toBe(1)
  })

  test('several promoters at once move every job once', async () => {
    const tenantId = newId()
    const later = new Date(Date.now() + 60_000)
    await enqueueJobs(
      fixture.db,
      Array.from({ length: 300 }, () => sampleJob({ tenantId, runAt: later })),
    )
    await makeDue(fixture.db, { tenantId })
    let promoted = 0
    const promoter = () =>
      createPromoter(
        fixture.claimDb,
        (count) => {
          promoted += count
        },
        () => 0,
      )()
    await Promise.all([promoter(), promoter(), promoter(), promoter()])
    expect(promoted).toBe(300)
    expect((await readyCount(fixture.db, { tenantId })).ready).toBe(300)
  })
})

describe('housekeeping', () => {
  test('one node leads; another follows when the lead has run out, in a later term', async () => {
    const [first, second] = [newId(), newId()]
    const name = newId()
    expect(await lead(fixture.db, { name, owner: first, ttlMs: 60_000 })).toEqual({ term: 1 })
    expect(await lead(fixture.db, { name, owner: second, ttlMs: 60_000 })).toBeUndefined()
    expect(await lead(fixture.db, { name, owner: first, ttlMs: -1 })).toEqual({ term: 1 })
    expect(await lead(fixture.db, { name, owner: second, ttlMs: 60_000 })).toEqual({ term: 2 })
    expect(await lead(fixture.db, { name, owner: first, ttlMs: 60_000 })).toBeUndefined()
  })

  test('frees expired keys, but not the key of a job that has not ended, or ended in the last 30 days', async () => {
    const tenantId = newId()
    const keyed = (key: string) => sampleJob({ tenantId, dedupe: { key, requestHash: hashOf('r') } })
    const [ended, late, waiting, young] = [keyed('ended'), keyed('late'), keyed('waiting'), keyed('young')]
    await enqueueJobs(fixture.db, [ended, late, waiting, young])
    for (const { id } of [ended, late, young]) await cancelJob(fixture.db, { tenantId, id, actor: 'ada' })
    await expire(fixture.db, { tenantId })
    await endedLongAgo(fixture.db, { tenantId, id: ended.id })
    expect(await removeExpiredKeys(fixture.db, { limit: 10 })).toBe(1)
    const [replay] = await enqueueJobs(fixture.db, [keyed('waiting')])
    expect((await enqueueJobs(fixture.db, [keyed('late')]))[0]?.replayed).toBe(true)
    const [fresh] = await enqueueJobs(fixture.db, [keyed('ended')])
    expect([replay?.replayed, fresh?.replayed]).toEqual([true, false])
  })

  test('forgets nodes that are long dead, unless they still hold a job', async () => {
    const [empty, holding, alive] = [newId(), newId(), newId()]
    for (const nodeId of [empty, holding, alive]) await registerNode(fixture.db, nodeId)
    await claimOne(holding)
    for (const nodeId of [empty, holding]) await silence(fixture.db, { nodeId })
    await removeDeadNodes(fixture.db, undefined)
    const left = (await nodesOf(fixture.db, undefined)).map(({ node_id }) => node_id)
    expect(left.toSorted()).toEqual([holding, alive].toSorted())
  })

  test('samples depths as leader, makes missing partitions, and shows nothing once another leads', async () => {
    const metrics = queueMetrics(fixture.platform.metrics)
    const owner = newId()
    const { log } = fixture.platform
    const revived: LaneKey[] = []
    const housekeeping = createHousekeeping({
      db: fixture.db,
      owner,
      metrics,
      log,
      now: () => 0,
      revived: (lanes) => revived.push(...lanes),
    })
    const [lost] = await enqueue(4)
    await loseJob(fixture.db, { id: lost?.id ?? '' })
    await dropLastPartition(fixture.owner, undefined)
    await housekeeping.round()
    const ready = async () =>
      (await metrics.ready.get()).values.find(({ labels }) => labels.queue === 'default')?.value
    expect(await ready()).toBe(3)
    // What was lost is found in the hourly part.
    expect(revived).toMatchObject([{ tenantId: lost?.tenantId }])
    expect((await lastPartition(fixture.db, undefined)).there).toBe(true)
    const next = createHousekeeping({
      db: fixture.db,
      owner: newId(),
      metrics: queueMetrics(createMetrics('next', false)),
      log,
      now: () => 0,
      revived: () => undefined,
    })
    const leads = async () => {
      await next.round()
      return (await leaderIs(fixture.db, undefined)).owner !== owner
    }
    expect(await leads()).toBe(false)
    await housekeeping.resign()
    expect(await leads()).toBe(true)
    await next.resign()
    await usurp(fixture.db, undefined)
    await housekeeping.round()
    expect(await ready()).toBeUndefined()
  })

  test('makes partitions, removes what is old and mends, also when nothing can be measured', async () => {
    const unmeasurable: Db = {
      ...fixture.db,
      execute: (statement, values) =>
        statement.name.startsWith('queue.depth')
          ? Promise.reject(Object.assign(new Error('too slow'), { code: '57014' }))
          : fixture.db.execute(statement, values),
    }
    await yieldLead(fixture.db, undefined)
    const dead = await registerNode(fixture.db)
    await silence(fixture.db, { nodeId: dead })
    const [lost] = await enqueue()
    await loseJob(fixture.db, { id: lost?.id ?? '' })
    await dropLastPartition(fixture.owner, undefined)
    const { log, text } = capturedLog()
    const revived: LaneKey[] = []
    await createHousekeeping({
      db: unmeasurable,
      owner: newId(),
      metrics: queueMetrics(createMetrics('unmeasurable', false)),
      log,
      now: () => 0,
      revived: (lanes) => revived.push(...lanes),
    }).round()
    expect((await lastPartition(fixture.db, undefined)).there).toBe(true)
    expect((await nodesOf(fixture.db, undefined)).map(({ node_id }) => node_id)).not.toContain(dead)
    expect(revived).toMatchObject([{ tenantId: lost?.tenantId }])
    expect(text()).toContain('a part of the housekeeping failed')
  })
})

const hurry = run<undefined>(
  'test.hurry',
  `update job_deferred set run_at = run_at - interval '2 minutes'`,
  () => [],
)
const expire = run<{ readonly tenantId: string }>(
  'test.expire',
  `update idem set expires_at = now() - interval '1 day' where tenant_id = $1 and key <> 'young'`,
  ({ tenantId }) => [tenantId],
)
const endedLongAgo = run<{ readonly tenantId: string; readonly id: string }>(
  'test.ended_long_ago',
  `update job set finished_at = now() - interval '31 days' where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)
const readyCount = one<{ readonly tenantId: string }, { readonly ready: number }>(
  'test.ready_count',
  'select count(*) as ready from job_ready where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)
const LAST = `'job_' || to_char((now() at time zone 'UTC')::date + 7, 'YYYYMMDD')`
const dropLastPartition = run<undefined>(
  'test.drop_last_partition',
  `do $$ begin execute 'drop table ' || ${LAST}; end $$`,
  () => [],
)
const lastPartition = one<undefined, { readonly there: boolean }>(
  'test.last_partition',
  `select to_regclass(${LAST}) is not null as there`,
  () => [],
)
const leaderIs = one<undefined, { readonly owner: string }>(
  'test.leader_is',
  `select owner from leader where name = 'queue_housekeeping'`,
  () => [],
)
const yieldLead = run<undefined>('test.yield_lead', 'delete from leader', () => [])
const usurp = run<undefined>(
  'test.usurp',
  `update leader set owner = gen_random_uuid(), expires_at = now() + interval '1 hour'`,
  () => [],
)
