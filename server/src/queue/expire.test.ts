import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import {
  claimLane,
  clearQueue,
  eventsOf,
  makeDue,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { many, run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { replayLetters } from './dead-letters.ts'
import { enqueueJobs } from './enqueue.ts'
import { expire } from './expire.ts'
import type { ClaimedJob, EndedJob, NewJob } from './job.ts'
import { createPromoter } from './promote.ts'
import { createRunner } from './queue.ts'
import { findJob } from './read.ts'
import { settleJobs } from './settle.ts'
import { createWakeUp } from './wake-up.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterEach(async () => {
  expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  await clearQueue(fixture.owner, undefined)
})
afterAll(() => fixture.drop())

const HOUR = 3_600_000
const inMs = (ms: number) => new Date(Date.now() + ms)

async function enqueue(job: Partial<NewJob> = {}): Promise<NewJob> {
  const fresh = sampleJob({ tenantId: newId(), expiresAt: inMs(HOUR), ...job })
  await enqueueJobs(fixture.db, [fresh])
  return fresh
}

/** Lets the time of a job pass; `aware` = the sweep, too. */
const pass = run<{ readonly id: string; readonly aware: boolean }>(
  'test.pass',
  `with j as (update job set expires_at = clock_timestamp() - interval '1 second' where id = $1)
   update job_expiry set check_at = clock_timestamp() - interval '1 second' where job_id = $1 and $2`,
  ({ id, aware }) => [id, aware],
)
const watched = many<undefined, { readonly job_id: string }>(
  'test.watched',
  'select job_id from job_expiry',
  () => [],
)
const claim = async (job: NewJob) =>
  (await claimLane(fixture.claimDb, await registerNode(fixture.db), job)).jobs.map((each) => each.job)
const sweep = () => expire(fixture.claimDb, { log: fixture.platform.log })
const error = { class: 'http_5xx', message: 'It answers 503.' }

async function claimOne(job: NewJob): Promise<ClaimedJob> {
  const [claimed] = await claim(job)
  if (!claimed) throw new Error('nothing was claimed')
  return claimed
}

describe('a job that expires', () => {
  test.each([
    ['while it waits', {}],
    ['while it is scheduled', { runAt: inMs(60_000) }],
  ])('%s is a dead letter without attempts, and is not started', async (_when, change) => {
    const job = await enqueue(change)
    expect((await sweep()).expired).toBe(0)
    await pass(fixture.db, { id: job.id, aware: true })
    expect((await sweep()).expired).toBe(1)
    expect((await findJob(fixture.db, job))?.job).toMatchObject({
      state: 'dead',
      deadReason: 'expired',
      attempts: 0,
      expiresAt: expect.any(Date),
    })
    expect((await eventsOf(fixture.db, job)).at(-1)).toMatchObject({
      type: 'job.dead_lettered',
      message: 'The job did not start before it expired.',
      data: { reason: 'expired', attempt: 0 },
    })
    expect(await claim(job)).toEqual([])
    expect(await watched(fixture.db, undefined)).toEqual([])
  })

  test('before the sweep has seen it is put aside by the claim, and then ended', async () => {
    const job = await enqueue()
    await pass(fixture.db, { id: job.id, aware: false })
    expect(await claim(job)).toEqual([])
    expect(await whereIs(fixture.db, job)).toMatchObject({ ready: 0, run: 0, deferred: 1 })
    await pass(fixture.db, { id: job.id, aware: true })
    expect((await sweep()).expired).toBe(1)
  })

  test('while it runs ends its attempt, and is not tried again after it', async () => {
    const job = await enqueue()
    const claimed = await claimOne(job)
    await pass(fixture.db, { id: job.id, aware: true })
    expect((await sweep()).expired).toBe(0)
    expect(await whereIs(fixture.db, job)).toMatchObject({ run: 1, state: 'queued' })
    await settleJobs(fixture.claimDb, [
      { job: claimed, outcome: { kind: 'retry', delayMs: HOUR, error, why: 'It failed.' } },
    ])
    await pass(fixture.db, { id: job.id, aware: true })
    expect((await sweep()).expired).toBe(1)
    expect((await findJob(fixture.db, job))?.job).toMatchObject({ deadReason: 'expired', attempts: 1 })
    expect((await eventsOf(fixture.db, job)).at(-1)).toMatchObject({
      message: 'The job was not tried again before it expired.',
    })
  })

  test('after it has ended leaves nothing but its end', async () => {
    const job = await enqueue()
    const outcome = { kind: 'done', result: 1, why: 'Done.' } as const
    await settleJobs(fixture.claimDb, [{ job: await claimOne(job), outcome }])
    await pass(fixture.db, { id: job.id, aware: true })
    expect((await sweep()).expired).toBe(0)
    expect((await findJob(fixture.db, job))?.job.state).toBe('done')
    expect(await watched(fixture.db, undefined)).toEqual([])
  })

  test('lives again by a replay, once, and does not expire a second time', async () => {
    const job = await enqueue()
    await pass(fixture.db, { id: job.id, aware: true })
    await sweep()
    await fixture.db.transaction((tx) =>
      replayLetters(tx, {
        tenantId: job.tenantId,
        ids: [job.id],
        actor: 'op',
        why: 'again',
        planId: newId(),
        newEffect: false,
      }),
    )
    expect(await whereIs(fixture.db, job)).toMatchObject({ ready: 1, dead: 0 })
    expect((await sweep()).expired).toBe(0)
    expect(await claim(job)).toHaveLength(1)
  })

  test('leaves the others of its lane alone', async () => {
    const job = await enqueue()
    const other = await enqueue({ tenantId: job.tenantId })
    await pass(fixture.db, { id: job.id, aware: true })
    await sweep()
    expect((await claim(job)).map(({ id }) => id)).toEqual([other.id])
  })

  test('tells its follow-ups in the same transaction, and dies also when they fail', async () => {
    const completion = { callback: { connector: 'product' } }
    const jobs = [await enqueue({ completion }), await enqueue({ completion })]
    for (const { id } of jobs) await pass(fixture.db, { id, aware: true })
    const told: EndedJob[] = []
    const followUps = async (_tx: unknown, ended: readonly EndedJob[]) => {
      if (ended.some(({ job }) => job.id === jobs[0]?.id)) throw new Error('broken')
      told.push(...ended)
      return []
    }
    expect(await expire(fixture.claimDb, { followUps, log: fixture.platform.log })).toMatchObject({
      expired: 2,
    })
    expect(told).toMatchObject([{ state: 'dead', reason: 'expired', job: { id: jobs[1]?.id } }])
  })
})

test('sweeps, claims and promotions at once: each job starts or expires, never both', async () => {
  const tenantId = newId()
  const jobs = Array.from({ length: 60 }, (_, at) =>
    sampleJob({
      tenantId,
      expiresAt: inMs(HOUR),
      ...(at % 2 === 0 && { runAt: inMs(HOUR) }),
    }),
  )
  await enqueueJobs(fixture.db, jobs)
  await makeDue(fixture.db, { tenantId })
  for (const { id } of jobs.slice(0, 40)) await pass(fixture.db, { id, aware: true })
  const started: string[] = []
  const promote = createPromoter(
    fixture.claimDb,
    () => undefined,
    () => performance.now(),
  )
  for (let round = 0; round < 8; round += 1) {
    const [first] = jobs
    if (!first) break
    const claims = [claim(first), claim(first)]
    await Promise.all([sweep(), promote(), sweep(), ...claims])
    for (const claimed of await Promise.all(claims)) started.push(...claimed.map(({ id }) => id))
  }
  await promote()
  for (const { id } of jobs.slice(0, 40)) await pass(fixture.db, { id, aware: true })
  await sweep()
  const [any] = jobs
  if (any)
    for (;;) {
      const more = await claim(any)
      if (more.length === 0) break
      started.push(...more.map(({ id }) => id))
    }
  expect(started.toSorted()).toEqual(
    jobs
      .slice(40)
      .map(({ id }) => id)
      .toSorted(),
  )
  for (const job of jobs.slice(0, 40))
    expect((await findJob(fixture.db, job))?.job.deadReason).toBe('expired')
})

test('a worker ends expired jobs by itself', async () => {
  const job = await enqueue({ runAt: inMs(HOUR / 2) })
  await pass(fixture.db, { id: job.id, aware: true })
  const wakeUp = createWakeUp(fixture.platform)
  const runner = createRunner({
    ...fixture,
    wakeUp,
    concurrency: 1,
    handler: async () => ({ kind: 'done', result: null, why: 'Done.' }),
    timing: { expireMs: 20 },
  })
  await runner.start()
  await vi.waitFor(async () => expect((await findJob(fixture.db, job))?.job.state).toBe('dead'), 10_000)
  await runner.stop(0)
  await wakeUp.close()
})
