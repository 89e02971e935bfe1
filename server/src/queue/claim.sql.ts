import { many, one } from '../platform/db/statement.ts'
import { QUEUES } from './job.ts'
import type { JobRow } from './job-row.ts'
import type { Grant, LaneAnswer } from './lanes.ts'

/** A job as the SQL function `claim_jobs` gives it. */
export interface ClaimedRecord extends JobRow {
  readonly input: unknown
  readonly attempt: number
  readonly lease_id: number
  readonly waited_ms: number
  readonly expires_in_ms: number | null
}

export interface ClaimAnswer {
  /** False: the node's row is missing or too old; beat first. */
  readonly registered: boolean
  readonly jobs: readonly ClaimedRecord[]
  readonly lanes: readonly LaneAnswer[]
}

/** One round trip: locks tenants, counts caps, takes ready rows, starts leases. */
export const claimFromLanes = one<
  { readonly nodeId: string; readonly grants: readonly Grant[]; readonly maxRunMs: number },
  { readonly answer: ClaimAnswer }
>('queue.claim', 'select claim_jobs($1, $2, $3::json, $4) as answer', ({ nodeId, grants, maxRunMs }) => [
  nodeId,
  [...new Set(grants.map(({ tenantId }) => tenantId))],
  JSON.stringify(
    grants.map(({ queue, tenantId, lane, take, low }, ord) => ({
      ord,
      queue: QUEUES[queue],
      tenant_id: tenantId,
      lane,
      take,
      low,
    })),
  ),
  maxRunMs,
])

interface FoundRow {
  readonly queue: number
  readonly tenant_id: string
  readonly lane: number
  readonly priority: number
  readonly seq: number
  readonly weight: number
  readonly shut: boolean
}

/**
 * The lanes that have a waiting row, from the one after `after` on, with their first row: a loose index scan,
 * one descent per lane however many rows it has. `shut` = paused or blocked.
 */
export const discoverLanes = many<
  { readonly after: Omit<FoundRow, 'priority' | 'seq' | 'weight' | 'shut'>; readonly limit: number },
  FoundRow
>(
  'queue.discover_lanes',
  `with recursive found as (
     (select queue, tenant_id, lane, priority, seq from job_ready
      where (queue, tenant_id, lane) > ($1::smallint, $2::uuid, $3::int)
      order by queue, tenant_id, lane, priority, seq limit 1)
     union all
     select next.* from found cross join lateral (
       select queue, tenant_id, lane, priority, seq from job_ready
       where (queue, tenant_id, lane) > (found.queue, found.tenant_id, found.lane)
       order by queue, tenant_id, lane, priority, seq limit 1
     ) as next
   ),
   bounded as materialized (select * from found limit $4)
   select b.*, coalesce(t.weight, 1) as weight,
          t.paused_at is not null or l.paused_at is not null or q.paused_at is not null
            or coalesce(l.blocked_until > clock_timestamp(), false) as shut
   from bounded b
   left join lane_policy l on l.tenant_id = b.tenant_id and l.lane = b.lane
   left join tenant_policy t on t.tenant_id = b.tenant_id
   left join queue_pause q on q.tenant_id = b.tenant_id and q.queue = b.queue
   order by b.queue, b.tenant_id, b.lane`,
  ({ after, limit }) => [after.queue, after.tenant_id, after.lane, limit],
)
