import { many, maybeOne } from '../platform/db/statement.ts'

/** Who stopped claims, when and why; attempts that run go on to their end. */
export interface Pause {
  readonly paused_at: Date
  readonly paused_by: string
  readonly paused_why: string
}

interface By {
  readonly actor: string
  readonly why: string
}
interface TenantRef {
  readonly tenantId: string
}
interface LaneRef extends TenantRef {
  readonly lane: number
}
interface QueueRef extends TenantRef {
  /** The number that tables store. */
  readonly queue: number
}

/**
 * All of these give the pause that they made or ended, and nothing when there was nothing to do. To be exact, hold
 * the claim lock of the workspace (`lockTenant`): then no claim brings anything after the commit. What a worker has
 * claimed ahead starts within half a second or is handed back.
 */
export const pauseQueue = maybeOne<QueueRef & By, Pause>(
  'queue.pause_queue',
  `insert into queue_pause (tenant_id, queue, paused_at, paused_by, paused_why)
   values ($1, $2, clock_timestamp(), $3, $4)
   on conflict do nothing
   returning paused_at, paused_by, paused_why`,
  ({ tenantId, queue, actor, why }) => [tenantId, queue, actor, why],
)

export const resumeQueue = maybeOne<QueueRef, Pause>(
  'queue.resume_queue',
  `delete from queue_pause where tenant_id = $1 and queue = $2 returning paused_at, paused_by, paused_why`,
  ({ tenantId, queue }) => [tenantId, queue],
)

/** Pauses a lane in all queues, that is: a connector. */
export const pauseLane = maybeOne<LaneRef & By, Pause>(
  'queue.pause_lane',
  `insert into lane_policy as p (tenant_id, lane, paused_at, paused_by, paused_why)
   values ($1, $2, clock_timestamp(), $3, $4)
   on conflict (tenant_id, lane) do update
     set paused_at = excluded.paused_at, paused_by = excluded.paused_by, paused_why = excluded.paused_why
     where p.paused_at is null
   returning paused_at, paused_by, paused_why`,
  ({ tenantId, lane, actor, why }) => [tenantId, lane, actor, why],
)

/** Ends the pause of a lane and its block, if there is one: whoever resumes wants it to be tried. */
export const resumeLane = maybeOne<LaneRef, { readonly was_paused: boolean }>(
  'queue.resume_lane',
  `update lane_policy p
   set paused_at = null, paused_by = null, paused_why = null, blocked_until = null, blocked_why = null
   from (select tenant_id, lane, paused_at is not null as was_paused from lane_policy
         where tenant_id = $1 and lane = $2 for update) as o
   where p.tenant_id = o.tenant_id and p.lane = o.lane
     and (p.paused_at is not null or p.blocked_until > clock_timestamp())
   returning o.was_paused`,
  ({ tenantId, lane }) => [tenantId, lane],
)

/**
 * Makes the jobs ready that wait for the end of a block, e.g. those that heard the 429 themselves: who resumes a
 * lane does not want them to wait on. Gives the queues that got work; wake them after the commit.
 */
export const endSnoozes = many<LaneRef, { readonly queue: number }>(
  'queue.end_snoozes',
  `with gone as (
     delete from job_deferred where tenant_id = $1 and lane = $2 and cause = 'snooze' returning *
   ),
   ready as (
     insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
     select queue, tenant_id, lane, priority, job_id, attempt from gone order by run_at
   )
   select distinct queue from gone`,
  ({ tenantId, lane }) => [tenantId, lane],
)

/** Pauses all jobs of a workspace. */
export const pauseTenant = maybeOne<TenantRef & By, Pause>(
  'queue.pause_tenant',
  `insert into tenant_policy as p (tenant_id, paused_at, paused_by, paused_why)
   values ($1, clock_timestamp(), $2, $3)
   on conflict (tenant_id) do update
     set paused_at = excluded.paused_at, paused_by = excluded.paused_by, paused_why = excluded.paused_why
     where p.paused_at is null
   returning paused_at, paused_by, paused_why`,
  ({ tenantId, actor, why }) => [tenantId, actor, why],
)

export const resumeTenant = maybeOne<TenantRef, { readonly tenant_id: string }>(
  'queue.resume_tenant',
  `update tenant_policy set paused_at = null, paused_by = null, paused_why = null
   where tenant_id = $1 and paused_at is not null
   returning tenant_id`,
  ({ tenantId }) => [tenantId],
)

export const findTenantPause = maybeOne<TenantRef, Pause>(
  'queue.find_tenant_pause',
  `select paused_at, paused_by, paused_why from tenant_policy where tenant_id = $1 and paused_at is not null`,
  ({ tenantId }) => [tenantId],
)

export const findQueuePauses = many<TenantRef, Pause & { readonly queue: number }>(
  'queue.find_queue_pauses',
  'select queue, paused_at, paused_by, paused_why from queue_pause where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

export interface ShutLane {
  readonly lane: number
  readonly paused_at: Date | null
  readonly paused_by: string | null
  readonly paused_why: string | null
  readonly blocked_until: Date | null
  readonly blocked_why: string | null
}

/** Lanes that are paused or blocked now, from the one after `afterLane` on. */
export const listShutLanes = many<
  TenantRef & { readonly afterLane: number; readonly limit: number },
  ShutLane
>(
  'queue.list_shut_lanes',
  `select lane, paused_at, paused_by, paused_why,
          case when blocked_until > clock_timestamp() then blocked_until end as blocked_until,
          case when blocked_until > clock_timestamp() then blocked_why end as blocked_why
   from lane_policy
   where tenant_id = $1 and lane > $2 and (paused_at is not null or blocked_until > clock_timestamp())
   order by lane limit $3`,
  ({ tenantId, afterLane, limit }) => [tenantId, afterLane, limit],
)

/** The pause of one lane. */
export const findLanePause = maybeOne<LaneRef, Pause>(
  'queue.find_lane_pause',
  `select paused_at, paused_by, paused_why from lane_policy
   where tenant_id = $1 and lane = $2 and paused_at is not null`,
  ({ tenantId, lane }) => [tenantId, lane],
)
