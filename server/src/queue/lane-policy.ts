import { many, run } from '../platform/db/statement.ts'

interface LaneRef {
  readonly tenantId: string
  readonly lane: number
}

/** Who met the block, for the event that tells it. */
export interface BlockedBy {
  readonly connector: string
  readonly jobId: string
  readonly requestId: string
  readonly correlationId: string
  readonly traceId: string
}

/** What holds a lane back. As in the table `lane_policy`. */
export type BlockReason =
  | 'retry_after'
  | 'workspace_suspended'
  | 'connector_unusable'
  | 'circuit_open'
  | 'rate_limited'

/**
 * Stops claims from a lane for a time (429 with Retry-After, a suspension): its jobs wait and spend no attempt.
 * A longer block that is already set stays. Writes the event `lane.blocked` with it; the many answers of one
 * moment, which hardly move the end, are not told again, and a limit that is full again and again only when it has
 * had room for a minute.
 */
export const blockLane = run<
  LaneRef & {
    readonly forMs: number
    readonly reason: BlockReason
    readonly why: string
    readonly by: BlockedBy
  }
>(
  'queue.block_lane',
  `with before as materialized (
     -- Locked: of several at the same time, only the first is to tell it.
     select true as known, blocked_until as until from lane_policy where tenant_id = $1 and lane = $2 for update
   ),
   blocked as (
     insert into lane_policy as p (tenant_id, lane, blocked_until, blocked_why, blocked_reason)
     select $1, $2, clock_timestamp() + $3 * interval '1 millisecond', $4, $10
     from (select count(*) from before) as locked
     on conflict (tenant_id, lane) do update
       set blocked_until = excluded.blocked_until, blocked_why = excluded.blocked_why,
           blocked_reason = excluded.blocked_reason
       where coalesce(p.blocked_until < excluded.blocked_until, true)
     returning p.blocked_until, xmax = 0 as is_new
   )
   select append_events(json_build_array(json_build_object(
     'tenant_id', $1::uuid, 'type', 'lane.blocked', 'message', $4::text,
     'severity', case when $10 = 'rate_limited' then 'info' else 'warning' end,
     'connector', $5::text, 'job_id', $6::uuid, 'request_id', $7::text, 'correlation_id', $8::text,
     'trace_id', $9::text, 'data', json_build_object('blocked_until', blocked.blocked_until)
   )))
   from blocked left join before on true
   where case
     when before.known then coalesce(
       before.until + case when $10 = 'rate_limited' then interval '1 minute' else interval '1 second' end
         < blocked.blocked_until,
       true
     )
     else blocked.is_new
   end`,
  ({ tenantId, lane, forMs, reason, why, by }) => [
    tenantId,
    lane,
    forMs,
    why,
    by.connector,
    by.jobId,
    by.requestId,
    by.correlationId,
    by.traceId,
    reason,
  ],
)

/** Ends the block of a lane if it has this reason; 0 when it has not. */
export const freeLane = run<LaneRef & { readonly reason: BlockReason }>(
  'queue.free_lane',
  `update lane_policy set blocked_until = null, blocked_why = null
   where tenant_id = $1 and lane = $2 and blocked_reason = $3 and blocked_until > clock_timestamp()`,
  ({ tenantId, lane, reason }) => [tenantId, lane, reason],
)

/** As `freeLane` for every lane of a workspace; gives those that were blocked for this reason. */
export const freeLanes = many<
  { readonly tenantId: string; readonly reason: BlockReason },
  { readonly lane: number }
>(
  'queue.free_lanes',
  `update lane_policy set blocked_until = null, blocked_why = null
   where tenant_id = $1 and blocked_reason = $2 and blocked_until > clock_timestamp()
   returning lane`,
  ({ tenantId, reason }) => [tenantId, reason],
)

/** Sets the caps of lanes: jobs running at once, over all nodes and queues; null takes a cap away. What pauses or blocks a lane stays. */
export const setLaneCaps = run<{
  readonly tenantId: string
  readonly caps: readonly { readonly lane: number; readonly max_running: number | null }[]
}>(
  'queue.set_lane_caps',
  `insert into lane_policy as p (tenant_id, lane, max_running)
   select $1, w.lane, w.max_running
   from json_to_recordset($2::json) as w (lane int, max_running int)
   where w.max_running is not null
      or exists (select from lane_policy o where o.tenant_id = $1 and o.lane = w.lane and o.max_running is not null)
   order by w.lane
   on conflict (tenant_id, lane) do update set max_running = excluded.max_running
     where p.max_running is distinct from excluded.max_running`,
  ({ tenantId, caps }) => [tenantId, JSON.stringify(caps)],
)

/**
 * Sets what a workspace may use: jobs running at once (null = no cap) and its share of the turns (1–100). A pause
 * of it stays.
 */
export const setTenantShare = run<{
  readonly tenantId: string
  readonly maxRunning: number | null
  readonly weight: number
}>(
  'queue.set_tenant_share',
  `insert into tenant_policy as p (tenant_id, max_running, weight)
   select $1::uuid, $2::int, $3::int
   where $2::int is not null or $3::int <> 1 or exists (select from tenant_policy where tenant_id = $1::uuid)
   on conflict (tenant_id) do update set max_running = excluded.max_running, weight = excluded.weight
     where (p.max_running, p.weight) is distinct from (excluded.max_running, excluded.weight)`,
  ({ tenantId, maxRunning, weight }) => [tenantId, maxRunning, weight],
)
