import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { claimLane, clearQueue, registerNode, sampleJob } from '../../../testing/queue-fixture.ts'
import { json } from '../../../testing/upstream.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import { rescue } from '../../queue/rescue.ts'
import { createJobHandler } from './jobs.worker.ts'

let hub: CallingHub

const operations = {
  get: { method: 'GET', path: '/' },
  charge: { method: 'POST', path: '/charges', idempotency_key_header: 'Idempotency-Key' },
  mail: { method: 'POST', path: '/mails' },
}

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const settings = { base_url: hub.upstream.url, operations }
  await hub.configure({ policies: {}, connectors: { api: { kind: 'http', settings } } })
})
beforeEach(async () => {
  await clearQueue(hub.database.owner, undefined)
  hub.upstream.reset(json(200, {}))
})
afterAll(() => hub.close())

const attempt = (job: ClaimedJob): Promise<Outcome> =>
  createJobHandler({ ...hub, platform: hub.database.platform })(job, new AbortController().signal)

/** A job as it is claimed again after the worker that ran its first attempt has died. */
async function afterItsWorkerDied(operation: string): Promise<ClaimedJob> {
  const { db, claimDb } = hub.database
  const job = sampleJob({ tenantId: hub.tenantId, connector: 'api', operation, input: {} })
  await enqueueJobs(db, [job])
  const claimed = (await claimLane(claimDb, await registerNode(db), job, 1)).jobs[0]?.job
  if (!claimed) throw new Error('nothing was claimed')
  // Every node counts as silent.
  const limits = { deadAfterMs: 0, overrunGraceMs: 0, poisonAfter: 3 }
  await rescue(db, { limits, log: hub.database.platform.log })
  return { ...claimed, attempt: 2 }
}

describe('a job whose worker died', () => {
  test.each(['get', 'charge'])('is run again when that does no harm: %s', async (operation) => {
    expect(await attempt(await afterItsWorkerDied(operation))).toMatchObject({ kind: 'done' })
  })

  test('is a dead letter when its effect could come twice, and nothing is sent', async () => {
    expect(await attempt(await afterItsWorkerDied('mail'))).toMatchObject({
      kind: 'dead',
      reason: 'outcome_unknown',
      error: { class: 'worker_lost' },
    })
    expect(hub.upstream.requests).toEqual([])
  })

  test('runs when an operator has replayed it since: he has looked', async () => {
    const job = await afterItsWorkerDied('mail')
    await hub.query(
      `update job set replays = 1, earlier_leases = (select max(lease_id) from job_attempt where job_id = $1)
       where tenant_id = $2 and id = $1`,
      [job.id, job.tenantId],
    )
    expect(await attempt(job)).toMatchObject({ kind: 'done' })
  })
})
