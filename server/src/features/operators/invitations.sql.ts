import { many, maybeOne, one } from '../../platform/db/statement.ts'
import type { PlatformRole, WorkspaceRole } from '../permissions/permissions.ts'

export interface InvitationRow {
  readonly id: string
  readonly email: string
  /** Null = to the platform. */
  readonly workspace_id: string | null
  readonly role: WorkspaceRole | PlatformRole
  readonly invited_by: string
  readonly created_at: Date
  readonly expires_at: Date
}

const COLUMNS = 'id, email, workspace_id, role, invited_by, created_at, expires_at'
/** `$1` is now. */
const OPEN = 'accepted_at is null and revoked_at is null and expires_at > $1'
/**
 * Whoever invited may still do so there. An author without an account is the machine of the hub (`orchestrator operator
 * invite`), which no role gives its right.
 */
const BACKED = `not exists (
  select from operator p where i.invited_by like 'operator:%' and p.email = substr(i.invited_by, 10)
    and not (p.locked_at is null and exists (
      select from operator_role r where r.operator_id = p.id and (
        (r.workspace_id = i.workspace_id and r.role = 'admin')
        or (r.workspace_id is null
            and r.role = case when i.in_emergency then 'break_glass_admin' else 'platform_admin' end)))))`

export const insertInvitation = one<
  Omit<InvitationRow, 'workspace_id' | 'invited_by' | 'created_at' | 'expires_at'> & {
    readonly workspaceId: string | null
    readonly tokenSha256: Buffer
    readonly by: string
    readonly inEmergency: boolean
    readonly now: Date
    readonly expiresAt: Date
  },
  InvitationRow
>(
  'operators.invite',
  `with replaced as (
     update operator_invitation set revoked_at = $1
     where email = $3 and workspace_id is not distinct from $4 and ($4::uuid is not null or role = $5) and ${OPEN}
   )
   insert into operator_invitation (created_at, id, email, workspace_id, role, token_sha256, invited_by, expires_at,
     in_emergency)
   values ($1, $2, $3, $4, $5, $6, $7, $8, $9) returning ${COLUMNS}`,
  ({ now, id, email, workspaceId, role, tokenSha256, by, expiresAt, inEmergency }) => [
    now,
    id,
    email,
    workspaceId,
    role,
    tokenSha256,
    by,
    expiresAt,
    inEmergency,
  ],
)

/** Of one workspace, or of the platform with null. An id of anywhere else touches nothing. */
interface Key {
  readonly now: Date
  readonly id: string
  readonly workspaceId: string | null
}

/** Open ones of one workspace, or with null all of them; newest first. */
export const listOpen = many<
  {
    readonly now: Date
    readonly workspaceId: string | null
    readonly beforeId?: string | undefined
    readonly limit: number
  },
  InvitationRow
>(
  'operators.invitations',
  `select ${COLUMNS} from operator_invitation
   where ${OPEN} and ($2::uuid is null or workspace_id = $2) and ($3::uuid is null or id < $3)
   order by id desc limit $4`,
  ({ now, workspaceId, beforeId, limit }) => [now, workspaceId, beforeId ?? null, limit],
)

/** Also one that has expired may be sent again. With null whatever it invites to. */
export const renewToken = maybeOne<
  Key & { readonly tokenSha256: Buffer; readonly expiresAt: Date },
  InvitationRow
>(
  'operators.renew_invitation',
  `update operator_invitation set token_sha256 = $3, expires_at = $4
   where id = $1 and ($2::uuid is null or workspace_id = $2) and accepted_at is null and revoked_at is null
   returning ${COLUMNS}`,
  ({ id, workspaceId, tokenSha256, expiresAt }) => [id, workspaceId, tokenSha256, expiresAt],
)

export const revokeInvitation = maybeOne<Key, InvitationRow>(
  'operators.revoke_invitation',
  `update operator_invitation set revoked_at = $1
   where id = $2 and ($3::uuid is null or workspace_id = $3) and accepted_at is null and revoked_at is null
   returning ${COLUMNS}`,
  ({ now, id, workspaceId }) => [now, id, workspaceId],
)

/** What somebody invited to, also what has expired and could be sent again, where they may no longer do so. */
export const revokeUnbacked = many<{ readonly now: Date; readonly by: string }, InvitationRow>(
  'operators.revoke_unbacked_invitations',
  `update operator_invitation i set revoked_at = $1
   where invited_by = $2 and accepted_at is null and revoked_at is null and not ${BACKED} returning ${COLUMNS}`,
  ({ now, by }) => [now, by],
)

/** Gives it once. */
export const acceptInvitation = maybeOne<{ readonly now: Date; readonly tokenSha256: Buffer }, InvitationRow>(
  'operators.accept_invitation',
  `update operator_invitation i set accepted_at = $1
   where token_sha256 = $2 and ${OPEN} and ${BACKED} returning ${COLUMNS}`,
  ({ now, tokenSha256 }) => [now, tokenSha256],
)

export const findOpen = maybeOne<{ readonly now: Date; readonly tokenSha256: Buffer }, InvitationRow>(
  'operators.find_invitation',
  `select ${COLUMNS} from operator_invitation i where token_sha256 = $2 and ${OPEN} and ${BACKED}`,
  ({ now, tokenSha256 }) => [now, tokenSha256],
)

/** For somebody whose address the identity provider vouches for. */
export const acceptAllOf = many<{ readonly now: Date; readonly email: string }, InvitationRow>(
  'operators.accept_invitations_of',
  `update operator_invitation i set accepted_at = $1
   where email = $2 and ${OPEN} and ${BACKED} returning ${COLUMNS}`,
  ({ now, email }) => [now, email],
)
