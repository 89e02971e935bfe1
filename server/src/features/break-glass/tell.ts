import type { Tx } from '../../platform/db/statement.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { type SessionRow, tellEveryWorkspace } from './break-glass.sql.ts'

/** Tells every workspace by an event, and the audit log of the platform, with the transaction that it is part of. */
export async function tell(
  tx: Tx,
  row: SessionRow,
  action: 'break_glass.opened' | 'break_glass.closed',
  change: Change,
): Promise<void> {
  const { requestId, correlationId, traceId } = change.call
  const { id, environment, subject, reason, ticket, ip, expires_at } = row
  const message =
    action === 'break_glass.opened'
      ? `${subject} opened emergency access to every workspace until ${expires_at.toISOString()} (${ticket}): ${reason}`
      : `the emergency access of ${subject} is over (${ticket}), ended by ${nameOf(change)}: ${change.reason}`
  const data = { session_id: id, subject, ticket, expires_at }
  await tellEveryWorkspace(tx, {
    environment,
    type: action,
    message,
    requestId,
    correlationId,
    traceId,
    data,
  })
  await recordAudit(tx, {
    ...change,
    tenantId: NO_WORKSPACE,
    action,
    object: `break_glass:${id}`,
    diff: [{ path: '', after: { ...data, ip } }],
  })
}
