/**
 * Dead letters: jobs that were given up, and what operators do with them.
 *
 * A bulk action (replay, purge, restore; of one letter, of a thousand that are named, or of all that fit a filter)
 * is an object with states:
 *
 *   plan ──► planned ──commit──► running ──► done | failed
 *               └──────abort────────┴──► aborted
 *
 * Invariants, each held by a test:
 * 1. A plan touches nothing. What a commit then does is at most what the plan counted: letters that die later, and
 *    those that come back from a replay of this very plan, are not part of it.
 * 2. Commit and abort happen once, each with its audit entry in the same transaction; a plan that has expired,
 *    matches nothing or is not in the right state is left as it is.
 * 3. A batch of letters and the progress that tells of it commit together, under the lock of the plan: a worker
 *    that dies loses nothing, and several never do one letter twice.
 * 4. What could not be done is counted with its reason; done + skipped = total when a plan is done.
 *
 * What a replay and the bin mean for a job is the queue's (queue/dead-letters.ts).
 */
import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import {
  countDeadLetters,
  type DeadLetter,
  pickDeadLetters,
  pickNamedLetters,
} from '../../queue/dead-letters.ts'
import { QUEUES, type QueueName } from '../../queue/job.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import * as sql from './dead-letters.sql.ts'
import { type Plan, planOf, type Selection, skippedOf } from './plan.ts'
import { filterOf, requireAllLetters, requireSomeLetter, takesFromBin } from './selection.ts'

export type { PlanAction, PlanState, StoredFilter } from './dead-letters.sql.ts'
export { type Plan, type Selection, skippedOf } from './plan.ts'

/** Hint to the workers that a plan was committed; they look every second anyway. */
export const PLAN_CHANNEL = 'orchestrator_dead_letter_plans'

const PLAN_TTL_MS = 15 * 60_000
/** Letters per second of a replay that does not say: the upstream has just come back. */
const DEFAULT_RATE = 50
/** Purge and restore call nobody; this only keeps their batches from crowding out the queue. */
const BIN_RATE = 2_000
const SAMPLE = 5
/** Bulk actions of one workspace at a time: others' turns must come soon. */
const MAX_RUNNING = 10

export interface PlanRequest {
  readonly tenantId: string
  readonly queue: QueueName
  readonly action: sql.PlanAction
  readonly selection: Selection
  /** Of a replay. */
  readonly ratePerSecond?: number | undefined
  /** Of a replay: the jobs get new idempotency keys, so that receivers take them for new work. */
  readonly newEffect?: boolean | undefined
  readonly actor: string
  readonly call: CallContext
}

/**
 * Says what a bulk action would do, and stores that for the commit. Errors: for named jobs `not_found`, `conflict`
 * that names their states; `validation_error` for a rate or a new effect without a replay.
 */
export async function makePlan(db: Db, request: PlanRequest): Promise<Plan> {
  refuseStrayFields(request)
  const { tenantId, queue, action, selection, call } = request
  return db.transaction(async (tx) => {
    const { at } = await sql.planMoment(tx, undefined)
    const { total, oldestAt, sample } = await preview(tx, request, at)
    const plan = {
      tenant_id: tenantId,
      id: newId(),
      queue: QUEUES[queue],
      action,
      job_ids: 'ids' in selection ? selection.ids : null,
      filter: 'filter' in selection ? selection.filter : null,
      rate_per_second: action === 'replay' ? (request.ratePerSecond ?? DEFAULT_RATE) : BIN_RATE,
      new_effect: request.newEffect ?? false,
      total,
      oldest_at: oldestAt,
      sample: sample.map(sampleOf),
      created_by: request.actor,
      created_at: at,
      request_id: call.requestId,
      correlation_id: call.correlationId,
      trace_id: call.traceId,
    }
    return planOf(await sql.insertPlan(tx, { plan, ttlMs: PLAN_TTL_MS }))
  })
}

function refuseStrayFields({ action, ratePerSecond, newEffect }: PlanRequest): void {
  if (action === 'replay') return
  const details = [
    ...(ratePerSecond === undefined
      ? []
      : [{ path: '/body/rate_per_second', message: 'is of replays only' }]),
    ...(newEffect ? [{ path: '/body/new_effect', message: 'is of replays only' }] : []),
  ]
  const [first] = details
  if (first) throw new Problem('validation_error', `${first.path} ${first.message}.`, { details })
}

async function preview(
  tx: Tx,
  { tenantId, queue, action, selection }: PlanRequest,
  cutoff: Date,
): Promise<{ total: number; oldestAt: Date | null; sample: readonly DeadLetter[] }> {
  const scope = { tenantId, queue, binned: takesFromBin(action) }
  if ('ids' in selection) {
    const { ids } = selection
    const oldestAt = await requireAllLetters(tx, tenantId, { action, queue, ids })
    const sample = await pickNamedLetters(tx, { ...scope, ids: ids.slice(0, SAMPLE) })
    return { total: ids.length, oldestAt, sample }
  }
  const filter = filterOf(selection.filter)
  const { letters, oldest } = await countDeadLetters(tx, { ...scope, filter, cutoff })
  const sample = await pickDeadLetters(tx, { ...scope, filter, cutoff, after: undefined, limit: SAMPLE })
  return { total: letters, oldestAt: oldest, sample }
}

const sampleOf = (letter: DeadLetter): sql.SampleLetter => ({
  job_id: letter.id,
  connector: letter.connector,
  operation: letter.operation,
  dead_at: letter.deadAt.toISOString(),
  error: {
    class: letter.error.class,
    message: letter.error.message,
    http_status: letter.error.httpStatus ?? null,
  },
})

interface PlanRef {
  readonly tenantId: string
  readonly id: string
}

const notFound = (): Problem => new Problem('not_found', 'There is no such plan in this workspace.')

/** Errors: `not_found`, also for a plan of another workspace. */
export async function getPlan(on: Queryable, ref: PlanRef): Promise<Plan> {
  const row = await sql.findPlan(on, ref)
  if (!row) throw notFound()
  return planOf(row)
}

/** Newest first; plans that were never committed are kept for a day, the others for 90. */
export const listPlans = async (on: Queryable, filter: sql.PlanFilter): Promise<Plan[]> =>
  (await sql.listPlans(on, filter)).map(planOf)

/**
 * Lets a plan run. Errors: `not_found`; `conflict` when it is not `planned` any more, has expired, matches nothing,
 * when the jobs it names are no dead letters any more, or when too many run already.
 */
export async function commitPlan(db: Db, ref: PlanRef, change: Change): Promise<Plan> {
  return db.transaction(async (tx) => {
    // Commits of one workspace take turns, so that the count of what runs is exact.
    await lockWorkspace(tx, { id: ref.tenantId })
    const row = await sql.lockPlan(tx, ref)
    if (!row) throw notFound()
    const planned = planOf(row)
    await requireCommittable(tx, planned)
    const { reason, call } = change
    const actor = nameOf(change)
    const plan = planOf(await sql.startPlan(tx, { ...ref, actor, reason, ...call }))
    await tell(tx, plan, call, `dead_letters.${plan.action}_started`, `${actor}: ${reason}`)
    await notify(tx, { channel: PLAN_CHANNEL, payload: plan.id })
    await recordAudit(tx, {
      ...change,
      tenantId: ref.tenantId,
      action: `dead_letters.${plan.action}_started`,
      object: `dead_letter_plan:${plan.id}`,
      diff: [{ path: '', after: auditedFacts(plan) }],
    })
    return plan
  })
}

async function requireCommittable(tx: Tx, plan: Plan): Promise<void> {
  const { tenantId, action, queue, selection } = plan
  if (plan.state !== 'planned') throw new Problem('conflict', `The plan is ${plan.state} already.`)
  if (plan.expired) throw new Problem('conflict', 'The plan has expired: make a new one.')
  if (plan.total === 0)
    throw new Problem('conflict', 'The plan matches no dead letter: there is nothing to do.')
  if ('ids' in selection) await requireSomeLetter(tx, tenantId, { action, queue, ids: selection.ids })
  const { running } = await sql.countRunning(tx, { tenantId })
  if (running >= MAX_RUNNING)
    throw new Problem('conflict', `${running} plans are running already: wait until one ends, or abort one.`)
}

/** Stops a plan for good; what it has done stays done. Errors: `not_found`; `conflict` when it has ended. */
export async function abortPlan(db: Db, ref: PlanRef, change: Change): Promise<Plan> {
  return db.transaction(async (tx) => {
    const row = await sql.lockPlan(tx, ref)
    if (!row) throw notFound()
    if (row.state !== 'planned' && row.state !== 'running')
      throw new Problem('conflict', `The plan is ${row.state} already.`)
    const plan = planOf(await sql.abortPlan(tx, { ...ref, actor: nameOf(change), reason: change.reason }))
    const why = `Aborted by ${nameOf(change)} after ${plan.done} of ${plan.total}: ${change.reason}`
    await tell(tx, plan, change.call, 'dead_letters.plan_aborted', why)
    await recordAudit(tx, {
      ...change,
      tenantId: ref.tenantId,
      action: 'dead_letters.plan_aborted',
      object: `dead_letter_plan:${plan.id}`,
      diff: [{ path: '/state', before: row.state, after: plan.state }],
    })
    return plan
  })
}

const auditedFacts = (plan: Plan) => ({
  queue: plan.queue,
  action: plan.action,
  ...plan.selection,
  total: plan.total,
  rate_per_second: plan.ratePerSecond,
  new_effect: plan.newEffect,
})

const tell = (tx: Tx, plan: Plan, call: CallContext, type: string, message: string): Promise<number> =>
  appendEvents(tx, {
    events: [
      {
        tenant_id: plan.tenantId,
        type,
        message,
        request_id: call.requestId,
        correlation_id: call.correlationId,
        trace_id: call.traceId,
        data: {
          plan_id: plan.id,
          queue: plan.queue,
          action: plan.action,
          total: plan.total,
          done: plan.done,
          skipped: skippedOf(plan),
        },
      },
    ],
  })
