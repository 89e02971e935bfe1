import { Client } from 'pg'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { setLaneCap, setTenantCap } from '../../testing/queue-caps.ts'
import {
  claimLane,
  eventsOf,
  laneOfJob,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  silence,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { many, run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import { claimJobs, createDiscovery } from './claim.ts'
import { enqueueJobs } from './enqueue.ts'
import { type NewJob, type Priority, QUEUES } from './job.ts'
import { blockLane } from './lane-policy.ts'
import { pauseLane, pauseQueue, pauseTenant, resumeLane, resumeQueue, resumeTenant } from './pause.ts'
import { QUEUE_SESSION } from './queue.ts'
import { settleJobs } from './settle.ts'

let fixture: QueueFixture
let nodeId: string
beforeAll(async () => {
  fixture = await queueFixture(12)
  nodeId = await registerNode(fixture.db)
})
afterAll(() => fixture.drop())

const enqueue = async (count: number, job: Partial<NewJob> & { readonly tenantId: string }) => {
  const jobs = Array.from({ length: count }, () => sampleJob(job))
  await enqueueJobs(fixture.db, jobs)
  return jobs
}
const verdictOf = (claim: { readonly answers: readonly { readonly verdict: string }[] }) =>
  claim.answers.map(({ verdict }) => verdict)
const done = { kind: 'done', result: null, why: 'Done.' } as const

describe('claimJobs', () => {
  test('gives jobs by priority, then in the order in which they became ready', async () => {
    const tenantId = newId()
    const order: Priority[] = [3, 2, 1, 2, 4, 1]
    const jobs = order.map((priority) => sampleJob({ tenantId, priority, input: { priority } }))
    await enqueueJobs(fixture.db, jobs)
    const lane = laneOfJob(sampleJob({ tenantId }))
    const claim = await claimLane(fixture.claimDb, nodeId, lane, 5)
    const expected = [jobs[2], jobs[5], jobs[1], jobs[3], jobs[0]].map((job) => job?.id)
    expect(claim.jobs.map(({ job }) => job.id)).toEqual(expected)
    expect(verdictOf(claim)).toEqual(['more'])
    const rest = await claimLane(fixture.claimDb, nodeId, lane, 5)
    expect(rest.jobs.map(({ job }) => job.id)).toEqual([jobs[4]?.id])
    expect(verdictOf(rest)).toEqual(['drained'])
  })

  test('hands out everything that was enqueued, with a lease that only rises', async () => {
    const tenantId = newId()
    const [job] = await enqueue(1, {
      tenantId,
      queue: 'critical',
      metadata: { order: 7 },
      completion: { callback: { connector: 'shop' } },
      idempotencyKey: 'up-1',
      inboxId: newId(),
      input: { text: 'nul \0' },
      inputRef: { kind: 'elsewhere', at: 7 },
    })
    const later = await enqueue(1, { tenantId, queue: 'critical' })
    if (!job) throw new Error('no job')
    const { jobs } = await claimLane(fixture.claimDb, nodeId, job, 2)
    expect(jobs[0]).toEqual({
      waitedMs: expect.any(Number),
      expiresInMs: null,
      job: {
        id: job.id,
        tenantId,
        queue: 'critical',
        lane: 1,
        connector: 'crm',
        operation: 'contact.create',
        input: { text: 'nul \0' },
        inputRef: { kind: 'elsewhere', at: 7 },
        metadata: { order: 7 },
        completion: { callback: { connector: 'shop' } },
        attempt: 1,
        leaseId: expect.any(Number),
        idempotencyKey: 'up-1',
        inboxId: job.inboxId,
        createdBy: 'svc:tests',
        createdAt: expect.any(Date),
        call: job.call,
      },
    })
    expect(jobs[1]?.job.idempotencyKey).toBe(`orch-${later[0]?.id}`)
    expect(jobs[1]?.job.leaseId).toBeGreaterThan(jobs[0]?.job.leaseId ?? Infinity)
  })

  test('serves several lanes in one round trip and says of each what it found', async () => {
    const [full, few] = [newId(), newId()]
    await enqueue(5, { tenantId: full })
    await enqueue(1, { tenantId: few, queue: 'low', lane: 9 })
    const claim = await claimJobs(fixture.claimDb, {
      nodeId,
      maxRunMs: 1_000,
      grants: [
        { queue: 'default', tenantId: full, lane: 1, take: 3, low: [0, 0, 0, 0] },
        { queue: 'low', tenantId: few, lane: 9, take: 3, low: [0, 0, 0, 0] },
        { queue: 'low', tenantId: newId(), lane: 1, take: 3, low: [0, 0, 0, 0] },
      ],
    })
    expect(claim.answers.map(({ verdict, taken }) => [verdict, taken])).toEqual([
      ['more', 3],
      ['drained', 1],
      ['drained', 0],
    ])
  })

  test('starts behind the watermark', async () => {
    const tenantId = newId()
    const jobs = await enqueue(4, { tenantId })
    const lane = laneOfJob(sampleJob({ tenantId }))
    const first = await claimLane(fixture.claimDb, nodeId, lane, 2)
    const low = first.answers[0]?.last.map((seq) => (seq ?? 0) + 1) ?? []
    const grants = [{ ...lane, take: 5, low }]
    const next = await claimJobs(fixture.claimDb, { nodeId, maxRunMs: 1_000, grants })
    expect(next.jobs.map(({ job }) => job.id)).toEqual([jobs[3]?.id])
    // The discovery scan finds what the watermark skipped.
    const found = (await createDiscovery(fixture.claimDb)()).find((each) => each.tenantId === tenantId)
    expect(found).toMatchObject({ ...lane, priority: 2, seq: low[1], weight: 1 })
  })

  test('a node that the others may think dead gets nothing', async () => {
    const tenantId = newId()
    const [job] = await enqueue(1, { tenantId })
    if (!job) throw new Error('no job')
    const silent = await registerNode(fixture.db)
    await silence(fixture.db, { nodeId: silent })
    for (const who of [silent, newId()])
      expect(await claimLane(fixture.claimDb, who, job)).toEqual({ registered: false, jobs: [], answers: [] })
    expect(await whereIs(fixture.db, { tenantId, id: job.id })).toMatchObject({ ready: 1, run: 0 })
  })

  test('drops jobs that were cancelled while they waited, and takes the next ones', async () => {
    const tenantId = newId()
    const [first, second] = await enqueue(2, { tenantId })
    if (!first || !second) throw new Error('no jobs')
    await cancelJob(fixture.db, { tenantId, id: first.id, actor: 'ada' })
    const claim = await claimLane(fixture.claimDb, nodeId, first)
    expect(claim.jobs.map(({ job }) => job.id)).toEqual([second.id])
    expect(await whereIs(fixture.db, { tenantId, id: first.id })).toMatchObject({
      state: 'cancelled',
      ready: 0,
    })
  })

  const by = { connector: 'crm', jobId: newId(), requestId: 'r', correlationId: 'c', traceId: 't' }

  test('skips paused and blocked lanes: nothing moves and no attempt is spent', async () => {
    const tenantId = newId()
    const [job] = await enqueue(1, { tenantId })
    if (!job) throw new Error('no job')
    const look = async () => {
      const claim = await claimLane(fixture.claimDb, nodeId, job, 1)
      const discovered = await createDiscovery(fixture.claimDb)()
      return { claim, discovered: discovered.some((lane) => lane.tenantId === tenantId) }
    }
    const pause = { tenantId, lane: 1, queue: QUEUES.default, actor: 'op', why: 'a test' }
    await pauseLane(fixture.db, pause)
    const paused = await look()
    expect([verdictOf(paused.claim), paused.discovered]).toEqual([['paused'], false])
    await resumeLane(fixture.db, pause)

    await pauseTenant(fixture.db, pause)
    expect(verdictOf((await look()).claim)).toEqual(['paused'])
    await resumeTenant(fixture.db, pause)

    await pauseQueue(fixture.db, { ...pause, queue: QUEUES.low })
    const stillOpen = await createDiscovery(fixture.claimDb)()
    expect(stillOpen.some((lane) => lane.tenantId === tenantId)).toBe(true)
    await pauseQueue(fixture.db, pause)
    const shut = await look()
    expect([verdictOf(shut.claim), shut.discovered]).toEqual([['paused'], false])
    await resumeQueue(fixture.db, pause)

    await blockLane(fixture.db, {
      tenantId,
      lane: 1,
      forMs: 60_000,
      reason: 'retry_after',
      why: 'Retry-After',
      by,
    })
    // A shorter block does not end a longer one early.
    await blockLane(fixture.db, {
      tenantId,
      lane: 1,
      forMs: 1,
      reason: 'retry_after',
      why: 'Retry-After',
      by,
    })
    const blocked = await look()
    expect([verdictOf(blocked.claim), blocked.discovered]).toEqual([['blocked'], false])
    expect(blocked.claim.answers[0]?.wait_ms).toBeGreaterThan(50_000)
    expect(await eventsOf(fixture.db, { id: job.id })).toHaveLength(1)
    expect(await whereIs(fixture.db, { tenantId, id: job.id })).toMatchObject({ ready: 1 })
  })

  test('the lane cap counts all queues of the connector', async () => {
    const tenantId = newId()
    await setLaneCap(fixture.db, { tenantId, lane: 1, maxRunning: 3 })
    await enqueue(5, { tenantId })
    await enqueue(5, { tenantId, queue: 'critical' })
    await enqueue(2, { tenantId, lane: 2 })
    const claim = (queue: 'default' | 'critical', lane = 1) =>
      claimLane(fixture.claimDb, nodeId, { queue, tenantId, lane }, 2)
    const [first, second, third, other] = [
      await claim('default'),
      await claim('critical'),
      await claim('default'),
      await claim('default', 2),
    ]
    expect([first, second, third, other].map(({ jobs }) => jobs.length)).toEqual([2, 1, 0, 2])
    expect([first, second, third, other].flatMap(verdictOf)).toEqual(['more', 'capped', 'capped', 'more'])
  })

  test('8 claimers at once: every job once, caps never exceeded', async () => {
    const tenantId = newId()
    const caps = { tenant: 7, lane: 5 }
    await setTenantCap(fixture.db, { tenantId, maxRunning: caps.tenant })
    await setLaneCap(fixture.db, { tenantId, lane: 1, maxRunning: caps.lane })
    const jobs = [...(await enqueue(150, { tenantId })), ...(await enqueue(100, { tenantId, lane: 2 }))]
    const lanes = [1, 2].map((lane) => ({ queue: 'default' as const, tenantId, lane }))

    const claimed: string[] = []
    const over: string[] = []
    const watch = async () => {
      for (const { lane, running } of await runningPerLane(fixture.db, { tenantId })) {
        if (running > (lane === null ? caps.tenant : caps.lane) && lane !== 2)
          over.push(`${lane}: ${running}`)
      }
    }
    const claimer = async () => {
      const node = await registerNode(fixture.db)
      while (claimed.length < jobs.length) {
        const grants = lanes.map((lane) => ({ ...lane, take: 4, low: [0, 0, 0, 0] }))
        const claim = await claimJobs(fixture.claimDb, { nodeId: node, maxRunMs: 60_000, grants })
        claimed.push(...claim.jobs.map(({ job }) => job.id))
        await watch()
        if (claim.jobs.length > 0)
          await settleJobs(
            fixture.claimDb,
            claim.jobs.map(({ job }) => ({ job, outcome: done })),
          )
      }
    }
    await Promise.all(Array.from({ length: 8 }, claimer))
    expect(over).toEqual([])
    expect(claimed.toSorted()).toEqual(jobs.map(({ id }) => id).toSorted())
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('a tenant that another claim holds is contended, its neighbours are served', async () => {
    const [held, free] = [newId(), newId()]
    await enqueue(1, { tenantId: held })
    await enqueue(1, { tenantId: free })
    const claim = await fixture.db.transaction(async (tx) => {
      await claimJobs(tx, {
        nodeId,
        maxRunMs: 1_000,
        grants: [{ ...laneOfJob(sampleJob({ tenantId: held })), take: 0, low: [0, 0, 0, 0] }],
      })
      return claimJobs(fixture.claimDb, {
        nodeId,
        maxRunMs: 1_000,
        grants: [held, free].map((tenantId) => ({
          ...laneOfJob(sampleJob({ tenantId })),
          take: 1,
          low: [0, 0, 0, 0],
        })),
      })
    })
    expect(verdictOf(claim)).toEqual(['contended', 'more'])
    expect(claim.jobs.map(({ job }) => job.tenantId)).toEqual([free])
  })
})

test('discovery finds every lane once, page after page, and starts again', async () => {
  const tenants = [newId(), newId(), newId()]
  for (const tenantId of tenants) await enqueue(3, { tenantId, queue: 'low', lane: 4 })
  const discover = createDiscovery(fixture.claimDb, 2)
  const sightings = new Map(tenants.map((tenantId) => [tenantId, 0]))
  // Two rounds through all lanes, in pages of two.
  for (let page = 0; page < 100 && Math.min(...sightings.values()) < 2; page += 1)
    for (const { tenantId } of await discover()) {
      const seen = sightings.get(tenantId)
      if (seen !== undefined) sightings.set(tenantId, seen + 1)
    }
  expect([...sightings.values()].every((seen) => seen === 2 || seen === 3)).toBe(true)
})

const runningPerLane = many<
  { readonly tenantId: string },
  { readonly lane: number | null; readonly running: number }
>(
  'test.running_per_lane',
  `select lane, count(*)::int as running from job_run where tenant_id = $1 group by grouping sets ((lane), ())`,
  ({ tenantId }) => [tenantId],
)

const fillBacklog = run<{ readonly rows: number; readonly tenants: number }>(
  'test.fill_backlog',
  `with t as (select n, gen_random_uuid() as id from generate_series(1, $2::int) as n)
   insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
   select 2, t.id, 1 + s % 5, 1 + s % 4, gen_random_uuid(), 1
   from generate_series(1, $1::int) as s join t on t.n = 1 + s % $2::int`,
  ({ rows, tenants }) => [rows, tenants],
)

/** Every node of the plans that Postgres really used inside the statement, with the rows it looked at. */
async function explained(client: Client, query: { text: string; values: unknown[] }): Promise<string> {
  const plans: string[] = []
  client.on('notice', ({ message }) => plans.push(message ?? ''))
  await client.query(`load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_analyze = on;
    set auto_explain.log_nested_statements = on; set client_min_messages = log; set role orchestrator_service`)
  await client.query(query)
  return plans.join('\n')
}

test('plans at a backlog of 200,000 rows: no sequential scan, no sort of the backlog, few buffers', async () => {
  const tenantId = newId()
  await fillBacklog(fixture.db, { rows: 200_000, tenants: 40 })
  await enqueue(20, { tenantId })
  const url = new URL(inject('postgres').adminUrl)
  url.pathname = new URL(fixture.url).pathname
  const client = new Client({
    connectionString: url.href,
    options: Object.entries(QUEUE_SESSION)
      .map(([key, value]) => `-c ${key}=${value}`)
      .join(' '),
  })
  await client.connect()
  try {
    const lanes = JSON.stringify([
      { ord: 0, queue: 2, tenant_id: tenantId, lane: 1, take: 10, low: [0, 0, 0, 0] },
    ])
    const plan = await explained(client, {
      text: 'select claim_jobs($1, $2, $3::json, 1000)',
      values: [nodeId, [tenantId], lanes],
    })
    expect(plan).toMatch(/Index Scan using job_ready_pkey on job_ready/)
    expect(plan).toMatch(/Tid Scan on job_ready/)
    expect(plan).not.toMatch(/Seq Scan on job/)
    // Partitions are found by their whole key: half of it would walk a day of the tenant.
    expect(plan).not.toMatch(/Filter: \(\(?tenant_id/)
    // The only sorts are of the few rows that were picked.
    for (const [, rows] of plan.matchAll(/Sort .*rows=(\d+)(?:\.\d+)? loops/g))
      expect(Number(rows)).toBeLessThanOrEqual(20)
    for (const [, rows] of plan.matchAll(/on job_ready.*actual time=\S+ rows=(\d+)/g))
      expect(Number(rows)).toBeLessThanOrEqual(10)
  } finally {
    await client.end()
  }
})
