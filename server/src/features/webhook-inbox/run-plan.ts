// What a worker does with bulk actions: the next step of the one that is due, a search (search-plan.ts) or a batch.

import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import type { LaneKey } from '../../queue/job.ts'
import { type EraseDeps, eraseInbox } from './erase.ts'
import { type InboxPlan, planOf, skippedOf } from './plan.ts'
import { takeItems } from './plan-items.sql.ts'
import * as sql from './plans.sql.ts'
import { tell } from './plans.ts'
import { type RetryDeps, retryInbox } from './retry.ts'
import { type SearchDeps, searchStep, waitMs } from './search-plan.ts'
import { shownSelection } from './selection.ts'

export interface RunDeps extends RetryDeps, EraseDeps, SearchDeps {
  readonly db: Db
  readonly log: Log
}

/** What a step did, for metrics and wake-ups. */
export interface StepResult {
  readonly action: sql.PlanAction
  readonly done: number
  readonly skipped: number
  /** Lanes that got jobs. */
  readonly lanes: readonly LaneKey[]
}

/** A batch is what the rate allows in this time: short transactions, and an abort is heard soon. */
const SLICE_MS = 200
const MAX_FAILURES = 5
const FAILURE_PAUSE_MS = 2_000
/** Longer than the reading of a step takes; who dies on the way is followed after it. */
const SEARCH_LEASE_MS = 60_000

const nothing = (action: sql.PlanAction): StepResult => ({ action, done: 0, skipped: 0, lanes: [] })

/**
 * Does the next step of the plan that is due for longest: a step of its search, or a batch in one transaction with its
 * progress, so that whoever dies on the way leaves nothing half done. Any number of workers may call it at once. Gives
 * undefined when no plan is due. A step that fails is tried again; after five in a row the plan has failed. Errors:
 * `database_unavailable`.
 */
export async function runNextStep(deps: RunDeps): Promise<StepResult | undefined> {
  let plan: InboxPlan | undefined
  try {
    const result = await deps.db.transaction(async (tx) => {
      const row = await sql.takeDuePlan(tx, undefined)
      if (!row) return undefined
      plan = planOf(row)
      if (plan.state === 'running') return runBatch(tx, deps, plan, row)
      await sql.postponePlan(tx, { ...plan, forMs: SEARCH_LEASE_MS })
      return 'search'
    })
    if (result !== 'search') return result
    if (plan) tellWait(deps, await searchStep(deps, plan))
    return nothing(plan?.action ?? 'retry')
  } catch (error) {
    if (!plan || (error instanceof Problem && error.code === 'database_unavailable')) throw error
    if (error instanceof Problem && error.status === 503) {
      // Somebody is away: that is no fault of the plan.
      const row = await sql.waitPlan(deps.db, {
        ...{ ...plan, waitingFor: error.message, forMs: waitMs(plan.waits) },
      })
      tellWait(deps, row && planOf(row))
      return nothing(plan.action)
    }
    deps.log.error(
      { err: error, plan_id: plan.id, tenant_id: plan.tenantId },
      'a step of a bulk action on the webhook inbox failed',
    )
    await countFailure(deps.db, plan)
    return nothing(plan.action)
  }
}

/** Once for each thing that a plan waits for, not at every try. */
function tellWait({ log }: RunDeps, plan: InboxPlan | undefined): void {
  if (!plan || plan.waitingFor === null || plan.waits !== 1) return
  const { id, tenantId, waitingFor } = plan
  log.warn(
    { plan_id: id, tenant_id: tenantId, waiting_for: waitingFor },
    'a bulk action on the webhook inbox waits',
  )
}

async function runBatch(tx: Tx, deps: RunDeps, plan: InboxPlan, row: sql.PlanRow): Promise<StepResult> {
  const { tenantId, id, action } = plan
  const limit = Math.max(1, Math.round((plan.ratePerSecond * SLICE_MS) / 1_000))
  const ids = (await takeItems(tx, { tenantId, id, limit })).map(({ inbox_id }) => inbox_id).sort()
  const { done, why, lanes } = await act(tx, deps, plan, row, ids)
  const skipped: Record<string, number> = { ...plan.skipped }
  for (const each of why) skipped[each] = (skipped[each] ?? 0) + 1
  const ended = ids.length < limit
  const selection = ended ? shownSelection(plan.selection) : plan.selection
  const progress = { ...plan, done: plan.done + done, skipped }
  await sql.advancePlan(tx, { ...progress, tenantId, id, batch: ids.length, ended, selection })
  if (ended) await tellEnd(tx, progress, row)
  return { action, done, skipped: why.length, lanes }
}

interface Acted {
  readonly done: number
  /** Why others of the batch were left out, once for each of them. */
  readonly why: readonly string[]
  readonly lanes: readonly LaneKey[]
}

async function act(
  tx: Tx,
  deps: RunDeps,
  plan: InboxPlan,
  row: sql.PlanRow,
  ids: readonly string[],
): Promise<Acted> {
  if (ids.length === 0) return { done: 0, why: [], lanes: [] }
  const batch = {
    ...{ tenantId: plan.tenantId, ids, planId: plan.id },
    actor: plan.committedBy ?? plan.createdBy,
    why: plan.reason ?? '',
    call: {
      requestId: row.request_id,
      correlationId: row.correlation_id,
      traceId: row.trace_id,
      traceparent: '',
    },
  }
  if (plan.action === 'erase') {
    const { erased, skipped, lanes } = await eraseInbox(tx, deps, batch)
    return { done: erased, why: skipped, lanes }
  }
  const { retried, skipped } = await retryInbox(tx, deps, { ...batch, newMessageId: plan.newMessageId })
  return { done: retried.length, why: skipped.map(({ why }) => `It ${why}.`), lanes: retried }
}

const callOf = (row: sql.PlanRow) => ({
  requestId: row.request_id,
  correlationId: row.correlation_id,
  traceId: row.trace_id,
})

function tellEnd(tx: Tx, plan: InboxPlan, row: sql.PlanRow, failure?: string): Promise<number> {
  const left = skippedOf(plan)
  const lost = plan.unreadable > 0 ? ` ${plan.unreadable} of the events could not be looked into.` : ''
  const did = `${plan.done} of ${plan.total} done${left > 0 ? `, ${left} left out` : ''}.${lost}`
  if (failure !== undefined)
    return tell(tx, plan, callOf(row), 'webhook_inbox.plan_failed', `${failure} ${did}`, 'error')
  const message = `The ${plan.action} of webhooks has ended: ${did}`
  return tell(
    tx,
    plan,
    callOf(row),
    'webhook_inbox.plan_done',
    message,
    left + plan.unreadable > 0 ? 'warning' : 'info',
  )
}

async function countFailure(db: Db, plan: InboxPlan): Promise<void> {
  await db.transaction(async (tx) => {
    const why = 'A worker failed unexpectedly; its log has the details.'
    const row = await sql.failStep(tx, {
      ...{ tenantId: plan.tenantId, id: plan.id, why, shown: shownSelection(plan.selection) },
      ...{ maxFailures: MAX_FAILURES, pauseMs: FAILURE_PAUSE_MS },
    })
    if (row?.state === 'failed') await tellEnd(tx, planOf(row), row, why)
  })
}
