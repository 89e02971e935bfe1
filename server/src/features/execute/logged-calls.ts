import type { Queryable } from '../../platform/db/statement.ts'
import { firstIdAt } from '../../platform/ids.ts'
import { countCalls, listLoggedCalls } from './request-log.sql.ts'

/** What the request log knows of an execution. */
export interface LoggedCall {
  readonly requestId: string
  /** When it ended, ms since the Unix epoch. */
  readonly endedAt: number
  /** The whole execution, waits included. */
  readonly latencyMs: number
  readonly connector: string
  readonly operation: string
  /** `ok`, or the code of the problem that the caller got. */
  readonly outcome: string
  /** Of the last attempt; null when there was no answer. */
  readonly httpStatus: number | null
  readonly attempts: number
}

/** So far back it is looked for calls of a connector that is seldom called. */
export const LOGGED_CALLS_DEPTH = 100_000

/**
 * The last `limit` executions that were no dry runs, oldest first. With a connector or an operation only theirs, of
 * the last `LOGGED_CALLS_DEPTH` of the workspace.
 */
export async function loggedCalls(
  on: Queryable,
  of: {
    readonly tenantId: string
    readonly connector?: string | undefined
    readonly operation?: string | undefined
    readonly limit: number
  },
): Promise<LoggedCall[]> {
  const { tenantId, connector = null, operation = null, limit } = of
  const rows = await listLoggedCalls(on, { tenantId, connector, operation, limit, depth: LOGGED_CALLS_DEPTH })
  return rows.reverse().map((row) => ({
    requestId: row.request_id,
    endedAt: row.at.getTime(),
    latencyMs: row.latency_ms,
    connector: row.connector,
    operation: row.operation,
    outcome: row.outcome,
    httpStatus: row.http_status,
    attempts: row.attempts,
  }))
}

/** Executions by connector since then, among the newest `LOGGED_CALLS_DEPTH` of the workspace; no dry runs. */
export async function executionsSince(
  on: Queryable,
  { tenantId, sinceMs }: { readonly tenantId: string; readonly sinceMs: number },
): Promise<ReadonlyMap<string, number>> {
  const rows = await countCalls(on, { tenantId, sinceId: firstIdAt(sinceMs), limit: LOGGED_CALLS_DEPTH })
  return new Map(rows.map(({ connector, calls }) => [connector, calls]))
}
