import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { capturedLog } from '../../testing/captured-log.ts'
import {
  claimLane,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { systemClock } from '../platform/clock.ts'
import { createDb, type Db } from '../platform/db/db.ts'
import { newId } from '../platform/ids.ts'
import { enqueueJobs } from './enqueue.ts'
import type { ClaimedJob } from './job.ts'
import { QUEUE_SESSION } from './queue.ts'
import { createSettler } from './settler.ts'

let fixture: QueueFixture
/** Gives up after a moment, where the real one waits for half a minute. */
let hasty: Db
const captured = capturedLog()
beforeAll(async () => {
  fixture = await queueFixture()
  hasty = createDb({
    url: fixture.url,
    applicationName: 'test settler',
    poolSize: 2,
    slowQueryMs: 60_000,
    log: captured.log,
    metrics: fixture.platform.metrics,
    session: { ...QUEUE_SESSION, statement_timeout: '150' },
  })
})
afterAll(async () => {
  await hasty.close()
  await fixture.drop()
})

async function claimOne(): Promise<ClaimedJob> {
  const fresh = sampleJob({ tenantId: newId() })
  await enqueueJobs(fixture.db, [fresh])
  const [first] = (await claimLane(fixture.claimDb, await registerNode(fixture.db), fresh)).jobs
  if (!first) throw new Error('nothing was claimed')
  return first.job
}

test('an index that is built for long keeps settlements waiting and buries nobody; a stale one is refused after it', async () => {
  const [kept, taken] = [await claimOne(), await claimOne()]
  const staleness: number[] = []
  const settler = createSettler({
    db: hasty,
    followUps: undefined,
    clock: systemClock,
    random: () => 0,
    log: captured.log,
    settled: (_settled, stale) => staleness.push(stale),
  })
  let settling: Promise<unknown> = Promise.resolve()
  await fixture.db.transaction(async (tx) => {
    // What `create index` takes.
    await tx.execute({ name: '', text: 'lock table job_attempt in share mode' }, [])
    settling = Promise.all(
      [kept, taken].map((job) =>
        settler.settle({ job, outcome: { kind: 'done', result: 1, why: 'It worked.' } }),
      ),
    )
    const failures = () => captured.lines().filter(({ failures }) => Number(failures) >= 5)
    await vi.waitFor(() => expect(failures()).not.toEqual([]), 8_000)
    expect(captured.text()).toContain('57014')
    // Meanwhile one of the leases goes to somebody else.
    await tx.execute({ name: '', text: 'delete from job_run where job_id = $1' }, [taken.id])
  })
  await settling
  expect(await whereIs(fixture.db, kept)).toMatchObject({ state: 'done', dead: 0 })
  expect(await whereIs(fixture.db, taken)).toMatchObject({ state: 'queued', dead: 0 })
  expect(staleness.reduce((sum, stale) => sum + stale, 0)).toBe(1)
})
