/**
 * The door of the operators feature: people, how they prove who they are, and what they may do where.
 *
 * An operator has an account of the hub, by invitation only. They sign on with password and second factor, or with an
 * identity provider, and get a session; from it come tokens for one workspace at a time. Admins and whoever has a role
 * on the platform need a second factor: a session without one can only enrol it.
 *
 * Invariants. E-mails are unique and never change. Passwords lie as argon2id, secrets of the second factor sealed,
 * tokens, codes and invitations as hashes; none of them occurs in logs, events, errors or audit entries. Every change
 * of roles commits with its audit entry, in the chain of the workspace or of the platform.
 */
export { type Operator, subjectOf } from './account.ts'
export type { Client, OperatorDeps } from './deps.ts'
export { parseGroupRoles } from './group-roles.ts'
export { createOidcProvider, type OidcProvider, type OidcSettings } from './oidc-provider.ts'
export { createPasswords, type Passwords } from './passwords.ts'
export { holdCallersRoles, presentMember } from './present-roles.ts'
export { holdProven, type Proof, proveOperator } from './prove-operator.ts'
export type { OperatorRole } from './role.ts'
export {
  getMember,
  listAdmins,
  listMembers,
  type Member,
  operatorRoles,
} from './roles.ts'
export { rewrapSecondFactors } from './second-factor.ts'
export { endSessions, type Session, verifySession } from './sessions.ts'
export { createSignOnLimits, type SignOnLimits } from './sign-on-limits.ts'
