import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import {
  type LetterAction,
  type PickedLetter,
  pickDeadLetters,
  pickNamedLetters,
  purgeLetters,
  replayLetters,
  restoreLetters,
  whereaboutsOf,
} from '../../queue/dead-letters.ts'
import type { LaneKey } from '../../queue/job.ts'
import * as sql from './dead-letters.sql.ts'
import { type Plan, planOf, skippedOf } from './plan.ts'
import { filterOf, obstacle, takesFromBin } from './selection.ts'

/** Says why a replay of an operation would be in vain; undefined = it can be called. */
export type ReplayCheck = (
  tenantId: string,
  call: { readonly connector: string; readonly operation: string },
) => Promise<string | undefined>

export interface RunDeps {
  readonly db: Db
  readonly log: Log
  readonly check: ReplayCheck
}

/** What a batch did, for metrics and wake-ups. */
export interface BatchResult {
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
const GONE = 'It is no dead letter any more: something else has replayed or purged it.'
const NOT_KEPT = 'The history of the job is no longer kept.'

/**
 * Does the next batch of the plan that is due for longest, in one transaction with its progress: whoever dies on
 * the way leaves nothing half done. Any number of workers may call it at once. Gives undefined when no plan is
 * due. A batch that fails is tried again; after five in a row the plan has failed. Errors: `database_unavailable`.
 */
export async function runNextBatch(deps: RunDeps): Promise<BatchResult | undefined> {
  let plan: Plan | undefined
  try {
    return await deps.db.transaction(async (tx) => {
      const row = await sql.takeDuePlan(tx, undefined)
      if (!row) return undefined
      plan = planOf(row)
      return await runBatch(tx, deps, plan, row)
    })
  } catch (error) {
    if (!plan || (error instanceof Problem && error.code === 'database_unavailable')) throw error
    const { tenantId, id } = plan
    deps.log.error({ err: error, plan_id: id, tenant_id: tenantId }, 'a batch of a bulk action failed')
    await countFailure(deps.db, plan)
    return { action: plan.action, done: 0, skipped: 0, lanes: [] }
  }
}

interface Batch {
  readonly letters: readonly PickedLetter[]
  /** Why others of the batch are left out, once for each of them. */
  readonly missing: readonly string[]
  readonly looked: number
  readonly last: boolean
}

async function runBatch(tx: Tx, { check }: RunDeps, plan: Plan, row: sql.PlanRow): Promise<BatchResult> {
  const limit = Math.max(1, Math.round((plan.ratePerSecond * SLICE_MS) / 1_000))
  const batch = await nextBatch(tx, plan, row, limit)
  const skips = [...batch.missing]
  const ids: string[] = []
  const verdicts = new Map<string, string | undefined>()
  for (const letter of batch.letters) {
    const why =
      plan.action === 'replay' ? await whyNotReplay(plan.tenantId, letter, check, verdicts) : undefined
    if (why === undefined) ids.push(letter.id)
    else skips.push(why)
  }
  const lanes = await act(tx, plan, ids)
  const progress = progressOf(plan, { done: ids.length, skips, last: batch.last })
  const reached = batch.letters.at(-1)?.key
  await sql.advancePlan(tx, {
    tenantId: plan.tenantId,
    id: plan.id,
    total: progress.total,
    done: progress.done,
    skipped: progress.skipped,
    lookedAt: row.looked_at + batch.looked,
    reachedUs: reached?.deadUs ?? row.reached_us,
    reachedId: reached?.id ?? row.reached_id,
    batch: batch.looked,
    ended: batch.last,
  })
  if (batch.last) await tellEnd(tx, row, progress, 'dead_letters.plan_done')
  return { action: plan.action, done: ids.length, skipped: skips.length, lanes }
}

/** Only the end shows how many letters went away before their turn, and that the count of the plan holds. */
function progressOf(
  plan: Plan,
  batch: { readonly done: number; readonly skips: readonly string[]; readonly last: boolean },
): Plan {
  const skipped: Record<string, number> = { ...plan.skipped }
  for (const why of batch.skips) skipped[why] = (skipped[why] ?? 0) + 1
  const done = plan.done + batch.done
  const handled = done + skippedOf({ skipped })
  if (batch.last && handled < plan.total) skipped[GONE] = (skipped[GONE] ?? 0) + plan.total - handled
  return { ...plan, done, skipped, total: Math.max(plan.total, handled) }
}

async function nextBatch(tx: Tx, plan: Plan, row: sql.PlanRow, limit: number): Promise<Batch> {
  const { tenantId, queue, action, selection } = plan
  const scope = { tenantId, queue, binned: takesFromBin(action) }
  if ('filter' in selection) {
    const letters = await pickDeadLetters(tx, {
      ...scope,
      filter: filterOf(selection.filter),
      cutoff: plan.createdAt,
      after:
        row.reached_us === null || row.reached_id === null
          ? undefined
          : { deadUs: row.reached_us, id: row.reached_id },
      limit,
    })
    return { letters, missing: [], looked: letters.length, last: letters.length < limit }
  }
  const ids = selection.ids.slice(row.looked_at, row.looked_at + limit)
  const letters = await pickNamedLetters(tx, { ...scope, ids })
  const found = new Set(letters.map(({ id }) => id))
  const absent = ids.filter((id) => !found.has(id))
  const whereabouts = await whereaboutsOf(tx, tenantId, absent)
  const missing = absent.map((id) => {
    const place = whereabouts.get(id)
    const why = place && obstacle(action, queue, place)
    return place === undefined ? NOT_KEPT : why === undefined ? GONE : `It ${why}.`
  })
  return { letters, missing, looked: ids.length, last: row.looked_at + ids.length >= selection.ids.length }
}

async function whyNotReplay(
  tenantId: string,
  { kept, connector, operation }: PickedLetter,
  check: ReplayCheck,
  known: Map<string, string | undefined>,
): Promise<string | undefined> {
  if (!kept) return NOT_KEPT
  const name = `${connector} ${operation}`
  if (!known.has(name)) known.set(name, await check(tenantId, { connector, operation }))
  return known.get(name)
}

async function act(tx: Tx, plan: Plan, ids: readonly string[]): Promise<readonly LaneKey[]> {
  if (ids.length === 0) return []
  const action: LetterAction = {
    tenantId: plan.tenantId,
    ids,
    actor: plan.committedBy ?? plan.createdBy,
    why: plan.reason ?? '',
    planId: plan.id,
  }
  if (plan.action === 'replay') {
    const jobs = await replayLetters(tx, { ...action, newEffect: plan.newEffect })
    mustBeAll(ids.length, jobs.length)
    return jobs
  }
  const moved = await (plan.action === 'purge' ? purgeLetters : restoreLetters)(tx, action)
  mustBeAll(ids.length, moved.length)
  return []
}

/** The letters are locked: less than all of them is a bug, and the progress would be a lie. */
function mustBeAll(wanted: number, got: number): void {
  if (wanted !== got) throw new Error(`only ${got} of ${wanted} locked dead letters could be acted on`)
}

const tellEnd = (tx: Tx, row: sql.PlanRow, plan: Plan, type: string, failure?: string): Promise<number> => {
  const left = skippedOf(plan)
  const did = `${plan.done} of ${plan.total} done${left > 0 ? `, ${left} left out` : ''}.`
  return appendEvents(tx, {
    events: [
      {
        tenant_id: plan.tenantId,
        type,
        severity: failure === undefined ? (left > 0 ? 'warning' : 'info') : 'error',
        message: failure === undefined ? `The ${plan.action} has ended: ${did}` : `${failure} ${did}`,
        request_id: row.request_id,
        correlation_id: row.correlation_id,
        trace_id: row.trace_id,
        data: {
          plan_id: plan.id,
          queue: plan.queue,
          action: plan.action,
          total: plan.total,
          done: plan.done,
          skipped: plan.skipped,
        },
      },
    ],
  })
}

async function countFailure(db: Db, { tenantId, id }: Plan): Promise<void> {
  await db.transaction(async (tx) => {
    const why = 'A worker failed unexpectedly; its log has the details.'
    const args = { tenantId, id, maxFailures: MAX_FAILURES, pauseMs: FAILURE_PAUSE_MS, why }
    const row = await sql.failBatch(tx, args)
    if (row?.state === 'failed') await tellEnd(tx, row, planOf(row), 'dead_letters.plan_failed', why)
  })
}
