import type { Principal } from '../../platform/auth/principal.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { PLATFORM_ROLES } from '../permissions/permissions.ts'

/** A person with roles, as far as it matters for acting as them. */
export interface Member {
  /** The `sub` of their tokens. */
  readonly subject: string
  /** The account is locked. */
  readonly locked: boolean
  /** In the workspace and in the platform, with those that the groups of a living session give. */
  readonly roles: readonly string[]
}

/** Finds a member of a workspace; undefined = there is no such one there. */
export type FindMember = (on: Queryable, tenantId: string, operatorId: string) => Promise<Member | undefined>

/** Who people are; roles are asked and held in the transaction that depends on them. */
export interface People {
  readonly findMember: FindMember
  /**
   * Until the transaction ends nobody's roles change, no account is locked, and the caller's session does not end. Gives
   * the roles that the caller has now in the workspace of the token, none when their session has ended.
   */
  hold(tx: Tx, caller: Principal): Promise<readonly string[]>
}

const isPlatformRole = (role: string): boolean => Object.hasOwn(PLATFORM_ROLES, role)

/** Why this caller may not act as this member; undefined = may. One rule for the token and for the headers of dev. */
export function impersonationFault(caller: Principal, member: Member): string | undefined {
  if (caller.impersonator !== undefined)
    return 'Nobody may impersonate somebody while impersonating somebody.'
  // A machine's token names no person who could answer for it.
  if (caller.roles.size === 0) return 'Only people may impersonate somebody.'
  if (member.subject === caller.subject) return 'Nobody may impersonate themselves.'
  if (member.locked) return 'Nobody may impersonate somebody whose account is locked.'
  if (member.roles.includes('admin')) return 'Nobody may impersonate an Admin.'
  if (member.roles.some(isPlatformRole)) return 'Nobody may impersonate somebody with a platform role.'
  return undefined
}
