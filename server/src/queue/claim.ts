import type { Queryable } from '../platform/db/statement.ts'
import { type ClaimedRecord, claimFromLanes, discoverLanes } from './claim.sql.ts'
import { type ClaimedJob, queueName } from './job.ts'
import { factsOf } from './job-row.ts'
import type { FoundLane, Grant, LaneAnswer } from './lanes.ts'

export interface Claimed {
  readonly job: ClaimedJob
  /** From ready to the claim. */
  readonly waitedMs: number
  /** It must not start later than this after the claim; null = no limit. */
  readonly expiresInMs: number | null
}

export interface Claim {
  readonly registered: boolean
  readonly jobs: readonly Claimed[]
  /** In the order of the grants. */
  readonly answers: readonly LaneAnswer[]
}

/**
 * Takes jobs from lanes and starts a lease for each. Exact about caps over all nodes; a job is given to one
 * caller only. When the answer is lost the leases exist all the same: see `returnUnknown`.
 */
export async function claimJobs(
  db: Queryable,
  args: { readonly nodeId: string; readonly grants: readonly Grant[]; readonly maxRunMs: number },
): Promise<Claim> {
  const { answer } = await claimFromLanes(db, args)
  return {
    registered: answer.registered,
    jobs: answer.jobs.map((record) => ({
      job: toJob(record),
      waitedMs: record.waited_ms,
      expiresInMs: record.expires_in_ms,
    })),
    answers: answer.lanes,
  }
}

const toJob = (record: ClaimedRecord): ClaimedJob => ({
  ...factsOf(record),
  input: record.input,
  attempt: record.attempt,
  leaseId: record.lease_id,
})

/** Lanes per scan: more are found by the next one, which goes on where this one ended. */
const LANES_PER_SCAN = 5_000
const BEFORE_ALL = { queue: -1, tenant_id: '00000000-0000-0000-0000-000000000000', lane: 0 }

/** Looks at the table for lanes with work: the safety net under every wake-up. */
export function createDiscovery(db: Queryable, limit = LANES_PER_SCAN): () => Promise<FoundLane[]> {
  let after = BEFORE_ALL
  return async () => {
    const rows = await discoverLanes(db, { after, limit })
    const last = rows.at(-1)
    after = last && rows.length === limit ? last : BEFORE_ALL
    return rows
      .filter(({ shut }) => !shut)
      .map((row) => ({
        queue: queueName(row.queue),
        tenantId: row.tenant_id,
        lane: row.lane,
        priority: row.priority,
        seq: row.seq,
        weight: row.weight,
      }))
  }
}
