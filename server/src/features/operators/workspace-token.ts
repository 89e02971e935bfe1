/** From a session to a token of one workspace: how an operator chooses where to work (DESIGN D3). */
import type { Keys } from '../../platform/auth/keys.ts'
import type { Principal } from '../../platform/auth/principal.ts'
import { type IssuedToken, issueToken, type TokenRules } from '../../platform/auth/tokens.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type PermissionName, permissionsOf } from '../permissions/permissions.ts'
import { NO_WORKSPACE, type WorkspaceDirectory } from '../workspaces/workspaces.ts'
import { subjectOf } from './account.ts'
import type { OperatorRole } from './role.ts'
import { holdRoles, needsSecondFactor, operatorRoles } from './roles.ts'
import type { Session } from './sessions.ts'

/** A token that is lost is worth little for long; the session gives another. */
const LIFETIME_SECONDS = 600

export interface TokenDeps {
  readonly db: Db
  readonly clock: Clock
  readonly keys: Keys
  readonly rules: TokenRules
  readonly directory: WorkspaceDirectory
}

/** What the person has in this session: their own roles and those that their groups give. */
export const rolesOfSession = async (on: Queryable, session: Session): Promise<readonly OperatorRole[]> => [
  ...(await operatorRoles(on, session.operatorId)),
  ...session.groupRoles,
]

/** True when the roles ask for a second factor that the session does not have: it may enrol one, nothing else. */
export const mayOnlyEnrol = (session: Session, roles: readonly OperatorRole[]): boolean =>
  !session.mfa && needsSecondFactor(roles)

export const enrolmentRequired = (): Problem =>
  new Problem('mfa_enrolment_required', 'Your roles need a second factor, which this session does not have.')

/** The roles that count in one workspace, or outside of all with undefined: its own and those of the platform. */
export const rolesIn = (roles: readonly OperatorRole[], workspaceId: string | undefined): string[] => [
  ...new Set(
    roles.flatMap((has) =>
      has.workspaceId === null || has.workspaceId === workspaceId ? [has.role as string] : [],
    ),
  ),
]

/**
 * The workspace that was chosen. The same answer for one that does not exist and one where the person has no
 * business. Errors: `not_found`.
 */
async function rolesFor(
  { directory }: Pick<TokenDeps, 'directory'>,
  roles: readonly OperatorRole[],
  workspaceId: string | undefined,
): Promise<string[]> {
  const held = rolesIn(roles, workspaceId)
  const there = workspaceId === undefined || (await directory.find(workspaceId)) !== undefined
  if (!there || held.length === 0)
    throw new Problem('not_found', 'There is no such workspace, or you have no role in it.')
  return held
}

/**
 * Roles are held until the token is made, so that one with the roles from before a change is older than the end that the
 * change sets. Errors: `not_found`, `mfa_enrolment_required`.
 */
export async function issueWorkspaceToken(
  deps: TokenDeps,
  session: Session,
  workspaceId: string | undefined,
): Promise<IssuedToken & { readonly roles: readonly string[]; readonly lifetimeSeconds: number }> {
  return deps.db.transaction(async (tx) => {
    await holdRoles(tx)
    const all = await rolesOfSession(tx, session)
    if (mayOnlyEnrol(session, all)) throw enrolmentRequired()
    const roles = await rolesFor(deps, all, workspaceId)
    const leftSeconds = Math.floor((session.expiresAt.getTime() - deps.clock.now()) / 1_000)
    const lifetimeSeconds = Math.max(1, Math.min(LIFETIME_SECONDS, deps.rules.maxAgeSeconds, leftSeconds))
    const issued = await issueToken(deps, {
      subject: subjectOf(session.email),
      tenantId: workspaceId ?? NO_WORKSPACE,
      scopes: [],
      roles,
      lifetimeSeconds,
      sessionId: session.id,
    })
    return { ...issued, roles, lifetimeSeconds }
  })
}

/** What a token for the workspace would allow, for buttons that are shown disabled. Errors: `not_found`. */
export async function permissionsIn(
  deps: Pick<TokenDeps, 'directory'>,
  session: Session,
  roles: readonly OperatorRole[],
  workspaceId: string | undefined,
): Promise<readonly PermissionName[]> {
  if (mayOnlyEnrol(session, roles)) return []
  const principal: Principal = {
    subject: subjectOf(session.email),
    tenantId: workspaceId ?? NO_WORKSPACE,
    scopes: new Set(),
    roles: new Set(
      workspaceId === undefined ? rolesIn(roles, undefined) : await rolesFor(deps, roles, workspaceId),
    ),
    tokenId: session.id,
    issuedAt: session.createdAt.getTime(),
    expiresAt: session.expiresAt.getTime(),
  }
  return permissionsOf(principal)
}
