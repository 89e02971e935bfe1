import type { Queryable } from '../platform/db/statement.ts'
import { selectObstacles } from './obstacles.sql.ts'

/** Why claims may skip a lane, a queue of a workspace, or a whole workspace. */
export const OBSTACLES = [
  'workspace_paused',
  'queue_paused',
  'connector_paused',
  'retry_after',
  'workspace_suspended',
  'connector_unusable',
  'circuit_open',
  'rate_limited',
  'connector_cap',
  'workspace_cap',
] as const

export interface Obstacle {
  readonly reason: (typeof OBSTACLES)[number]
  /** One sentence, for operators. */
  readonly message: string
  /** When it ends by itself; null when that depends on somebody. */
  readonly until: Date | null
}

/**
 * What keeps a job that waits for a worker from starting now; empty when it only waits for its turn. Ready jobs get
 * no events of their own when a lane is paused or blocked (there may be a million of them): this is where it shows.
 */
export async function obstaclesOf(
  on: Queryable,
  ref: { readonly tenantId: string; readonly id: string },
): Promise<Obstacle[]> {
  const row = await selectObstacles(on, ref)
  if (!row) return []
  const found: Obstacle[] = []
  const add = (reason: Obstacle['reason'], message: string, until: Date | null = null) =>
    found.push({ reason, message, until })
  const paused = (what: string, by: string, why: string | null) => `${what} is paused by ${by}: ${why}`
  if (row.workspace_paused_by !== null)
    add('workspace_paused', paused('The workspace', row.workspace_paused_by, row.workspace_paused_why))
  if (row.queue_paused_by !== null)
    add('queue_paused', paused('The queue', row.queue_paused_by, row.queue_paused_why))
  if (row.lane_paused_by !== null)
    add('connector_paused', paused('The connector', row.lane_paused_by, row.lane_paused_why))
  if (row.blocked_until !== null && row.blocked_reason !== null)
    add(row.blocked_reason, row.blocked_why ?? '', row.blocked_until)
  if (row.lane_cap !== null && row.running_in_lane >= row.lane_cap)
    add('connector_cap', `The connector runs the ${row.lane_cap} jobs that it may run at once.`)
  if (row.workspace_cap !== null && row.running_in_workspace >= row.workspace_cap)
    add('workspace_cap', `The workspace runs the ${row.workspace_cap} jobs that it may run at once.`)
  return found
}
