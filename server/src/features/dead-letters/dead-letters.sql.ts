import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

export const PLAN_ACTIONS = ['replay', 'purge', 'restore'] as const
export type PlanAction = (typeof PLAN_ACTIONS)[number]
export const PLAN_STATES = ['planned', 'running', 'done', 'aborted', 'failed'] as const
export type PlanState = (typeof PLAN_STATES)[number]

/** A filter as it is stored with its plan; times are ISO 8601. */
export interface StoredFilter {
  readonly connector?: string | undefined
  readonly operation?: string | undefined
  readonly reason?: string | undefined
  readonly error_class?: string | undefined
  readonly fingerprint?: string | undefined
  readonly dead_after?: string | undefined
  readonly dead_before?: string | undefined
}

/** One of the letters that a plan would touch, as it was when the plan was made. */
export interface SampleLetter {
  readonly job_id: string
  readonly connector: string
  readonly operation: string
  readonly dead_at: string
  readonly error: { readonly class: string; readonly message: string; readonly http_status: number | null }
}

export interface NewPlanRow {
  readonly tenant_id: string
  readonly id: string
  readonly queue: number
  readonly action: PlanAction
  readonly job_ids: readonly string[] | null
  readonly filter: StoredFilter | null
  readonly rate_per_second: number
  readonly new_effect: boolean
  readonly total: number
  readonly oldest_at: Date | null
  readonly sample: readonly SampleLetter[]
  readonly created_by: string
  readonly created_at: Date
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
}

export interface PlanRow extends NewPlanRow {
  readonly expires_at: Date
  readonly expired: boolean
  readonly state: PlanState
  readonly committed_by: string | null
  readonly committed_at: Date | null
  readonly reason: string | null
  readonly ended_at: Date | null
  readonly ended_by: string | null
  readonly ended_why: string | null
  readonly done: number
  /** Why → how many. */
  readonly skipped: Readonly<Record<string, number>>
  readonly looked_at: number
  readonly reached_us: number | null
  readonly reached_id: string | null
  readonly failures: number
}

interface PlanRef {
  readonly tenantId: string
  readonly id: string
}

const COLUMNS = `tenant_id, id, queue, action, job_ids, filter, rate_per_second, new_effect, total, oldest_at,
  sample, created_by, created_at, request_id, correlation_id, trace_id, expires_at,
  expires_at < clock_timestamp() as expired, state, committed_by, committed_at, reason, ended_at, ended_by,
  ended_why, done, skipped, looked_at, reached_us, reached_id, failures`

const refOf = ({ tenantId, id }: PlanRef) => [tenantId, id]

/**
 * The moment of a plan by the clock that the letters have. Whole milliseconds, because it travels as a date; the
 * next one, so that a letter of this very millisecond is part of it.
 */
export const planMoment = one<undefined, { readonly at: Date }>(
  'dead_letter_plans.moment',
  `select date_trunc('milliseconds', clock_timestamp()) + interval '1 millisecond' as at`,
  () => [],
)

export const insertPlan = one<{ readonly plan: NewPlanRow; readonly ttlMs: number }, PlanRow>(
  'dead_letter_plans.insert',
  `insert into dead_letter_plan (tenant_id, id, queue, action, job_ids, filter, rate_per_second, new_effect, total,
                                 oldest_at, sample, created_by, created_at, request_id, correlation_id, trace_id,
                                 expires_at)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16,
           $13::timestamptz + $17 * interval '1 millisecond')
   returning ${COLUMNS}`,
  ({ plan, ttlMs }) => [
    plan.tenant_id,
    plan.id,
    plan.queue,
    plan.action,
    plan.job_ids,
    plan.filter && JSON.stringify(plan.filter),
    plan.rate_per_second,
    plan.new_effect,
    plan.total,
    plan.oldest_at,
    JSON.stringify(plan.sample),
    plan.created_by,
    plan.created_at,
    plan.request_id,
    plan.correlation_id,
    plan.trace_id,
    ttlMs,
  ],
)

export const findPlan = maybeOne<PlanRef, PlanRow>(
  'dead_letter_plans.find',
  `select ${COLUMNS} from dead_letter_plan where tenant_id = $1 and id = $2`,
  refOf,
)

export interface PlanFilter {
  readonly tenantId: string
  readonly state?: PlanState | undefined
  readonly beforeId?: string | undefined
  readonly limit: number
}

/** Newest first. */
export const listPlans = many<PlanFilter, PlanRow>(
  'dead_letter_plans.list',
  `select ${COLUMNS} from dead_letter_plan
   where tenant_id = $1 and ($2::text is null or state = $2) and ($3::uuid is null or id < $3)
   order by id desc limit $4`,
  ({ tenantId, state, beforeId, limit }) => [tenantId, state ?? null, beforeId ?? null, limit],
)

/** Waits until nobody works on the plan and keeps it so until the end of the transaction. */
export const lockPlan = maybeOne<PlanRef, PlanRow>(
  'dead_letter_plans.lock',
  `select ${COLUMNS} from dead_letter_plan where tenant_id = $1 and id = $2 for update`,
  refOf,
)

export const countRunning = one<{ readonly tenantId: string }, { readonly running: number }>(
  'dead_letter_plans.count_running',
  `select count(*) as running from dead_letter_plan where tenant_id = $1 and state = 'running'`,
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
  'dead_letter_plans.start',
  `update dead_letter_plan
   set state = 'running', committed_by = $3, reason = $4, committed_at = clock_timestamp(),
       next_at = clock_timestamp(), request_id = $5, correlation_id = $6, trace_id = $7
   where tenant_id = $1 and id = $2
   returning ${COLUMNS}`,
  ({ tenantId, id, actor, reason, requestId, correlationId, traceId }) => [
    tenantId,
    id,
    actor,
    reason,
    requestId,
    correlationId,
    traceId,
  ],
)

export const abortPlan = one<Act, PlanRow>(
  'dead_letter_plans.abort',
  `update dead_letter_plan
   set state = 'aborted', ended_at = clock_timestamp(), ended_by = $3, ended_why = $4, next_at = null
   where tenant_id = $1 and id = $2
   returning ${COLUMNS}`,
  ({ tenantId, id, actor, reason }) => [tenantId, id, actor, reason],
)

/** The running plan that is due for longest, of any workspace; one that a worker is at is passed over. */
export const takeDuePlan = maybeOne<undefined, PlanRow>(
  'dead_letter_plans.take_due',
  `select ${COLUMNS} from dead_letter_plan
   where state = 'running' and next_at <= clock_timestamp()
   order by next_at limit 1
   for update skip locked`,
  () => [],
)

export const nextDue = one<undefined, { readonly in_ms: number | null }>(
  'dead_letter_plans.next_due',
  `select extract(epoch from min(next_at) - clock_timestamp())::float8 * 1000 as in_ms
   from dead_letter_plan where state = 'running'`,
  () => [],
)

export interface Advance extends PlanRef {
  readonly total: number
  readonly done: number
  readonly skipped: Readonly<Record<string, number>>
  readonly lookedAt: number
  readonly reachedUs: number | null
  readonly reachedId: string | null
  /** Letters of this batch: at the rate of the plan, they take that long. */
  readonly batch: number
  readonly ended: boolean
}

/** How far a plan has come. What it is behind its rate is made up for, one second at most. */
export const advancePlan = run<Advance>(
  'dead_letter_plans.advance',
  `update dead_letter_plan
   set total = $3, done = $4, skipped = $5, looked_at = $6, reached_us = $7, reached_id = $8, failures = 0,
       state = case when $10 then 'done' else state end,
       ended_at = case when $10 then clock_timestamp() end,
       next_at = case when not $10 then greatest(next_at, clock_timestamp() - interval '1 second')
                                        + $9 / rate_per_second::float8 * interval '1 second' end
   where tenant_id = $1 and id = $2`,
  (to) => [
    to.tenantId,
    to.id,
    to.total,
    to.done,
    JSON.stringify(to.skipped),
    to.lookedAt,
    to.reachedUs,
    to.reachedId,
    to.batch,
    to.ended,
  ],
)

/** Counts a batch that failed. After `maxFailures` in a row the plan has failed; until then it is tried again. */
export const failBatch = maybeOne<
  PlanRef & { readonly maxFailures: number; readonly pauseMs: number; readonly why: string },
  PlanRow
>(
  'dead_letter_plans.fail_batch',
  `update dead_letter_plan
   set failures = failures + 1,
       state = case when failures + 1 >= $3 then 'failed' else state end,
       ended_at = case when failures + 1 >= $3 then clock_timestamp() end,
       ended_why = case when failures + 1 >= $3 then $5 end,
       next_at = case when failures + 1 < $3 then clock_timestamp() + $4 * interval '1 millisecond' end
   where tenant_id = $1 and id = $2 and state = 'running'
   returning ${COLUMNS}`,
  ({ tenantId, id, maxFailures, pauseMs, why }) => [tenantId, id, maxFailures, pauseMs, why],
)

/** Plans that were never committed are forgotten after a day, the others after `days`; gives how many. */
export const forgetPlans = run<{ readonly days: number; readonly limit: number }>(
  'dead_letter_plans.forget',
  `delete from dead_letter_plan p using (
     select tenant_id, id from dead_letter_plan
     where state <> 'running'
       and created_at < clock_timestamp() - case when committed_at is null then 1 else $1 end * interval '1 day'
     order by created_at limit $2
     for update skip locked
   ) as old
   where p.tenant_id = old.tenant_id and p.id = old.id`,
  ({ days, limit }) => [days, limit],
)
