import { afterAll, beforeAll, expect, test } from 'vitest'
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
import { cancelJob } from './cancel.ts'
import { enqueueJobs } from './enqueue.ts'
import { createHeart } from './heart.ts'
import type { ClaimedJob } from './job.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'

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
  const heart = createHeart({
    db: busyPool,
    nodeId,
    host: 'test',
    capacity: 10,
    clock: manualClock(),
    held: () => late.map(({ leaseId }) => leaseId),
    claiming: () => false,
    failedClaims: () => 0,
    cancel: () => undefined,
  })
  for (let beat = 0; beat < 3; beat += 1) await heart.beat()
  expect(late).toHaveLength(2)
  await rescue(fixture.db, { limits: RESCUE_LIMITS, log: fixture.platform.log })
  for (const job of late) expect(await whereIs(fixture.db, job)).toMatchObject({ run: 1, ready: 0 })
  expect(await whereIs(fixture.db, unheard)).toMatchObject({ run: 0, ready: 1 })
})
