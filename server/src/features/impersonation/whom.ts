import type { Principal } from '../../platform/auth/principal.ts'
import { PLATFORM_ROLES } from '../permissions/permissions.ts'

/** A person with roles, as far as it matters for acting as them. */
export interface Member {
  /** The `sub` of their tokens. */
  readonly subject: string
  /** In the workspace and in the platform. */
  readonly roles: readonly string[]
}

/** Finds a member of a workspace; undefined = there is no such one there. */
export type FindMember = (tenantId: string, operatorId: string) => Promise<Member | undefined>

const isPlatformRole = (role: string): boolean => Object.hasOwn(PLATFORM_ROLES, role)

/** Why this caller may not act as this member; undefined = may. One rule for the token and for the headers of dev. */
export function impersonationFault(caller: Principal, member: Member): string | undefined {
  if (caller.impersonator !== undefined)
    return 'Nobody may impersonate somebody while impersonating somebody.'
  // A machine's token names no person who could answer for it.
  if (caller.roles.size === 0) return 'Only people may impersonate somebody.'
  if (member.subject === caller.subject) return 'Nobody may impersonate themselves.'
  if (member.roles.includes('admin')) return 'Nobody may impersonate an Admin.'
  if (member.roles.some(isPlatformRole)) return 'Nobody may impersonate somebody with a platform role.'
  return undefined
}
