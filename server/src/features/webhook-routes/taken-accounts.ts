import type { Db } from '../../platform/db/db.ts'
import { newId } from '../../platform/ids.ts'
import type { RouteSettings } from './route.ts'
import { tryClaim } from './webhook-routes.sql.ts'

type Claim = Pick<RouteSettings, 'provider' | 'account' | 'livemode'>

/**
 * Which of these accounts a route claims already, of this or any other workspace; whose it is stays unknown. Tries to
 * claim each and gives it up again: a workspace may not read the routes of others.
 */
export async function takenAccounts<C extends Claim>(
  db: Db,
  tenantId: string,
  claims: readonly C[],
): Promise<ReadonlySet<C>> {
  if (claims.length === 0) return new Set()
  const taken = new Set<C>()
  const givenUp = new Error('a trial')
  try {
    await db.transaction(async (tx) => {
      for (const claim of claims) {
        const { provider, account, livemode } = claim
        const made = await tryClaim(tx, { tenant_id: tenantId, id: newId(), provider, account, livemode })
        if (!made) taken.add(claim)
      }
      throw givenUp
    })
  } catch (error) {
    if (error !== givenUp) throw error
  }
  return taken
}
