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
  await clearQueue(hub.database.owner, undefined)
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
      configVersion: 1,
      delayMs: 30_000,
      httpStatus: 429,
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

  test('and asks again and again is given up in the end, as the policy says', async () => {
    const settings = { base_url: hub.upstream.url, operations }
    await hub.configure({
      policies: { default: { job_wait: { upstream_ms: 7_200_000 } } },
      connectors: { api: { kind: 'http', settings } },
    })
    hub.upstream.reset(json(429, {}, { 'retry-after': '30' }))
    const first = await enqueue()
    /** Hears the 429, after the answers so far have been put into the past. */
    const hear = async (agoMs: number) => {
      await hub.query('update lane_policy set blocked_until = null, blocked_why = null')
      await hub.query(
        `update job_attempt set started_at = started_at - $1 * interval '1 millisecond',
                                ended_at = ended_at - $1 * interval '1 millisecond'`,
        [agoMs],
      )
      await hub.query('delete from job_deferred')
      await hub.query(`delete from job_ready`)
      await hub.query(
        `insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt) values (2, $1, 1, 2, $2, 1)`,
        [hub.tenantId, first.id],
      )
      const job = await claimed(first)
      const outcome = await attempt(job)
      await settleJobs(hub.database.claimDb, [{ job, outcome }])
      return outcome
    }
    expect(await hear(0)).toMatchObject({ kind: 'snooze' })
    expect(await hear(7_000_000)).toMatchObject({ kind: 'snooze' })
    expect(await hear(300_000)).toEqual({
      kind: 'dead',
      configVersion: 2,
      reason: 'upstream_busy',
      error: { class: 'http_429', message: 'The upstream answered with HTTP 429.', httpStatus: 429 },
      why: 'HTTP 429: the upstream has been busy for 2 hours, longer than the policy waits (job_wait.upstream_ms, 2 hours).',
    })
    expect(
      await hub.query(
        `select message, data->>'reason' as reason from event where type = 'job.dead_lettered' and job_id = $1`,
        [first.id],
      ),
    ).toEqual([{ message: expect.stringContaining('has been busy'), reason: 'upstream_busy' }])
    // A replay begins anew.
    await hub.query(
      `update job set earlier_leases = (select max(lease_id) from job_attempt), replays = 1, state = 'queued',
                      finished_at = null where id = $1`,
      [first.id],
    )
    await hub.query('delete from job_dead')
    expect(await hear(0)).toMatchObject({ kind: 'snooze' })
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
