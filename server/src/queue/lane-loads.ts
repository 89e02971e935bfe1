import type { Queryable } from '../platform/db/statement.ts'
import { firstIdAt } from '../platform/ids.ts'
import { countAttempts, selectLaneLoads } from './lane-loads.sql.ts'

export interface LaneLoad {
  readonly ready: number
  readonly deferred: number
  readonly running: number
}

/** More jobs than this are not counted: an operator who sees it knows enough. */
export const LOAD_LIMIT = 10_000

/** What waits and runs in each of these lanes of a workspace; every count ends at `LOAD_LIMIT` rows. */
export async function laneLoads(
  on: Queryable,
  { tenantId, lanes }: { readonly tenantId: string; readonly lanes: readonly number[] },
): Promise<ReadonlyMap<number, LaneLoad>> {
  if (lanes.length === 0) return new Map()
  const rows = await selectLaneLoads(on, { tenantId, lanes, limit: LOAD_LIMIT })
  return new Map(rows.map(({ lane, ...load }) => [lane, load]))
}

/** Attempts by connector, of the newest `LOAD_LIMIT` jobs that were made since then. */
export async function jobAttemptsSince(
  on: Queryable,
  { tenantId, sinceMs }: { readonly tenantId: string; readonly sinceMs: number },
): Promise<ReadonlyMap<string, number>> {
  const rows = await countAttempts(on, { tenantId, sinceId: firstIdAt(sinceMs), limit: LOAD_LIMIT })
  return new Map(rows.map(({ connector, attempts }) => [connector, attempts]))
}
