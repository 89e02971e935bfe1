import type { Platform } from '../../platform/platform.ts'
import type { ClaimedJob } from '../../queue/job.ts'
import { type BlockReason, blockLane } from '../../queue/lane-policy.ts'

/**
 * Stops the lane of the job for a time, so that the jobs behind it wait instead of being told the same one by one.
 * Never rejects: without the block they only hear it themselves. Await it before the job ends: a worker that tries
 * the lane with one job takes the end of that job for leave to go on.
 */
export async function holdLaneBack(
  { db, log }: Pick<Platform, 'db' | 'log'>,
  job: ClaimedJob,
  block: { readonly forMs: number; readonly reason: BlockReason; readonly why: string },
): Promise<void> {
  const { tenantId, lane, connector, call } = job
  const { requestId, correlationId, traceId } = call
  const by = { connector, jobId: job.id, requestId, correlationId, traceId }
  await blockLane(db, { tenantId, lane, by, ...block }).catch((err: unknown) =>
    log.warn({ err, tenant_id: tenantId, job_id: job.id }, 'a lane could not be blocked'),
  )
}
