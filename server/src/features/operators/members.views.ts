import { timeOfId } from '../../platform/ids.ts'
import type { Operator } from './account.ts'
import type { Invitation, InvitationWithToken } from './invitations.ts'
import type { OperatorView } from './members.schema.ts'
import type { Member } from './roles.ts'

export const viewOperator = (operator: Operator): OperatorView => ({
  id: operator.id,
  email: operator.email,
  name: operator.name,
  subject: operator.subject,
  second_factor: operator.hasSecondFactor,
  locked_at: operator.lockedAt?.toISOString() ?? null,
  created_at: operator.createdAt.toISOString(),
})

export const viewMember = (member: Member) => ({
  ...viewOperator(member),
  role: member.role,
  granted_at: member.grantedAt.toISOString(),
  granted_by: member.grantedBy,
})

export const viewInvitation = (invitation: Invitation) => ({
  id: invitation.id,
  email: invitation.email,
  workspace_id: invitation.invites.workspaceId,
  role: invitation.invites.role,
  invited_by: invitation.invitedBy,
  created_at: invitation.createdAt.toISOString(),
  expires_at: invitation.expiresAt.toISOString(),
})

/** The one place where the token of an invitation leaves the hub. */
export const viewWithToken = ({ invitation, token }: InvitationWithToken) => ({
  ...viewInvitation(invitation),
  token: token.reveal(),
})

/** The cursor of lists by id. */
export const isIdKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined
