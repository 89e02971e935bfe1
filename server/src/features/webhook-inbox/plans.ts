// What people do with bulk actions: make, read, commit and abort them. Workers do the rest: run-plan.ts.

import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { notify } from '../../platform/db/notifications.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { lockWorkspace } from '../workspaces/workspaces.ts'
import { type InboxPlan, planOf, skippedOf } from './plan.ts'
import * as sql from './plans.sql.ts'
import { requireKnown } from './search-plan.ts'
import { type Selection, shownSelection } from './selection.ts'

/** Hint to the workers that a plan is to be searched for or was committed; they look every second anyway. */
export const INBOX_PLAN_CHANNEL = 'orchestrator_webhook_plans'

/** Deliveries per second of a retry that does not say: the receiver has just come back. */
const DEFAULT_RATE = 50
/** Erasing calls nobody; this only keeps its batches short. */
const ERASE_RATE = 250
/** Plans of one workspace that search or run at a time: others' turns must come soon. */
const MAX_RUNNING = 10

export interface PlanRequest {
  readonly tenantId: string
  readonly action: sql.PlanAction
  readonly selection: Selection
  /** Of a retry. */
  readonly ratePerSecond?: number | undefined
  /** Of a retry; absent = new for those that may have been delivered. */
  readonly newMessageId?: boolean | undefined
  /** Of a retry: the active version. */
  readonly configVersion: number | null
  readonly actor: string
  readonly call: CallContext
}

/**
 * Stores what a bulk action would be about; a worker then searches for it, and the plan can be committed when that
 * has ended. Errors: `not_found` for named events that the workspace does not have; `conflict` when too many plans
 * search or run already.
 */
export async function makePlan(db: Db, request: PlanRequest): Promise<InboxPlan> {
  const { tenantId, action, selection, call } = request
  return db.transaction(async (tx) => {
    if ('ids' in selection) await requireKnown(tx, tenantId, selection.ids)
    await requireTurn(tx, tenantId)
    const { at } = await sql.planMoment(tx, undefined)
    const row = await sql.insertPlan(tx, {
      tenant_id: tenantId,
      id: newId(),
      action,
      selection,
      rate_per_second: action === 'retry' ? (request.ratePerSecond ?? DEFAULT_RATE) : ERASE_RATE,
      new_message_id: action === 'retry' ? (request.newMessageId ?? null) : null,
      config_version: request.configVersion,
      created_by: request.actor,
      created_at: at,
      request_id: call.requestId,
      correlation_id: call.correlationId,
      trace_id: call.traceId,
    })
    await notify(tx, { channel: INBOX_PLAN_CHANNEL, payload: row.id })
    return planOf(row)
  })
}

async function requireTurn(tx: Tx, tenantId: string): Promise<void> {
  // Plans of one workspace take turns here, so that the count is exact.
  await lockWorkspace(tx, { id: tenantId })
  const { running } = await sql.countRunning(tx, { tenantId })
  if (running >= MAX_RUNNING)
    throw new Problem('conflict', `${running} plans are at work already: wait until one ends, or abort one.`)
}

/** Which plan; one of another action counts as none. */
export interface PlanRef extends sql.PlanRef {
  readonly action: sql.PlanAction
}

const notFound = (): Problem => new Problem('not_found', 'There is no such plan in this workspace.')

const required = ({ action }: PlanRef, row: sql.PlanRow | undefined): sql.PlanRow => {
  if (row?.action !== action) throw notFound()
  return row
}

/** Errors: `not_found`, also for a plan of another workspace. */
export const getPlan = async (on: Queryable, ref: PlanRef): Promise<InboxPlan> =>
  planOf(required(ref, await sql.findPlan(on, ref)))

/** Newest first; plans that were never committed are kept for a day, the others for 90. */
export const listPlans = async (on: Queryable, filter: sql.PlanFilter): Promise<InboxPlan[]> =>
  (await sql.listPlans(on, filter)).map(planOf)

/**
 * Lets a plan run. Errors: `not_found`; `conflict` when it still searches, is not `planned` any more, has expired,
 * is about nothing, or when too many run already.
 */
export async function commitPlan(db: Db, ref: PlanRef, change: Change): Promise<InboxPlan> {
  return db.transaction(async (tx) => {
    await lockWorkspace(tx, { id: ref.tenantId })
    const planned = planOf(required(ref, await sql.lockPlan(tx, ref)))
    if (planned.state === 'searching')
      throw new Problem('conflict', 'The plan still searches: commit it when it is planned.')
    if (planned.state !== 'planned') throw new Problem('conflict', `The plan is ${planned.state} already.`)
    if (planned.expired) throw new Problem('conflict', 'The plan has expired: make a new one.')
    if (planned.total === 0)
      throw new Problem('conflict', 'The plan is about no event: there is nothing to do.')
    await requireTurn(tx, ref.tenantId)
    const { reason, call } = change
    const actor = nameOf(change)
    const plan = planOf(await sql.startPlan(tx, { ...ref, actor, reason, ...call }))
    await tell(tx, plan, call, `webhook_inbox.${plan.action}_started`, `${actor}: ${reason}`)
    await notify(tx, { channel: INBOX_PLAN_CHANNEL, payload: plan.id })
    await recordAudit(tx, {
      ...change,
      tenantId: ref.tenantId,
      action: `webhook_inbox.${plan.action}_started`,
      object: `webhook_plan:${plan.id}`,
      diff: [{ path: '', after: auditedFacts(plan) }],
    })
    return plan
  })
}

/** Stops a plan for good; what it has done stays done. Errors: `not_found`; `conflict` when it has ended. */
export async function abortPlan(db: Db, ref: PlanRef, change: Change): Promise<InboxPlan> {
  return db.transaction(async (tx) => {
    const row = required(ref, await sql.lockPlan(tx, ref))
    if (row.ended_at !== null) throw new Problem('conflict', `The plan is ${row.state} already.`)
    const shown = shownSelection(row.selection)
    const actor = nameOf(change)
    const plan = planOf(await sql.abortPlan(tx, { ...ref, actor, reason: change.reason, shown }))
    const why = `Aborted by ${actor} after ${plan.done} of ${plan.total}: ${change.reason}`
    await tell(tx, plan, change.call, 'webhook_inbox.plan_aborted', why)
    await recordAudit(tx, {
      ...change,
      tenantId: ref.tenantId,
      action: 'webhook_inbox.plan_aborted',
      object: `webhook_plan:${plan.id}`,
      diff: [{ path: '/state', before: row.state, after: plan.state }],
    })
    return plan
  })
}

/** What the audit log keeps for good: never whom an erasure was about. */
const auditedFacts = (plan: InboxPlan) => ({
  action: plan.action,
  ...shownSelection(plan.selection),
  total: plan.total,
  ...(plan.action === 'erase' && { unreadable: plan.unreadable, unreadable_ids: plan.unreadableIds }),
  rate_per_second: plan.ratePerSecond,
  ...(plan.action === 'retry' && { new_message_id: plan.newMessageId }),
})

export const tell = (
  tx: Tx,
  plan: InboxPlan,
  call: Pick<CallContext, 'requestId' | 'correlationId' | 'traceId'>,
  type: string,
  message: string,
  severity: 'info' | 'warning' | 'error' = 'info',
): Promise<number> =>
  appendEvents(tx, {
    events: [
      {
        ...{ tenant_id: plan.tenantId, type, message, severity },
        request_id: call.requestId,
        correlation_id: call.correlationId,
        trace_id: call.traceId,
        data: {
          ...{ plan_id: plan.id, action: plan.action, total: plan.total },
          ...{ done: plan.done, skipped: skippedOf(plan), unreadable: plan.unreadable },
        },
      },
    ],
  })
