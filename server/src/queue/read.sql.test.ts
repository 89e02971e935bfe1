import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import {
  claimLane,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
} from '../../testing/queue-fixture.ts'
import { one, run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import { enqueueJobs } from './enqueue.ts'
import type { JobState, NewJob } from './job.ts'
import { findJob, type JobFilter, jobInput, listJobs } from './read.ts'
import { settleJobs } from './settle.ts'

let fixture: QueueFixture
let nodeId: string
beforeAll(async () => {
  fixture = await queueFixture()
  nodeId = await registerNode(fixture.db)
})
afterAll(() => fixture.drop())

const error = { class: 'http_5xx', message: '503' }

/** A workspace with one job in every state; the newest is the last. */
async function oneOfEach(): Promise<{ tenantId: string; ids: Record<JobState, string> }> {
  const tenantId = newId()
  const make = async (job: Partial<NewJob> = {}) => {
    const fresh = sampleJob({ tenantId, ...job })
    await enqueueJobs(fixture.db, [fresh])
    return fresh
  }
  const run = async (job: NewJob) => {
    const [claimed] = (await claimLane(fixture.claimDb, nodeId, job, 1)).jobs
    if (!claimed) throw new Error('nothing to claim')
    return claimed.job
  }
  const settle = async (
    outcome: Parameters<typeof settleJobs>[1][number]['outcome'],
    job: Partial<NewJob> = {},
  ) => {
    const fresh = await make(job)
    await settleJobs(fixture.claimDb, [{ job: await run(fresh), outcome }])
    return fresh.id
  }
  const done = await settle({ kind: 'done', result: { ok: 1 }, why: 'Done.' }, { connector: 'mail', lane: 2 })
  const dead = await settle(
    { kind: 'dead', reason: 'attempts_spent', error, why: 'Spent.' },
    { queue: 'webhook' },
  )
  const retrying = await settle({ kind: 'retry', delayMs: 60_000, error, why: '503' })
  const cancelled = await make()
  await cancelJob(fixture.db, { tenantId, id: cancelled.id, actor: 'ada' })
  const running = await make({ lane: 3 })
  await run(running)
  const scheduled = await make({ runAt: new Date(Date.now() + 60_000) })
  const queued = await make({ input: { hello: 'world' } })
  return {
    tenantId,
    ids: {
      done,
      dead,
      retrying,
      cancelled: cancelled.id,
      running: running.id,
      scheduled: scheduled.id,
      queued: queued.id,
    },
  }
}

const page = async (filter: JobFilter) => {
  const { jobs, next } = await listJobs(fixture.db, filter)
  return { ids: jobs.map(({ id }) => id), next }
}

describe('findJob', () => {
  test('names the state by where the job lives, with the times that belong to it', async () => {
    const { tenantId, ids } = await oneOfEach()
    for (const [state, id] of Object.entries(ids))
      expect((await findJob(fixture.db, { tenantId, id }))?.job.state).toBe(state)
    const view = async (state: JobState) => (await findJob(fixture.db, { tenantId, id: ids[state] }))?.job
    expect(await view('running')).toMatchObject({
      attempts: 1,
      startedAt: expect.any(Date),
      finishedAt: null,
    })
    expect(await view('retrying')).toMatchObject({ attempts: 1, runAt: expect.any(Date) })
    expect(await view('done')).toMatchObject({
      result: { ok: 1 },
      finishedAt: expect.any(Date),
      connector: 'mail',
    })
    expect(await view('dead')).toMatchObject({ deadReason: 'attempts_spent', queue: 'webhook' })
    expect(await view('queued')).toMatchObject({
      attempts: 0,
      idempotencyKey: `orch-${ids.queued}`,
      startedAt: null,
    })
    expect(await jobInput(fixture.db, { tenantId, id: ids.queued })).toEqual({
      input: { hello: 'world' },
      inputRef: null,
    })
  })

  test('another workspace sees nothing', async () => {
    const { ids } = await oneOfEach()
    const stranger = { tenantId: newId(), id: ids.done }
    expect(await findJob(fixture.db, stranger)).toBeUndefined()
    expect(await jobInput(fixture.db, stranger)).toBeUndefined()
    expect(await page({ tenantId: stranger.tenantId, limit: 10 })).toEqual({ ids: [], next: null })
  })
})

describe('listJobs', () => {
  test('newest first, page after page, without gap or repetition', async () => {
    const { tenantId, ids } = await oneOfEach()
    const newestFirst = Object.values(ids).toSorted().toReversed()
    const seen: string[] = []
    let before: string | undefined
    for (;;) {
      const { ids: some, next } = await page({ tenantId, limit: 3, before })
      seen.push(...some)
      if (next === null) break
      before = next
    }
    expect(seen).toEqual(newestFirst)
  })

  test('filters by state, connector and queue', async () => {
    const { tenantId, ids } = await oneOfEach()
    for (const [state, id] of Object.entries(ids) as [JobState, string][])
      expect(await page({ tenantId, state, limit: 10 })).toEqual({ ids: [id], next: null })
    expect((await page({ tenantId, connector: 'mail', limit: 10 })).ids).toEqual([ids.done])
    expect((await page({ tenantId, queue: 'webhook', limit: 10 })).ids).toEqual([ids.dead])
    expect((await page({ tenantId, queue: 'webhook', state: 'running', limit: 10 })).ids).toEqual([])
  })

  test('a rare match among many jobs costs a bounded look: the page may be short and says where to go on', async () => {
    const tenantId = newId()
    const rare = sampleJob({ tenantId, connector: 'rare' })
    await enqueueJobs(fixture.db, [rare])
    for (let batch = 0; batch < 3; batch += 1)
      await enqueueJobs(
        fixture.db,
        Array.from({ length: 1_000 }, () => sampleJob({ tenantId })),
      )
    const first = await page({ tenantId, connector: 'rare', limit: 10 })
    expect(first.ids).toEqual([])
    const second = await page({ tenantId, connector: 'rare', limit: 10, before: first.next ?? '' })
    expect(second).toEqual({ ids: [rare.id], next: null })
  })

  test('reads a page through the key, from the newest partition on', async () => {
    const tenantId = newId()
    for (let batch = 0; batch < 3; batch += 1)
      await enqueueJobs(
        fixture.db,
        Array.from({ length: 1_000 }, () => sampleJob({ tenantId })),
      )
    await analyzeToday(fixture.owner, undefined)
    const plan = JSON.stringify(await explainList(tenantId)(fixture.db, undefined))
    expect(plan).not.toMatch(/"Node Type": ?"(Sort|Merge Append|Seq Scan)"/)
    expect(plan).toMatch(/"Scan Direction": ?"Backward"/)
  })
})

const analyzeToday = run<undefined>(
  'test.analyze_today',
  `do $$ begin execute 'analyze job_' || to_char(now() at time zone 'UTC', 'YYYYMMDD'); end $$`,
  () => [],
)

/** The source of `listHistory`; its order must come from the indexes of the partitions. */
const explainList = (tenantId: string) =>
  one<undefined, Record<string, unknown>>(
    'test.explain_list',
    `explain (format json) select id from job
     where tenant_id = '${tenantId}' and id < 'ffffffff-ffff-ffff-ffff-ffffffffffff'
     order by id desc limit 50`,
    () => [],
  )
