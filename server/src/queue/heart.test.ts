import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { manualClock } from '../../testing/manual-clock.ts'
import {
  claimLane,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  whereIs,
} from '../../testing/queue-fixture.ts'
import type { Db } from '../platform/db/db.ts'
import { run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { Problem } from '../problems.ts'
import { cancelJob } from './cancel.ts'
import { enqueueJobs } from './enqueue.ts'
import { createHeart, type HeartOptions } from './heart.ts'
import type { ClaimedJob } from './job.ts'
import { createRunner, QUEUE_CONNECTIONS } from './queue.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'
import { createWakeUp } from './wake-up.ts'

// The other tests of the heart are in `node.sql.test.ts`.

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterAll(() => fixture.drop())

const age = run<{ readonly nodeId: string }>(
  'test.age_runs',
  `update job_run set started_at = started_at - interval '1 minute' where node_id = $1`,
  ({ nodeId }) => [nodeId],
)

async function claimOne(nodeId: string): Promise<ClaimedJob> {
  const job = sampleJob({ tenantId: newId() })
  await enqueueJobs(fixture.db, [job])
  const [first] = (await claimLane(fixture.claimDb, nodeId, job, 1)).jobs
  if (!first) throw new Error('nothing was claimed')
  return first.job
}

const heartOf = (nodeId: string, options: Partial<HeartOptions>) =>
  createHeart({
    db: fixture.db,
    nodeId,
    host: 'test',
    capacity: 10,
    clock: manualClock(),
    held: () => [],
    claiming: () => false,
    failedClaims: () => 0,
    cancel: () => undefined,
    ...options,
  })

test('leases started while the search for unknown ones waited for a connection are left alone', async () => {
  const nodeId = await registerNode(fixture.db)
  const unheard = await claimOne(nodeId)
  const late: ClaimedJob[] = []
  const busyPool: Db = {
    ...fixture.db,
    execute: async (statement, values) => {
      if (statement.name === 'queue.return_unknown' && late.length === 0) {
        late.push(await claimOne(nodeId), await claimOne(nodeId))
        const [cancelled] = late
        if (cancelled) await cancelJob(fixture.db, { ...cancelled, actor: 'ada' })
        await age(fixture.db, { nodeId })
      }
      return fixture.db.execute(statement, values)
    },
  }
  const heart = heartOf(nodeId, { db: busyPool, held: () => late.map(({ leaseId }) => leaseId) })
  for (let beat = 0; beat < 3; beat += 1) await heart.beat()
  expect(late).toHaveLength(2)
  await rescue(fixture.db, { limits: RESCUE_LIMITS, log: fixture.platform.log })
  for (const job of late) expect(await whereIs(fixture.db, job)).toMatchObject({ run: 1, ready: 0 })
  expect(await whereIs(fixture.db, unheard)).toMatchObject({ run: 0, ready: 1 })
})

describe('a node that leaves', () => {
  const rowOf = async (nodeId: string) =>
    (await fixture.db.execute({ name: '', text: 'select from node where node_id = $1' }, [nodeId])).rowCount

  test('gives back what a claim has started whose answer was lost, and keeps its row for what may come', async () => {
    const job = sampleJob({ tenantId: newId() })
    await enqueueJobs(fixture.db, [job])
    const wakeUp = createWakeUp(fixture.platform)
    const lost = Promise.withResolvers<void>()
    const claimDb: Db = {
      ...fixture.claimDb,
      execute: async (statement, values) => {
        const answer = await fixture.claimDb.execute(statement, values)
        if (statement.name !== 'queue.claim' || (await whereIs(fixture.db, job)).run === 0)
          return answer as never
        lost.resolve()
        throw new Problem('database_unavailable', 'cut off')
      },
    }
    const runner = createRunner({
      platform: fixture.platform,
      claimDb,
      wakeUp,
      concurrency: 5,
      handler: () => Promise.reject(new Error('nothing is ever heard of')),
    })
    await runner.start()
    await lost.promise
    await runner.stop(0)
    await wakeUp.close()
    expect(await whereIs(fixture.db, job)).toMatchObject({ ready: 1, run: 0 })
    expect(await rowOf(runner.nodeId)).toBe(1)
    expect(await rescue(fixture.db, { limits: RESCUE_LIMITS, log: fixture.platform.log })).toMatchObject({
      retried: 0,
    })
  })

  test.each([
    ['while a claim is on its way', { claiming: true, failed: 0 }, false],
    ['after a claim has failed', { claiming: false, failed: 1 }, false],
    ['when all was heard', { claiming: false, failed: 0 }, true],
  ])('%s knows whether there can be more', async (_when, { claiming, failed }, knowsAll) => {
    const nodeId = await registerNode(fixture.db)
    const heart = heartOf(nodeId, { claiming: () => claiming, failedClaims: () => failed })
    expect(await heart.leave()).toBe(knowsAll)
  })
})

test('a beat has a connection also when everybody else waits for the database', async () => {
  const wakeUp = createWakeUp(fixture.platform)
  const { promise: opened, resolve: open } = Promise.withResolvers<void>()
  let stuck = false
  let waiting = 0
  let beats = 0
  const wait = async () => {
    if (!stuck) return
    waiting += 1
    await opened
    waiting -= 1
  }
  const claimDb: Db = {
    ...fixture.claimDb,
    execute: async (statement, values) => {
      if (statement.name === 'queue.beat') beats += 1
      else await wait()
      return fixture.claimDb.execute(statement, values)
    },
    transaction: async (work) => {
      await wait()
      return fixture.claimDb.transaction(work)
    },
  }
  const runs = Promise.withResolvers<void>()
  const end = Promise.withResolvers<void>()
  const runner = createRunner({
    platform: fixture.platform,
    claimDb,
    wakeUp,
    concurrency: 5,
    handler: async () => {
      runs.resolve()
      await end.promise
      return { kind: 'done', result: null, why: 'Done.' }
    },
    timing: { beatMs: 10, rescueMs: 10, expireMs: 10, discoverMs: 10, housekeepingMs: 10 },
  })
  await runner.start()
  const job = sampleJob({ tenantId: newId() })
  await enqueueJobs(fixture.db, [job])
  wakeUp.hint([job])
  await runs.promise
  stuck = true
  end.resolve()
  // Claim, settle, promote, rescue, expire; the look around, too, when it was due.
  await vi.waitFor(() => expect(waiting).toBeGreaterThanOrEqual(5), 10_000)
  const before = beats
  await vi.waitFor(() => expect(beats).toBeGreaterThan(before + 5), 10_000)
  expect(waiting).toBeLessThan(QUEUE_CONNECTIONS)
  stuck = false
  open()
  await vi.waitFor(
    async () => expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'done' }),
    10_000,
  )
  await runner.stop(0)
  await wakeUp.close()
})
