import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { buryLane } from '../../testing/dead-letters.ts'
import { closeOldDays, dayAgo, idOfDay, oldDaysOf, openDays } from '../../testing/old-days.ts'
import {
  claimLane,
  clearQueue,
  eventsOf,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { systemClock } from '../platform/clock.ts'
import { createRetention, type DayReport, type RetentionRule } from '../platform/db/retention.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import {
  listDeadLetters,
  purgeLetters,
  replayLetters,
  restoreLetters,
  whereaboutsOf,
} from './dead-letters.ts'
import { enqueueJobs } from './enqueue.ts'
import { removeExpiredKeys } from './housekeeping.sql.ts'
import type { ClaimedJob, NewJob } from './job.ts'
import { jobHistoryRetention } from './job-history.ts'
import { findJob, jobInput, listJobs } from './read.ts'
import { settleJobs } from './settle.ts'

let fixture: QueueFixture
let nodeId: string
const TABLES = ['job', 'job_payload', 'job_attempt'] as const
const KEEP = 14
const OLD = dayAgo(20)

beforeAll(async () => {
  fixture = await queueFixture()
})
beforeEach(async () => {
  nodeId = await registerNode(fixture.db)
  await openDays(fixture.owner, TABLES, [OLD])
})
afterEach(async () => {
  await clearQueue(fixture.owner, undefined)
  await closeOldDays(fixture.owner, TABLES)
})
afterAll(() => fixture.drop())

const query = (text: string, values: readonly unknown[] = []) =>
  fixture.db.execute<Record<string, unknown>>({ name: '', text }, values)

function retention(rule: RetentionRule = jobHistoryRetention(KEEP)): () => Promise<DayReport[]> {
  const { db, log, metrics } = fixture.platform
  const clock = { ...systemClock, sleep: async () => undefined }
  return createRetention({ db, log, metrics, clock, rules: async () => [rule] })
}

async function enqueue(day: string, job: Partial<NewJob> = {}): Promise<NewJob> {
  const fresh = sampleJob({ tenantId: newId(), id: idOfDay(day), ...job })
  await enqueueJobs(fixture.db, [fresh])
  return fresh
}

async function claim(job: NewJob): Promise<ClaimedJob> {
  const [first] = (await claimLane(fixture.claimDb, nodeId, job, 1)).jobs
  if (!first) throw new Error('nothing was claimed')
  return first.job
}
const finish = async (job: NewJob) =>
  settleJobs(fixture.claimDb, [{ job: await claim(job), outcome: { kind: 'done', result: 1, why: 'Done.' } }])
const bury = (job: NewJob) => buryLane(fixture, nodeId, job)
const put = (work: typeof purgeLetters, { tenantId, id }: NewJob) =>
  fixture.db.transaction((tx) => work(tx, { tenantId, ids: [id], actor: 'op', why: '-', planId: newId() }))
const purge = (job: NewJob) => put(purgeLetters, job)
const restore = (job: NewJob) => put(restoreLetters, job)
const replay = ({ tenantId, id }: NewJob) => {
  const action = { tenantId, ids: [id], actor: 'op', why: '-', planId: newId(), newEffect: false }
  return fixture.db.transaction((tx) => replayLetters(tx, action))
}
const endedAgo = ({ id }: NewJob, days: number) =>
  query(`update job set finished_at = now() - $2 * interval '1 day' where id = $1 and state <> 'queued'`, [
    id,
    days,
  ])

/** What becomes of a job, and whether it is over then. */
const FATES = {
  waits: { over: false, run: async () => undefined },
  runs: { over: false, run: (job: NewJob) => claim(job) },
  retries: {
    over: false,
    run: async (job: NewJob) => {
      const error = { class: 'http_5xx', message: 'It answers 503.' }
      const outcome = { kind: 'retry', delayMs: 3_600_000, error, why: 'It failed.' } as const
      await settleJobs(fixture.claimDb, [{ job: await claim(job), outcome }])
    },
  },
  'waits for a time': {
    over: false,
    run: async (job: NewJob) => {
      const outcome = { kind: 'snooze', delayMs: 3_600_000, why: 'Later.' } as const
      await settleJobs(fixture.claimDb, [{ job: await claim(job), outcome }])
    },
  },
  'waits nowhere': {
    over: false,
    run: ({ id }: NewJob) => query('delete from job_ready where job_id = $1', [id]),
  },
  'is done': { over: true, run: finish },
  'is cancelled': {
    over: true,
    run: (job: NewJob) => cancelJob(fixture.db, { tenantId: job.tenantId, id: job.id, actor: 'op' }),
  },
  'is a dead letter': { over: false, run: bury },
  'is in the bin': {
    over: false,
    run: async (job: NewJob) => {
      await bury(job)
      await purge(job)
    },
  },
  'is replayed': {
    over: false,
    run: async (job: NewJob) => {
      await bury(job)
      await replay(job)
    },
  },
  'has left the bin': {
    over: true,
    run: async (job: NewJob) => {
      await bury(job)
      await query('delete from job_dead where job_id = $1', [job.id])
    },
  },
} as const
type Fate = keyof typeof FATES
interface End {
  readonly fate: Fate
  /** Days since then, of a job that is over. */
  readonly ended: number
}
interface Day {
  readonly age: number
  readonly jobs: readonly End[]
}

const traces = async ({ id }: NewJob): Promise<number> => {
  const tables = ['job_ready', 'job_run', 'job_deferred', 'job_dead', 'job_expiry', ...TABLES.slice(1)]
  const counts = tables.map((table) => `(select count(*) from ${table} where job_id = $1)`).join(' + ')
  return Number((await query(`select ${counts} as n`, [id])).rows[0]?.n)
}

test('days go in which every job is over for long enough; nothing else ever goes', async () => {
  const old: fc.Arbitrary<End> = fc.record({
    fate: fc.constantFrom<Fate>('is done', 'is cancelled', 'has left the bin'),
    ended: fc.constantFrom(16, 19),
  })
  // One job that may keep the day, among others that do not.
  const odd: fc.Arbitrary<End> = fc.record({
    fate: fc.constantFrom(...(Object.keys(FATES) as Fate[])),
    ended: fc.constantFrom(13, 16, 16, 16),
  })
  const day: fc.Arbitrary<Day> = fc.record({
    // Neighbours of the bound are left out: it could become midnight.
    age: fc.constantFrom(13, 16, 17, 18, 60),
    jobs: fc
      .tuple(fc.array(old, { maxLength: 1 }), fc.array(odd, { maxLength: 1 }))
      .map(([olds, odds]) => [...olds, ...odds]),
  })
  const days = fc.uniqueArray(day, { minLength: 2, maxLength: 4, selector: ({ age }) => age })
  const tried = { goes: 0, stays: 0 }

  const check = async (sample: readonly Day[]): Promise<void> => {
    await clearQueue(fixture.owner, undefined)
    await closeOldDays(fixture.owner, TABLES)
    nodeId = await registerNode(fixture.db)
    await openDays(
      fixture.owner,
      TABLES,
      sample.map(({ age }) => dayAgo(age)),
    )
    const jobs: { readonly job: NewJob; readonly goes: boolean }[] = []
    for (const { age, jobs: ends } of sample) {
      const goes = age > KEEP && ends.every(({ fate, ended }) => FATES[fate].over && ended > KEEP)
      tried[goes ? 'goes' : 'stays'] += 1
      for (const { fate, ended } of ends) {
        const job = await enqueue(dayAgo(age), { expiresAt: new Date(Date.now() + 30 * 86_400_000) })
        await FATES[fate].run(job)
        await endedAgo(job, ended)
        jobs.push({ job, goes })
      }
    }
    const before = await Promise.all(jobs.map(({ job }) => whereIs(fixture.db, job)))
    await retention()()
    for (const [n, { job, goes }] of jobs.entries()) {
      if (goes) expect([await findJob(fixture.db, job), await traces(job)]).toEqual([undefined, 0])
      else expect(await whereIs(fixture.db, job)).toEqual(before[n])
    }
    const [kept, ...others] = await Promise.all(TABLES.map((table) => oldDaysOf(fixture.db, table)))
    for (const other of others) expect(other).toEqual(kept)
  }

  await fc.assert(fc.asyncProperty(days, check), { numRuns: 50 })
  // It was about something.
  expect(Math.min(tried.goes, tried.stays)).toBeGreaterThan(10)
}, 120_000)

test('says why a day stays, and when the job that ended last will have been kept for long enough', async () => {
  const round = retention()
  const job = await enqueue(OLD, { runAt: new Date(Date.now() + 1_000_000) })
  expect(await round()).toMatchObject([{ day: OLD, result: 'held', why: 'unfinished jobs' }])
  await cancelJob(fixture.db, { tenantId: job.tenantId, id: job.id, actor: 'op' })
  await endedAgo(job, 10)
  const [report] = await retention()()
  expect(report).toMatchObject({ result: 'held', why: 'jobs that ended later' })
  const hold = await fixture.db.transaction(async (tx) => jobHistoryRetention(KEEP).heldBy?.(tx, OLD))
  expect(hold?.lookAgainInMs).toBeGreaterThan(3.9 * 86_400_000)
  expect(hold?.lookAgainInMs).toBeLessThanOrEqual(4 * 86_400_000)
})

test('a letter keeps its day, also in the bin, and can be restored and replayed as if it were young', async () => {
  const held = [{ result: 'held', why: 'dead letters' }]
  const job = await enqueue(OLD)
  await bury(job)
  await endedAgo(job, 16)
  expect(await retention()()).toMatchObject(held)
  await purge(job)
  expect(await retention()()).toMatchObject(held)
  await restore(job)
  expect(await replay(job)).toHaveLength(1)
  expect(await retention()()).toMatchObject([{ result: 'held', why: 'unfinished jobs' }])
  await finish(job)
  await endedAgo(job, 16)
  expect(await retention()()).toMatchObject([{ result: 'dropped' }])
})

test('a job accepted while its day is on its way out is kept or refused, never lost', async () => {
  const rule = jobHistoryRetention(KEEP)
  const tenantId = newId()
  const late = sampleJob({ tenantId, id: idOfDay(OLD) })
  let looks = 0
  const kept: RetentionRule = {
    ...rule,
    heldBy: async (tx, day) => {
      const hold = await rule.heldBy?.(tx, day)
      if (looks++ === 0) await enqueueJobs(fixture.db, [late])
      return hold
    },
  }
  expect(await retention(kept)()).toMatchObject([{ result: 'held', why: 'unfinished jobs' }])
  await finish(late)
  await endedAgo(late, 16)

  const refused: unknown[] = []
  const later = sampleJob({ tenantId, id: idOfDay(OLD) })
  const closed: RetentionRule = {
    ...rule,
    forget: async (on, day) => {
      await enqueueJobs(fixture.db, [later]).catch((error) => refused.push(error.code))
      await rule.forget?.(on, day)
    },
  }
  expect(await retention(closed)()).toMatchObject([{ result: 'dropped' }])
  expect(refused).toEqual(['23514'])
  expect(await traces(later)).toBe(0)
})

test('a busy queue goes on while days are dropped', async () => {
  const days = [30, 29, 28, 27, 26].map(dayAgo)
  await openDays(fixture.owner, TABLES, days)
  for (const day of days) {
    const job = await enqueue(day)
    await finish(job)
    await endedAgo(job, 16)
  }
  let going = true
  let done = 0
  const work = async (): Promise<void> => {
    while (going) {
      const job = await enqueue(dayAgo(0))
      done += (await finish(job)).length
      await listJobs(fixture.db, { tenantId: job.tenantId, limit: 10 })
    }
  }
  const working = Promise.all([work(), work(), work()])
  const round = retention()
  let left = days.length
  // A try that meets a busy moment gives up; the next round takes what is left.
  for (let rounds = 0; left > 0 && rounds < 50; rounds += 1) {
    await round()
    left = (await oldDaysOf(fixture.db, 'job')).length
  }
  going = false
  await working
  expect(left).toBe(0)
  expect(done).toBeGreaterThan(0)
})

test('of a job that is gone nothing is shown, and its idempotency key goes on guarding for its time', async () => {
  const gone = await enqueue(OLD, { dedupe: { key: 'order-1', requestHash: Buffer.alloc(32, 1) } })
  await finish(gone)
  await endedAgo(gone, 16)
  await retention()()
  const { tenantId, id } = gone
  expect(await findJob(fixture.db, gone)).toBeUndefined()
  expect(await jobInput(fixture.db, { tenantId, id })).toBeUndefined()
  expect((await listJobs(fixture.db, { tenantId, limit: 10 })).jobs).toEqual([])
  expect((await whereaboutsOf(fixture.db, tenantId, [id])).size).toBe(0)
  expect(
    await listDeadLetters(fixture.db, { tenantId, queue: 'default', binned: false, filter: {}, limit: 10 }),
  ).toEqual([])
  await expect(cancelJob(fixture.db, { tenantId, id, actor: 'op' })).rejects.toMatchObject({
    code: 'not_found',
  })
  // The timeline has a time of its own, and the key still stands for the first job: no second effect.
  expect((await eventsOf(fixture.db, gone)).at(-1)).toMatchObject({ type: 'job.succeeded' })
  const again = sampleJob({ tenantId, dedupe: { key: 'order-1', requestHash: Buffer.alloc(32, 1) } })
  expect(await enqueueJobs(fixture.db, [again])).toMatchObject([{ id, replayed: true }])
  await query(`update idem set expires_at = now() - interval '1 day'`)
  expect(await removeExpiredKeys(fixture.db, { limit: 10 })).toBe(1)
})
