import type { Queryable } from '../platform/db/statement.ts'
import type { ClaimedJob, EndedJob, Outcome } from './job.ts'
import { type SettledRow, type SettleRecord, settleLeases } from './settle.sql.ts'

/** How a lease ended. `returned` gives the job back unspent; only the runner does that, never a handler. */
export interface Settlement {
  readonly job: ClaimedJob
  readonly outcome: Outcome | { readonly kind: 'returned'; readonly why: string }
}

/** A settlement that took effect. */
export interface Settled extends Settlement {
  readonly row: SettledRow
}

/**
 * Ends leases in one statement. What is missing in the answer was stale: the lease had been given up (rescue,
 * another settlement), and nothing of the settlement was stored.
 */
export async function settleJobs(on: Queryable, settlements: readonly Settlement[]): Promise<Settled[]> {
  const byLease = new Map(settlements.map((settlement) => [settlement.job.leaseId, settlement]))
  const rows = await settleLeases(on, { settlements: [...byLease.values()].map(toRecord) })
  return rows.flatMap((row) => {
    const settlement = byLease.get(row.lease_id)
    return settlement ? [{ ...settlement, row }] : []
  })
}

/** What follow-ups are told; undefined while the job goes on. */
export function endedBy({ job, outcome, row }: Settled): EndedJob | undefined {
  const { input: _input, leaseId: _leaseId, ...facts } = job
  if (row.outcome !== 'done' && row.outcome !== 'dead' && row.outcome !== 'cancelled') return undefined
  return {
    job: facts,
    state: row.outcome,
    result: outcome.kind === 'done' ? outcome.result : null,
    ...(outcome.kind === 'done' && outcome.resultRef && { resultRef: outcome.resultRef }),
    why: row.why,
    reason: outcome.kind === 'dead' ? outcome.reason : null,
    error: outcome.kind === 'dead' ? outcome.error : null,
    // Another sentence is that of somebody who asked for the cancel: what he cancelled does not wait elsewhere.
    ...(outcome.kind === 'cancelled' &&
      outcome.held !== undefined &&
      row.why === storable(outcome.why) && { held: outcome.held }),
  }
}

/** Whether something has to follow the end of a job, if this ends it. */
export const mayBeFollowed = ({ job, outcome }: Settlement): boolean =>
  job.completion !== null || (outcome.kind === 'cancelled' && 'held' in outcome)

const MAX_DELAY_MS = 30 * 24 * 3_600_000
const MAX_TEXT = 2_000

/** Upstream texts end up in messages; Postgres text knows no NUL, JSON no lone surrogates. */
export const storable = (text: string): string =>
  text.toWellFormed().replaceAll('\0', '\u{fffd}').slice(0, MAX_TEXT).toWellFormed()

function toRecord({ job, outcome }: Settlement): SettleRecord {
  const record = {
    tenant_id: job.tenantId,
    job_id: job.id,
    lease_id: job.leaseId,
    why: storable(outcome.why),
    config_version: 'configVersion' in outcome ? outcome.configVersion : undefined,
    connector: job.connector,
    operation: job.operation,
    inbox_id: job.inboxId,
    request_id: job.call.requestId,
    correlation_id: job.call.correlationId,
    trace_id: job.call.traceId,
  }
  switch (outcome.kind) {
    case 'done': {
      // Text inside the JSON, like the input of a job: see `enqueue.sql.ts`.
      const result = JSON.stringify(outcome.result ?? null)
      return {
        ...record,
        outcome: 'done',
        result,
        result_ref: outcome.resultRef,
        http_status: outcome.httpStatus,
      }
    }
    case 'retry':
      return { ...record, outcome: 'retry', delay_ms: bounded(outcome.delayMs), ...failure(outcome.error) }
    case 'snooze':
      return {
        ...record,
        outcome: 'snoozed',
        delay_ms: bounded(outcome.delayMs),
        http_status: outcome.httpStatus,
      }
    case 'dead':
      return { ...record, outcome: 'dead', reason: storable(outcome.reason), ...failure(outcome.error) }
    case 'cancelled':
      return { ...record, outcome: 'cancelled', http_status: outcome.httpStatus }
    case 'returned':
      return { ...record, outcome: 'returned' }
  }
}

const bounded = (delayMs: number): number => Math.min(MAX_DELAY_MS, Math.max(0, delayMs || 0))

const failure = (error: { class: string; message: string; httpStatus?: number }) => ({
  error_class: storable(error.class),
  error_message: storable(error.message),
  http_status: error.httpStatus,
})
