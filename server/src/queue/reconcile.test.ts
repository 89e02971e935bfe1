import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { capturedLog } from '../../testing/captured-log.ts'
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
import type { Db } from '../platform/db/db.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import { enqueueJobs } from './enqueue.ts'
import type { NewJob } from './job.ts'
import { createPromoter } from './promote.ts'
import { createReconciler } from './reconcile.ts'
import { settleJobs } from './settle.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterEach(async () => {
  expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  await clearQueue(fixture.owner, undefined)
})
afterAll(() => fixture.drop())

const query = (text: string, values: readonly unknown[] = []) =>
  fixture.db.execute({ name: '', text }, values)

function reconciler() {
  const faults: string[] = []
  const run = createReconciler(fixture.db, {
    log: fixture.platform.log,
    repaired: (fault) => faults.push(fault),
  })
  return { faults, run }
}

async function enqueue(job: Partial<NewJob> = {}): Promise<NewJob> {
  const fresh = sampleJob({ tenantId: newId(), ...job })
  await enqueueJobs(fixture.db, [fresh])
  return fresh
}
const claim = async (job: NewJob) =>
  (await claimLane(fixture.claimDb, await registerNode(fixture.db), job)).jobs.map((each) => each.job)

/** Breaks things by hand. */
const makeReady = (job: NewJob, attempt: number) =>
  query(
    `insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt) values (2, $1, 1, 2, $2, $3)`,
    [job.tenantId, job.id, attempt],
  )
const defer = (job: NewJob, attempt: number) =>
  query(`insert into job_deferred values ($1, $2, now() + interval '1 hour', 2, 1, 2, $3, 'snooze')`, [
    job.tenantId,
    job.id,
    attempt,
  ])

test('a job that waits nowhere becomes ready with the attempt that it was due for', async () => {
  const fresh = await enqueue()
  const tried = await enqueue()
  const [held] = await claim(tried)
  if (!held) throw new Error('nothing was claimed')
  const error = { class: 'http_5xx', message: 'It answers 503.' }
  const outcome = { kind: 'retry', delayMs: 1, error, why: 'It failed.' } as const
  await settleJobs(fixture.claimDb, [{ job: held, outcome }])
  await query('delete from job_ready where job_id = $1', [fresh.id])
  await query('delete from job_deferred where job_id = $1', [tried.id])

  const { faults, run } = reconciler()
  expect(await run()).toMatchObject({ repaired: 2, lanes: [{ queue: 'default' }, { queue: 'default' }] })
  expect(faults).toEqual(['nowhere', 'nowhere'])
  expect((await claim(fresh)).map(({ attempt }) => attempt)).toEqual([1])
  expect((await claim(tried)).map(({ attempt }) => attempt)).toEqual([2])
  expect((await eventsOf(fixture.db, fresh)).at(-1)).toMatchObject({
    type: 'job.repaired',
    message: 'The job waited nowhere and was made ready again.',
  })
  expect((await run()).repaired).toBe(0)
})

test('of several places the one with a worker stays, else the newest attempt, else the later time', async () => {
  const running = await enqueue()
  await claim(running)
  await makeReady(running, 3)
  await defer(running, 2)
  const newer = await enqueue()
  await defer(newer, 2)
  const later = await enqueue()
  await defer(later, 1)
  const twice = await enqueue()
  await makeReady(twice, 2)

  const { faults, run } = reconciler()
  expect((await run()).repaired).toBe(4)
  expect(faults.toSorted()).toEqual([
    'deferred and ready',
    'deferred and ready',
    'ready and ready',
    'run and ready and deferred',
  ])
  expect(await whereIs(fixture.db, running)).toMatchObject({ run: 1, ready: 0, deferred: 0 })
  expect(await whereIs(fixture.db, newer)).toMatchObject({ ready: 0, deferred: 1 })
  expect(await whereIs(fixture.db, later)).toMatchObject({ ready: 0, deferred: 1 })
  expect((await claim(twice)).map(({ attempt }) => attempt)).toEqual([2])
})

test('what is in its place, has ended or was cancelled while it waited is left alone', async () => {
  const cancelled = await enqueue()
  await cancelJob(fixture.db, { ...cancelled, actor: 'op' })
  const done = await enqueue()
  for (const job of await claim(done))
    await settleJobs(fixture.claimDb, [{ job, outcome: { kind: 'done', result: 1, why: 'Done.' } }])
  await enqueue({ runAt: new Date(Date.now() + 60_000) })
  await claim(await enqueue())
  await enqueue()
  expect((await reconciler().run()).repaired).toBe(0)
})

test('a job of a day that was finished is still found in the end', async () => {
  const { run } = reconciler()
  expect((await run()).repaired).toBe(0)
  const old = new Date(Date.now() - 2 * 86_400_000 + 60_000).getTime().toString(16).padStart(12, '0')
  const id = newId().replace(/^.{8}-.{4}/, `${old.slice(0, 8)}-${old.slice(8)}`)
  await enqueue({ id })
  await query('delete from job_ready where job_id = $1', [id])
  let repaired = 0
  for (let round = 0; round < 24; round += 1) repaired += (await run()).repaired
  expect(repaired).toBe(1)
})

test('a day that cannot be read in time keeps no other day from its look', async () => {
  const job = await enqueue()
  await query('delete from job_ready where job_id = $1', [job.id])
  const { rows } = await query(
    'select min(right(inhrelid::regclass::text, 8)) as day from pg_inherits where inhparent = $1::regclass',
    ['job'],
  )
  const oldest = String(rows[0]?.day).replace(/(....)(..)/, '$1-$2-')
  const limits: unknown[] = []
  const slow: Db = {
    ...fixture.db,
    transaction: (work) =>
      fixture.db.transaction((tx) =>
        work({
          ...tx,
          execute: async (statement, values) => {
            if (statement.name !== 'queue.find_misplaced') return tx.execute(statement, values)
            const setting = { name: '', text: `select current_setting('statement_timeout') as ms` }
            limits.push((await tx.execute(setting, [])).rows[0]?.ms)
            if (values[0] === oldest) throw Object.assign(new Error('too slow'), { code: '57014' })
            return tx.execute(statement, values)
          },
        }),
      ),
  }
  const { log, text } = capturedLog()
  const run = createReconciler(slow, { log, repaired: () => undefined })
  expect((await run()).repaired).toBe(1)
  expect(text()).toContain(oldest)
  // More than a session has for its statements: a day may be big.
  expect(new Set(limits)).toEqual(new Set(['2min']))
})

test('it never mistakes a job on its way for a lost one', async () => {
  const tenantId = newId()
  const jobs = Array.from({ length: 40 }, () => sampleJob({ tenantId }))
  await enqueueJobs(fixture.db, jobs)
  const [first] = jobs
  if (!first) throw new Error('no job')
  const promote = createPromoter(
    fixture.claimDb,
    () => undefined,
    () => performance.now(),
  )
  const { run, faults } = reconciler()
  let moving = true
  const looking = (async () => {
    while (moving) await run()
  })()
  for (let round = 0; round < 15; round += 1) {
    const held = await claim(first)
    await settleJobs(
      fixture.claimDb,
      held.map((job) => ({ job, outcome: { kind: 'snooze', delayMs: 0, why: 'Later.' } as const })),
    )
    await makeDue(fixture.db, { tenantId })
    await promote()
  }
  moving = false
  await looking
  expect(faults).toEqual([])
})
