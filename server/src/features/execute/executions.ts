import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { successTexts } from './answer.ts'
import {
  type ExecutionFilter,
  type ExecutionRow,
  findExecutionRow,
  LOOK,
  listExecutionRows,
  listUnknownRows,
  lockExecution,
  settleDone,
  settleNotDone,
} from './executions.sql.ts'

export type { ExecutionRow } from './executions.sql.ts'

const notFound = (): Problem =>
  new Problem('not_found', 'There is no such execution with a key in this workspace.')

/** Executions that hold a key, newest first; `next` is where the next page begins, undefined at the end. */
export async function listExecutions(
  on: Queryable,
  filter: ExecutionFilter,
): Promise<{ rows: ExecutionRow[]; next: string | undefined }> {
  const { limit } = filter
  if (filter.state === 'unknown') {
    const rows = await listUnknownRows(on, { ...filter, limit: limit + 1 })
    const shown = rows.slice(0, limit)
    return { rows: shown, next: rows.length > limit ? shown.at(-1)?.execution_id : undefined }
  }
  const found = await listExecutionRows(on, filter)
  const fitting = found.filter(({ fits }) => fits)
  const shown = fitting.slice(0, limit)
  if (fitting.length > limit) return { rows: shown, next: shown.at(-1)?.execution_id }
  const last = found.at(-1)
  return { rows: shown, next: last && last.looked === LOOK ? last.execution_id : undefined }
}

/** Errors: `not_found`, also for an execution without a key and for one whose key was given back or has expired. */
export async function getExecution(on: Queryable, tenantId: string, id: string) {
  const row = await findExecutionRow(on, { tenantId, id })
  if (!row) throw notFound()
  return row
}

export interface Settlement {
  readonly tenantId: string
  readonly id: string
  readonly outcome: 'done' | 'not_done'
  /** What those who repeat the call get as the output; for `done`. */
  readonly output: unknown
}

/**
 * An operator has found out what came of an unknown outcome. `done`: who repeats the call gets a success with this
 * output. `not_done`: the key is free, and who repeats the call has its effect. Event and audit entry commit with it.
 * Errors: `not_found`; `conflict` when the execution runs or its outcome is known.
 */
export function settleExecution(
  db: Db,
  { tenantId, id, outcome, output }: Settlement,
  change: Change,
): Promise<void> {
  return db.transaction(async (tx) => {
    const row = await lockExecution(tx, { tenantId, id })
    if (!row) throw notFound()
    if (row.state === 'running')
      throw new Problem('conflict', 'The execution is running at this moment; wait for what comes of it.')
    if (row.state === 'finished') throw new Problem('conflict', 'The outcome of the execution is known.')
    if (outcome === 'done')
      await settleDone(tx, {
        tenantId,
        id,
        answer: doneAnswer(row, output, nameOf(change)),
        actor: nameOf(change),
      })
    else await settleNotDone(tx, { tenantId, id })
    await appendEvents(tx, {
      events: [
        {
          tenant_id: tenantId,
          type: 'execution.settled',
          message: `${outcome === 'done' ? 'It had its effect' : 'It had no effect, its key is free again'}, says ${nameOf(change)}: ${change.reason}`,
          connector: row.connector,
          request_id: row.request_id,
          correlation_id: row.correlation_id,
          trace_id: row.trace_id,
          data: {
            execution_id: id,
            operation: row.operation,
            outcome,
            actor: nameOf(change),
            reason: change.reason,
          },
        },
      ],
    })
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'execution.settled',
      object: `execution:${id}`,
      diff: [{ path: '/outcome', before: 'unknown', after: outcome }],
    })
  })
}

function doneAnswer(row: ExecutionRow, output: unknown, actor: string): string {
  const call = { requestId: row.request_id, correlationId: row.correlation_id, traceId: row.trace_id }
  const { again } = successTexts(
    { call: { ...call, traceparent: '' } },
    {
      executionId: row.execution_id,
      output,
      httpStatus: null,
      servedFrom: 'operator',
      attempts: 0,
      latencyMs: 0,
      key: row.key,
      expiresAt: row.expires_at,
      settledBy: actor,
    },
  )
  return again
}
