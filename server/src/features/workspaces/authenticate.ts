import type { Principal, VerifyToken } from '../../platform/auth/principal.ts'
import { bearerToken, tokenRefused } from '../../platform/auth/tokens.ts'
import type { Authenticate } from '../../platform/http/access.ts'
import { Problem } from '../../problems.ts'
import { EMERGENCY, PLATFORM_ROLES, SIGNED_ON } from '../permissions/permissions.ts'
import type { WorkspaceDirectory } from './workspace-directory.ts'

/** The role that may create workspaces and see all of them. */
export const PLATFORM_ADMIN = 'platform_admin'
const READ_SCOPE = 'orchestrator.control.read'

const ABOVE_WORKSPACES: ReadonlySet<string> = new Set([...Object.keys(PLATFORM_ROLES), EMERGENCY, SIGNED_ON])

/** Without a working workspace people may look around and do what concerns the platform, nothing else. */
const limited = (principal: Principal): Principal => ({
  ...principal,
  scopes: new Set([READ_SCOPE].filter((scope) => principal.scopes.has(scope))),
  roles: new Set([...principal.roles].filter((role) => ABOVE_WORKSPACES.has(role))),
})

/** True while a caller who was let in may go on: its workspace is active, or it is a platform admin. */
export const mayReadOn = async (
  directory: Pick<WorkspaceDirectory, 'find'>,
  principal: Principal,
): Promise<boolean> =>
  principal.roles.has(PLATFORM_ADMIN) || (await directory.find(principal.tenantId))?.status === 'active'

/**
 * From the `Authorization` header to a caller whose workspace exists here and is active. Errors:
 * `auth_required` for every bad token and for a workspace that this hub does not serve, `workspace_suspended`.
 */
export function createAuthenticate(deps: {
  readonly verify: VerifyToken
  readonly directory: WorkspaceDirectory
}): Authenticate {
  return async ({ headers }) => {
    const principal = await deps.verify(bearerToken(headers.authorization))
    const workspace = await deps.directory.find(principal.tenantId)
    if (workspace?.status === 'active') return principal
    // Whoever may resume a workspace, or create the first one, must not be locked out with it.
    const above = limited(principal)
    if (above.roles.size > 0) return above
    if (!workspace) throw tokenRefused()
    throw new Problem('workspace_suspended', 'The workspace of this token is suspended.')
  }
}
