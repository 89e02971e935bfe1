import type { Tx } from '../../../platform/db/statement.ts'
import type { NewPayload, Payloads } from '../../payloads/payloads.ts'
import type { PreparedWebhook } from './events-to-store.ts'

/**
 * Writes the rows of what is in the payload store. What was kept for an event that turned out to be a copy, or whose route
 * has gone, is forgotten in the same transaction: its row goes again, and the object follows the row.
 */
export async function recordLarge(
  tx: Tx,
  payloads: Pick<Payloads, 'record' | 'erase'>,
  events: readonly PreparedWebhook[],
  added: ReadonlySet<string>,
): Promise<void> {
  const kept = events.flatMap(({ kept, inboxId }): NewPayload[] =>
    kept ? [{ payload: kept, owner: { kind: 'webhook', id: inboxId } }] : [],
  )
  await payloads.record(tx, kept)
  for (const { payload, owner } of kept)
    if (!added.has(owner.id)) await payloads.erase(tx, payload.tenantId, [payload.id])
}
