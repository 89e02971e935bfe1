import { maybeOne } from '../platform/db/statement.ts'
import type { BlockReason } from './lane-policy.ts'

export interface ObstacleRow {
  readonly workspace_paused_by: string | null
  readonly workspace_paused_why: string | null
  readonly queue_paused_by: string | null
  readonly queue_paused_why: string | null
  readonly lane_paused_by: string | null
  readonly lane_paused_why: string | null
  readonly blocked_until: Date | null
  readonly blocked_why: string | null
  readonly blocked_reason: BlockReason | null
  readonly lane_cap: number | null
  readonly running_in_lane: number
  readonly workspace_cap: number | null
  readonly running_in_workspace: number
}

/** The switches, blocks and caps over one job; running ones are counted only where there is a cap. */
export const selectObstacles = maybeOne<{ readonly tenantId: string; readonly id: string }, ObstacleRow>(
  'queue.obstacles',
  `select t.paused_by as workspace_paused_by, t.paused_why as workspace_paused_why,
          q.paused_by as queue_paused_by, q.paused_why as queue_paused_why,
          l.paused_by as lane_paused_by, l.paused_why as lane_paused_why,
          case when l.blocked_until > clock_timestamp() then l.blocked_until end as blocked_until, l.blocked_why,
          l.blocked_reason,
          l.max_running as lane_cap, t.max_running as workspace_cap,
          (select count(*) from job_run r
           where l.max_running is not null and r.tenant_id = $1 and r.lane = j.lane) as running_in_lane,
          (select count(*) from job_run r
           where t.max_running is not null and r.tenant_id = $1) as running_in_workspace
   from job j
   left join lane_policy l on l.tenant_id = j.tenant_id and l.lane = j.lane
   left join tenant_policy t on t.tenant_id = j.tenant_id
   left join queue_pause q on q.tenant_id = j.tenant_id and q.queue = j.queue
   where j.tenant_id = $1 and j.id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)
