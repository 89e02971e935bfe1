import { many, maybeOne, one, run } from '../../platform/db/statement.ts'
import type { Selection } from './selection.ts'

export const PLAN_ACTIONS = ['retry', 'erase'] as const
export type PlanAction = (typeof PLAN_ACTIONS)[number]
export const PLAN_STATES = ['searching', 'planned', 'running', 'done', 'aborted', 'failed'] as const
export type PlanState = (typeof PLAN_STATES)[number]

/** One of the events of a plan, as it was when it was found; nothing of its payload. */
export interface SampleEvent {
  readonly inbox_id: string
  readonly provider: string
  readonly event_id: string
  readonly event_type: string
  readonly received_at: string
  readonly status: string
}

export interface NewPlanRow {
  readonly tenant_id: string
  readonly id: string
  readonly action: PlanAction
  readonly selection: Selection
  readonly rate_per_second: number
  readonly new_message_id: boolean | null
  readonly config_version: number | null
  readonly created_by: string
  readonly created_at: Date
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
}

export interface PlanRow extends NewPlanRow {
  readonly state: PlanState
  readonly looked: number
  readonly searched_id: string | null
  readonly total: number
  readonly oldest_at: Date | null
  readonly sample: readonly SampleEvent[]
  readonly unreadable: number
  readonly unreadable_ids: readonly string[]
  readonly waiting_for: string | null
  readonly waiting_since: Date | null
  readonly waits: number
  readonly expires_at: Date | null
  readonly expired: boolean
  readonly committed_by: string | null
  readonly committed_at: Date | null
  readonly reason: string | null
  readonly ended_at: Date | null
  readonly ended_by: string | null
  readonly ended_why: string | null
  readonly done: number
  readonly skipped: Readonly<Record<string, number>>
}

export interface PlanRef {
  readonly tenantId: string
  readonly id: string
}

const COLUMNS = `tenant_id, id, action, selection, rate_per_second, new_message_id, config_version, state, looked,
  searched_id, total, oldest_at, sample, unreadable, unreadable_ids, waiting_for, waiting_since, waits, created_by,
  created_at, expires_at,
  coalesce(expires_at < clock_timestamp(), false) as expired, committed_by, committed_at, reason, ended_at, ended_by,
  ended_why, done, skipped, request_id, correlation_id, trace_id`

const refOf = ({ tenantId, id }: PlanRef) => [tenantId, id]

/** The moment of a plan by the clock that inbox rows have: the next whole millisecond, because it travels as a date. */
export const planMoment = one<undefined, { readonly at: Date }>(
  'webhook_plans.moment',
  `select date_trunc('milliseconds', clock_timestamp()) + interval '1 millisecond' as at`,
  () => [],
)

export const insertPlan = one<NewPlanRow, PlanRow>(
  'webhook_plans.insert',
  `insert into webhook_plan (tenant_id, id, action, selection, rate_per_second, new_message_id, config_version,
                             created_by, created_at, request_id, correlation_id, trace_id, next_at)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, clock_timestamp())
   returning ${COLUMNS}`,
  (plan) => [
    plan.tenant_id,
    plan.id,
    plan.action,
    JSON.stringify(plan.selection),
    plan.rate_per_second,
    plan.new_message_id,
    plan.config_version,
    plan.created_by,
    plan.created_at,
    plan.request_id,
    plan.correlation_id,
    plan.trace_id,
  ],
)

export const findPlan = maybeOne<PlanRef, PlanRow>(
  'webhook_plans.find',
  `select ${COLUMNS} from webhook_plan where tenant_id = $1 and id = $2`,
  refOf,
)

export interface PlanFilter {
  readonly tenantId: string
  readonly action: PlanAction
  readonly state?: PlanState | undefined
  readonly beforeId?: string | undefined
  readonly limit: number
}

/** Newest first. */
export const listPlans = many<PlanFilter, PlanRow>(
  'webhook_plans.list',
  `select ${COLUMNS} from webhook_plan
   where tenant_id = $1 and action = $2 and ($3::text is null or state = $3) and ($4::uuid is null or id < $4)
   order by id desc limit $5`,
  ({ tenantId, action, state, beforeId, limit }) => [
    tenantId,
    action,
    state ?? null,
    beforeId ?? null,
    limit,
  ],
)

/** Waits until nobody works on the plan and keeps it so until the end of the transaction. */
export const lockPlan = maybeOne<PlanRef, PlanRow>(
  'webhook_plans.lock',
  `select ${COLUMNS} from webhook_plan where tenant_id = $1 and id = $2 for update`,
  refOf,
)

export const countRunning = one<{ readonly tenantId: string }, { readonly running: number }>(
  'webhook_plans.count_running',
  `select count(*) as running from webhook_plan where tenant_id = $1 and state in ('searching', 'running')`,
  ({ tenantId }) => [tenantId],
)

interface Act extends PlanRef {
  readonly actor: string
  readonly reason: string
}

export const startPlan = one<
  Act & { readonly requestId: string; readonly correlationId: string; readonly traceId: string },
  PlanRow
>(
  'webhook_plans.start',
  `update webhook_plan
   set state = 'running', committed_by = $3, reason = $4, committed_at = clock_timestamp(),
       next_at = clock_timestamp(), request_id = $5, correlation_id = $6, trace_id = $7
   where tenant_id = $1 and id = $2
   returning ${COLUMNS}`,
  ({ tenantId, id, actor, reason, requestId, correlationId, traceId }) => [
    ...[tenantId, id, actor, reason],
    ...[requestId, correlationId, traceId],
  ],
)

export const abortPlan = one<Act & { readonly shown: Selection }, PlanRow>(
  'webhook_plans.abort',
  `update webhook_plan
   set state = 'aborted', ended_at = clock_timestamp(), ended_by = $3, ended_why = $4, next_at = null, selection = $5,
       waiting_for = null, waiting_since = null
   where tenant_id = $1 and id = $2
   returning ${COLUMNS}`,
  ({ tenantId, id, actor, reason, shown }) => [tenantId, id, actor, reason, JSON.stringify(shown)],
)

/** The plan that is due for longest, of any workspace; one that a worker is at is passed over. */
export const takeDuePlan = maybeOne<undefined, PlanRow>(
  'webhook_plans.take_due',
  `select ${COLUMNS} from webhook_plan
   where state in ('searching', 'running') and next_at <= clock_timestamp()
   order by next_at limit 1
   for update skip locked`,
  () => [],
)

export const nextDue = one<undefined, { readonly in_ms: number | null }>(
  'webhook_plans.next_due',
  `select extract(epoch from min(next_at) - clock_timestamp())::float8 * 1000 as in_ms
   from webhook_plan where state in ('searching', 'running')`,
  () => [],
)

/** Nobody else takes it for so long: who searches reads payloads, and holds no transaction meanwhile. */
export const postponePlan = run<PlanRef & { readonly forMs: number }>(
  'webhook_plans.postpone',
  `update webhook_plan set next_at = clock_timestamp() + $3 * interval '1 millisecond'
   where tenant_id = $1 and id = $2 and state in ('searching', 'running')`,
  ({ tenantId, id, forMs }) => [tenantId, id, forMs],
)

/** The next step cannot be done now, through no fault of the plan. */
export const waitPlan = maybeOne<PlanRef & { readonly waitingFor: string; readonly forMs: number }, PlanRow>(
  'webhook_plans.wait',
  `update webhook_plan
   set waiting_for = $3, waiting_since = coalesce(waiting_since, clock_timestamp()), waits = waits + 1,
       next_at = clock_timestamp() + $4 * interval '1 millisecond'
   where tenant_id = $1 and id = $2 and state in ('searching', 'running')
   returning ${COLUMNS}`,
  ({ tenantId, id, waitingFor, forMs }) => [tenantId, id, waitingFor, forMs],
)

export interface Found extends PlanRef {
  readonly looked: number
  readonly searchedId: string | null
  readonly total: number
  readonly oldestAt: Date | null
  readonly sample: readonly SampleEvent[]
  readonly unreadable: number
  readonly unreadableIds: readonly string[]
  readonly waits: number
  /** True: the search has ended, the plan can be committed for `ttlMs`. */
  readonly complete: boolean
  readonly ttlMs: number
}

/** How far a search has come. */
export const advanceSearch = one<Found, PlanRow>(
  'webhook_plans.advance_search',
  `update webhook_plan
   set looked = $3, searched_id = $4, total = $5, oldest_at = $6, sample = $7, failures = 0,
       state = case when $8 then 'planned' else state end,
       expires_at = case when $8 then clock_timestamp() + $9 * interval '1 millisecond' end,
       next_at = case when not $8 then clock_timestamp() end,
       unreadable = $10, unreadable_ids = $11, waits = $12, waiting_for = null, waiting_since = null
   where tenant_id = $1 and id = $2
   returning ${COLUMNS}`,
  (to) => [
    ...[to.tenantId, to.id, to.looked, to.searchedId, to.total, to.oldestAt],
    ...[JSON.stringify(to.sample), to.complete, to.ttlMs],
    ...[to.unreadable, JSON.stringify(to.unreadableIds), to.waits],
  ],
)

export interface Advance extends PlanRef {
  readonly done: number
  readonly skipped: Readonly<Record<string, number>>
  /** Events of this batch: at the rate of the plan, they take that long. */
  readonly batch: number
  readonly ended: boolean
  readonly selection: Selection
}

/** How far a plan has come. What it is behind its rate is made up for, one second at most. */
export const advancePlan = run<Advance>(
  'webhook_plans.advance',
  `update webhook_plan
   set done = $3, skipped = $4, failures = 0, selection = $7, waits = 0, waiting_for = null, waiting_since = null,
       state = case when $6 then 'done' else state end,
       ended_at = case when $6 then clock_timestamp() end,
       next_at = case when not $6 then greatest(next_at, clock_timestamp() - interval '1 second')
                                       + $5 / rate_per_second::float8 * interval '1 second' end
   where tenant_id = $1 and id = $2`,
  (to) => [
    ...[to.tenantId, to.id, to.done, JSON.stringify(to.skipped), to.batch, to.ended],
    JSON.stringify(to.selection),
  ],
)

/** Counts a step that failed. After `maxFailures` in a row the plan has failed; until then it is tried again. */
export const failStep = maybeOne<
  PlanRef & {
    readonly maxFailures: number
    readonly pauseMs: number
    readonly why: string
    readonly shown: Selection
  },
  PlanRow
>(
  'webhook_plans.fail_step',
  `update webhook_plan
   set failures = failures + 1,
       state = case when failures + 1 >= $3 then 'failed' else state end,
       ended_at = case when failures + 1 >= $3 then clock_timestamp() end,
       ended_why = case when failures + 1 >= $3 then $5 end, waiting_for = null, waiting_since = null,
       selection = case when failures + 1 >= $3 then $6::json else selection end,
       next_at = case when failures + 1 < $3 then clock_timestamp() + $4 * interval '1 millisecond' end
   where tenant_id = $1 and id = $2 and state in ('searching', 'running')
   returning ${COLUMNS}`,
  ({ tenantId, id, maxFailures, pauseMs, why, shown }) => [
    ...[tenantId, id, maxFailures, pauseMs, why],
    JSON.stringify(shown),
  ],
)
