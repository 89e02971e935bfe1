import type { Db } from '../../platform/db/db.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'

/**
 * Ends every living token of a workspace, on every process within 5 s: of machines, people, trusted issuers and of
 * the caller. Nobody is locked out by it: who has credentials gets a new token.
 */
export async function endAllTokens(db: Db, tenantId: string, change: Change): Promise<void> {
  await db.transaction(async (tx) => {
    await endTokens(tx, { tenantId })
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'tokens.ended',
      object: 'tokens:all',
      diff: [{ path: '/living_tokens', after: 'ended' }],
    })
  })
}
