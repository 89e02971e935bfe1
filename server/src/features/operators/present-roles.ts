/** The roles that people have at this moment, for what depends on them in the same transaction. */
import type { Principal } from '../../platform/auth/principal.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { toOperator } from './account.ts'
import { findOperatorRow } from './accounts.sql.ts'
import { holdRoles, operatorRoles } from './roles.ts'
import { listSessions, lockSession } from './sessions.ts'
import { mayOnlyEnrol, rolesIn, rolesOfSession } from './workspace-token.ts'

export interface PresentMember {
  readonly subject: string
  readonly locked: boolean
  /** In the workspace and on the platform: their own, and those that groups give in a session that lives. */
  readonly roles: readonly string[]
}

/** Undefined for who has no role in the workspace, as for who does not exist. */
export async function presentMember(
  on: Queryable,
  clock: Clock,
  { workspaceId, operatorId }: { readonly workspaceId: string; readonly operatorId: string },
): Promise<PresentMember | undefined> {
  const row = await findOperatorRow(on, { id: operatorId })
  if (!row) return undefined
  const sessions = await listSessions(on, clock, operatorId)
  const all = [...(await operatorRoles(on, operatorId)), ...sessions.flatMap(({ groupRoles }) => groupRoles)]
  if (!all.some((has) => has.workspaceId === workspaceId)) return undefined
  const { subject, lockedAt } = toOperator(row)
  return { subject, locked: lockedAt !== null, roles: rolesIn(all, workspaceId) }
}

/**
 * The roles that the caller has in the workspace of their token. They stay so until the transaction ends, and so does
 * their session; none when it has ended. A token without a session is the hub's own machine's: it has no account.
 */
export async function holdCallersRoles(tx: Tx, clock: Clock, caller: Principal): Promise<readonly string[]> {
  await holdRoles(tx)
  if (caller.sessionId === undefined) return [...caller.roles]
  const session = await lockSession(tx, clock, caller.sessionId)
  if (!session) return []
  const roles = await rolesOfSession(tx, session)
  return mayOnlyEnrol(session, roles) ? [] : rolesIn(roles, caller.tenantId)
}
