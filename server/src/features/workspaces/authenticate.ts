import type { Socket } from 'node:net'
import type { Principal, VerifyToken } from '../../platform/auth/principal.ts'
import { bearerToken, tokenRefused } from '../../platform/auth/tokens.ts'
import type { Authenticate } from '../../platform/http/access.ts'
import { clientCertificateSha256 } from '../../platform/http/client-certificate.ts'
import { equalInConstantTime } from '../../platform/secret.ts'
import type { EndedTokens } from '../ended-tokens/ended-tokens.ts'
import { EMERGENCY, NO_WORKSPACE, PLATFORM_ROLES, SIGNED_ON } from '../permissions/permissions.ts'
import { type WorkspaceDirectory, workspaceStopped } from './workspace-directory.ts'

/** The role that may create workspaces and see all of them. */
export const PLATFORM_ADMIN = 'platform_admin'
const READ_SCOPE = 'orchestrator.control.read'

const ABOVE_WORKSPACES: ReadonlySet<string> = new Set([...Object.keys(PLATFORM_ROLES), SIGNED_ON])
/** A suspended workspace does not stop them: they are those who may resume it. */
const UNSTOPPED = [PLATFORM_ADMIN, EMERGENCY]

/** Without a working workspace people may look around and do what concerns the platform, nothing else. */
const limited = (principal: Principal): Principal => ({
  ...principal,
  scopes: new Set([READ_SCOPE].filter((scope) => principal.scopes.has(scope))),
  roles: new Set([...principal.roles].filter((role) => ABOVE_WORKSPACES.has(role))),
})

export interface AccessState {
  readonly directory: Pick<WorkspaceDirectory, 'find'>
  readonly ended: Pick<EndedTokens, 'isEnded' | 'known'>
}

/** Why somebody who was let in may not go on. */
export type StopReason = 'workspace_suspended' | 'token_ended'

/** Why a caller who was let in may not go on with what is open: undefined = it may. Errors: `database_unavailable`. */
export type ReasonToStop = (principal: Principal) => Promise<StopReason | undefined>

/** Platform admins, emergencies and whoever is in no workspace go on, whatever becomes of one. */
export const createReasonToStop =
  ({ directory, ended }: AccessState): ReasonToStop =>
  async (principal) => {
    if (ended.isEnded(principal)) return 'token_ended'
    if (principal.tenantId === NO_WORKSPACE || UNSTOPPED.some((role) => principal.roles.has(role)))
      return undefined
    return (await directory.find(principal.tenantId))?.status === 'active' ? undefined : 'workspace_suspended'
  }

/** A token that is bound to a client certificate is good only on a connection with it (RFC 8705 §3). */
const showsCertificate = ({ certificateSha256 }: Principal, socket: Socket): boolean =>
  certificateSha256 === undefined ||
  equalInConstantTime(clientCertificateSha256(socket) ?? '', certificateSha256)

/**
 * From the `Authorization` header to a caller whose token lives and whose workspace exists here and is active. Errors:
 * `auth_required` for every bad token and for a workspace that this hub does not serve, `workspace_suspended`.
 */
export function createAuthenticate(deps: AccessState & { readonly verify: VerifyToken }): Authenticate {
  const { verify, directory, ended } = deps
  return async ({ headers, socket }) => {
    const principal = await verify(bearerToken(headers.authorization))
    // Emergencies have a listener of their own; a token that claims one here is none, whoever signed it.
    if (principal.roles.has(EMERGENCY) || !showsCertificate(principal, socket)) throw tokenRefused()
    await ended.known()
    if (ended.isEnded(principal)) throw tokenRefused()
    const workspace = await directory.find(principal.tenantId)
    if (workspace?.status === 'active') return principal
    // Whoever may resume a workspace, or create the first one, must not be locked out with it.
    const above = limited(principal)
    if (above.roles.size > 0) return above
    if (!workspace) throw tokenRefused()
    throw workspaceStopped(workspace)
  }
}
