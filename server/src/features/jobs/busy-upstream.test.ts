import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { testPlatform } from '../../../testing/database.ts'
import { claimLane, clearQueue, registerNode, sampleJob, whereIs } from '../../../testing/queue-fixture.ts'
import { json } from '../../../testing/upstream.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { ClaimedJob, NewJob, Outcome } from '../../queue/job.ts'
import { settleJobs } from '../../queue/settle.ts'
import { createJobHandler, type JobHandlerDeps } from './jobs.worker.ts'

let hub: CallingHub
let nodeId: string

const operations = { get: { method: 'GET', path: '/' }, mail: { method: 'POST', path: '/mails' } }

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const settings = { base_url: hub.upstream.url, operations }
  await hub.configure({
    policies: { default: { job_retry: { schedule_ms: [0, 5_000] } } },
    connectors: { api: { kind: 'http', settings } },
  })
})
beforeEach(async () => {
  nodeId = await registerNode(hub.database.db)
})
afterEach(async () => {
  await clearQueue(hub.database.db, undefined)
  await hub.query('truncate lane_policy, event')
})
afterAll(() => hub.close())

async function enqueue(operation = 'get'): Promise<NewJob> {
  const job = sampleJob({ tenantId: hub.tenantId, connector: 'api', operation, input: {} })
  await enqueueJobs(hub.database.db, [job])
  return job
}

const claim = async (job: NewJob) => claimLane(hub.database.claimDb, nodeId, job, 1)

async function claimed(job: NewJob): Promise<ClaimedJob> {
  const found = (await claim(job)).jobs[0]?.job
  if (!found) throw new Error('nothing was claimed')
  return found
}

const attempt = (job: ClaimedJob, platform: Partial<JobHandlerDeps['platform']> = {}): Promise<Outcome> =>
  createJobHandler({
    ...hub,
    platform: { ...hub.database.platform, random: () => 0.5, ...platform },
  })(job, new AbortController().signal)

const blocks = () =>
  hub.query<{ message: string; job_id: string; connector: string }>(
    `select message, job_id, connector from event where type = 'lane.blocked'`,
  )

describe('an upstream that asks for time', () => {
  test('gets it from the whole lane: the job waits unspent, the others are not started', async () => {
    const first = await enqueue()
    const second = await enqueue()
    hub.upstream.reset(json(429, {}, { 'retry-after': '30' }))
    const job = await claimed(first)
    const outcome = await attempt(job)
    expect(outcome).toEqual({
      kind: 'snooze',
      delayMs: 30_000,
      why: 'HTTP 429: Retry-After 30 s honoured, no attempt spent.',
    })
    await settleJobs(hub.database.claimDb, [{ job, outcome }])

    const next = await claim(second)
    expect(next.jobs).toEqual([])
    expect(next.answers[0]).toMatchObject({ verdict: 'blocked' })
    expect(next.answers[0]?.wait_ms).toBeGreaterThan(25_000)
    expect(await whereIs(hub.database.db, second)).toMatchObject({ ready: 1 })
    expect(await hub.query('select attempt, cause from job_deferred')).toEqual([
      { attempt: 1, cause: 'snooze' },
    ])
    expect(await blocks()).toEqual([
      {
        message: 'HTTP 429: Retry-After 30 s honoured; jobs of api wait without spending attempts.',
        job_id: first.id,
        connector: 'api',
      },
    ])
  })

  test('is told of once, however many of its answers follow one another', async () => {
    const job = await claimed(await enqueue())
    hub.upstream.reset(json(429, {}, { 'retry-after': '30' }))
    await attempt(job)
    await attempt(job)
    expect(await blocks()).toHaveLength(1)
    hub.upstream.reset(json(429, {}, { 'retry-after': '90' }))
    await attempt(job)
    expect(await blocks()).toHaveLength(2)
  })

  test('waits, too, with what may not be repeated: it says that the request was not carried out', async () => {
    hub.upstream.reset(json(429, {}, { 'retry-after': '30' }))
    expect(await attempt(await claimed(await enqueue('mail')))).toMatchObject({ kind: 'snooze' })
  })

  test('by a 503 blocks the lane, but spends the attempt: the request may have been tried', async () => {
    hub.upstream.reset(json(503, {}, { 'retry-after': '30' }))
    expect(await attempt(await claimed(await enqueue()))).toMatchObject({ kind: 'retry', delayMs: 30_000 })
    expect((await claim(await enqueue())).answers[0]).toMatchObject({ verdict: 'blocked' })
  })

  test('is believed for a day at most', async () => {
    hub.upstream.reset(json(429, {}, { 'retry-after': '9999999' }))
    expect(await attempt(await claimed(await enqueue()))).toMatchObject({ delayMs: 86_400_000 })
    const [row] = await hub.query<{ ms: number }>(
      'select extract(epoch from blocked_until - clock_timestamp())::float8 * 1000 as ms from lane_policy',
    )
    expect(row?.ms).toBeLessThanOrEqual(86_400_000)
  })

  test('is waited for by the job alone when the lane cannot be blocked', async () => {
    const job = await claimed(await enqueue())
    const away = testPlatform('postgres://nobody@127.0.0.1:1/nothing')
    hub.upstream.reset(json(429, {}, { 'retry-after': '30' }))
    // What it needs from the config is in memory.
    await hub.activeConfigs.get(hub.tenantId)
    expect(await attempt(job, { db: away.db })).toMatchObject({ kind: 'snooze', delayMs: 30_000 })
    expect(await blocks()).toEqual([])
    await away.notifications.close()
    await away.db.close()
  })
})

test.each([
  ['a 429 without Retry-After', json(429, {})],
  ['a Retry-After of nothing', json(429, {}, { 'retry-after': '0' })],
  ['a Retry-After of another answer', json(500, {}, { 'retry-after': '30' })],
])('%s blocks nothing and follows the schedule', async (_what, upstream) => {
  hub.upstream.reset(upstream)
  expect(await attempt(await claimed(await enqueue()))).toMatchObject({ kind: 'retry' })
  expect((await claim(await enqueue())).jobs).toHaveLength(1)
  expect(await blocks()).toEqual([])
})
