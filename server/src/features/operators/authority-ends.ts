/**
 * What a person loses with a role or an account, in the transaction of that change: tokens, what they do as somebody
 * else or somebody else does as them, and what they invited to.
 *
 * A session holds no roles: they are read when a token is taken, and what a new role asks for (a second factor) is asked
 * there. So a change in one workspace ends the tokens of that workspace and leaves the session alone: else an Admin of
 * one could sign a person out of all others. Platform roles, a lock, a password and a second factor are about the whole
 * account, and end its sessions (OWASP ASVS 5.0 §7.2.4, §7.4: a session is renewed when its own strength changes).
 */
import type { Clock } from '../../platform/clock.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { endEmergenciesOf } from '../break-glass/break-glass.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import { endImpersonations } from '../impersonation/impersonation.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import type { Operator } from './account.ts'
import { revokeUnbacked } from './invitations.sql.ts'
import { endSessions } from './sessions.ts'

/** After a change of somebody's role in one workspace. Before anything is recorded about it. */
export async function endInWorkspace(
  tx: Tx,
  clock: Clock,
  { subject }: Operator,
  workspaceId: string,
  change: Change,
): Promise<void> {
  await endTokens(tx, { tenantId: workspaceId, subject })
  await endImpersonations(tx, { subject, tenantId: workspaceId }, change, 'a role changed')
  await revokeWhatTheyInvitedTo(tx, clock, subject, change)
}

/** After a change of somebody's platform roles, or of the account. Before anything is recorded about it. */
export async function endEverywhere(
  tx: Tx,
  clock: Clock,
  { id, subject }: Operator,
  change: Change,
  why: string,
): Promise<void> {
  await endTokens(tx, { tenantId: NO_WORKSPACE, subject })
  await endImpersonations(tx, { subject, tenantId: undefined }, change, why)
  await endSessions(tx, clock, { operatorId: id }, change)
  await revokeWhatTheyInvitedTo(tx, clock, subject, change)
  // Last: it is told in the platform's chain, which is locked after those of the workspaces.
  await endEmergenciesOf(tx, subject, change)
}

/** An invitation is worth what its author may do: nobody leaves a way in behind. */
async function revokeWhatTheyInvitedTo(tx: Tx, clock: Clock, by: string, change: Change): Promise<void> {
  const rows = await revokeUnbacked(tx, { now: new Date(clock.now()), by })
  rows.sort((left, right) => (left.workspace_id ?? 'z').localeCompare(right.workspace_id ?? 'z'))
  for (const { workspace_id, email, role } of rows)
    await recordAudit(tx, {
      ...change,
      reason: `${by} may no longer invite there: ${change.reason}`.slice(0, 500),
      tenantId: workspace_id ?? NO_WORKSPACE,
      action: 'invitation.revoked',
      object: `operator:${email}`,
      diff: [{ path: '/role', after: role }],
    })
}
