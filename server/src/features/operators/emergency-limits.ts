/**
 * What nobody does in an emergency, because it would outlive the hour: change their own account, or make others
 * powerful on the platform. Asked where accounts, roles and invitations change, whatever route leads there.
 */
import { Problem } from '../../problems.ts'
import type { Author } from '../audit/audit.ts'
import { inEmergency } from '../permissions/permissions.ts'
import { subjectOf } from './account.ts'
import type { OperatorRole } from './role.ts'

/** Errors: `forbidden` when it is the account of who is in the emergency. */
export function requireNotOwnInEmergency(author: Author, { email }: { readonly email: string }): void {
  if (inEmergency(author) && author.actor === subjectOf(email))
    throw new Problem(
      'forbidden',
      'Nobody changes roles, lock or second factor of their own account in an emergency.',
    )
}

/** Errors: `forbidden` for a role on the platform. */
export function requireNoPlatformRoleInEmergency(
  author: Author,
  { workspaceId }: Pick<OperatorRole, 'workspaceId'>,
): void {
  if (inEmergency(author) && workspaceId === null)
    throw new Problem('forbidden', 'Nobody gives platform roles, or invites to them, in an emergency.')
}
