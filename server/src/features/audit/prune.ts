import type { Queryable } from '../../platform/db/statement.ts'
import { listChains, pruneChain } from './audit.sql.ts'

const BATCH = 5_000

/**
 * Removes the oldest entries of every chain: those that are older than `days`, or what its workspace says instead, up to
 * a signed checkpoint that is older, too. Gives how many it were. A chain without such a checkpoint stays whole.
 */
export async function pruneAudit(
  on: Queryable,
  { days }: { readonly days: number },
  stop?: AbortSignal,
): Promise<number> {
  let removed = 0
  for (const { tenant_id: tenantId } of await listChains(on, {})) {
    let gone = BATCH
    while (gone === BATCH && !stop?.aborted) {
      gone = (await pruneChain(on, { tenantId, days, most: BATCH })).gone
      removed += gone
    }
  }
  return removed
}
