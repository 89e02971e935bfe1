import { enqueueJobs } from '../src/queue/enqueue.ts'
import type { AttemptError, ClaimedJob, NewJob } from '../src/queue/job.ts'
import { settleJobs } from '../src/queue/settle.ts'
import { claimLane, type QueueFixture, registerNode, sampleJob } from './queue-fixture.ts'

export const SHOP_DOWN: AttemptError = {
  class: 'http_5xx',
  message: 'The shop answered 503.',
  httpStatus: 503,
}

/** Claims the jobs of a lane and gives them up at this attempt. */
export async function buryLane(
  { claimDb }: QueueFixture,
  nodeId: string,
  lane: Pick<NewJob, 'queue' | 'tenantId' | 'lane'>,
  { take = 1, error = SHOP_DOWN, reason = 'attempts_spent' } = {},
): Promise<ClaimedJob[]> {
  const { jobs } = await claimLane(claimDb, nodeId, lane, take)
  if (jobs.length < take) throw new Error(`only ${jobs.length} of ${take} jobs could be claimed`)
  const outcome = { kind: 'dead', reason, error, why: 'It was given up.' } as const
  await settleJobs(
    claimDb,
    jobs.map(({ job }) => ({ job, outcome })),
  )
  return jobs.map(({ job }) => job)
}

/** Jobs that died at their first attempt, the oldest first. */
export async function deadJobs(
  fixture: QueueFixture,
  count: number,
  job: Partial<NewJob> & { readonly tenantId: string },
  how: { readonly error?: AttemptError; readonly reason?: string } = {},
): Promise<ClaimedJob[]> {
  const nodeId = await registerNode(fixture.db)
  const dead: ClaimedJob[] = []
  for (let n = 0; n < count; n += 1) {
    const fresh = sampleJob(job)
    await enqueueJobs(fixture.db, [fresh])
    dead.push(...(await buryLane(fixture, nodeId, fresh, how)))
  }
  return dead
}

/** One of them. */
export async function deadJob(
  fixture: QueueFixture,
  job: Partial<NewJob> & { readonly tenantId: string },
  how?: { readonly error?: AttemptError; readonly reason?: string },
): Promise<ClaimedJob> {
  const [dead] = await deadJobs(fixture, 1, job, how)
  if (!dead) throw new Error('no job died')
  return dead
}
