import { many, maybeOne, run } from '../../platform/db/statement.ts'
import type { PlatformRole, WorkspaceRole } from '../permissions/permissions.ts'
import { OPERATOR_COLUMNS, type OperatorRow } from './accounts.sql.ts'

export interface RoleRow {
  readonly operator_id: string
  /** Null = a platform role. */
  readonly workspace_id: string | null
  readonly role: WorkspaceRole | PlatformRole
  readonly granted_at: Date
  readonly granted_by: string
}

/**
 * One change of roles at a time in the whole hub, until the transaction ends: whether an Admin is left can be counted
 * only when nobody takes another one away meanwhile. Readers are not held up.
 */
export const lockRoles = run<Record<string, never>>(
  'operators.lock_roles',
  'lock table operator_role in share row exclusive mode',
  () => [],
)

/** Waits for a change of roles, and makes the next one wait. Many may hold them at once. */
export const holdRoles = run<Record<string, never>>(
  'operators.hold_roles',
  'lock table operator_role in share mode',
  () => [],
)

export const rolesOf = many<{ readonly operatorIds: readonly string[] }, RoleRow>(
  'operators.roles_of',
  `select operator_id, workspace_id, role, granted_at, granted_by from operator_role
   where operator_id = any($1) order by operator_id, workspace_id nulls first, role`,
  ({ operatorIds }) => [operatorIds],
)

/** Those of one workspace, in the order of their accounts. */
export const listMemberRows = many<
  { readonly workspaceId: string; readonly afterId?: string | undefined; readonly limit: number },
  OperatorRow & { readonly role: WorkspaceRole; readonly granted_at: Date; readonly granted_by: string }
>(
  'operators.members',
  `select ${OPERATOR_COLUMNS}, r.role, r.granted_at, r.granted_by
   from operator_role r join operator o on o.id = r.operator_id
   where r.workspace_id = $1 and ($2::uuid is null or o.id > $2) order by o.id limit $3`,
  ({ workspaceId, afterId, limit }) => [workspaceId, afterId ?? null, limit],
)

export const findMemberRow = maybeOne<
  { readonly workspaceId: string; readonly operatorId: string },
  OperatorRow & { readonly role: WorkspaceRole; readonly granted_at: Date; readonly granted_by: string }
>(
  'operators.member',
  `select ${OPERATOR_COLUMNS}, r.role, r.granted_at, r.granted_by
   from operator_role r join operator o on o.id = r.operator_id
   where r.workspace_id = $1 and o.id = $2`,
  ({ workspaceId, operatorId }) => [workspaceId, operatorId],
)

interface Grant {
  readonly operatorId: string
  readonly workspaceId: string | null
  readonly role: WorkspaceRole | PlatformRole
  readonly by: string
}

/** In a workspace in place of the present role; on the platform besides the others. */
export const grantWorkspaceRole = run<Grant>(
  'operators.grant_in_workspace',
  `insert into operator_role (operator_id, workspace_id, role, granted_by) values ($1, $2, $3, $4)
   on conflict (operator_id, workspace_id) where workspace_id is not null
   do update set role = excluded.role, granted_at = now(), granted_by = excluded.granted_by`,
  ({ operatorId, workspaceId, role, by }) => [operatorId, workspaceId, role, by],
)

export const grantPlatformRole = run<Grant>(
  'operators.grant_on_platform',
  `insert into operator_role (operator_id, role, granted_by) values ($1, $2, $3)
   on conflict (operator_id, role) where workspace_id is null do nothing`,
  ({ operatorId, role, by }) => [operatorId, role, by],
)

export const revokeWorkspaceRole = maybeOne<
  { readonly operatorId: string; readonly workspaceId: string },
  Pick<RoleRow, 'role'>
>(
  'operators.revoke_in_workspace',
  'delete from operator_role where operator_id = $1 and workspace_id = $2 returning role',
  ({ operatorId, workspaceId }) => [operatorId, workspaceId],
)

export const revokePlatformRole = run<{ readonly operatorId: string; readonly role: PlatformRole }>(
  'operators.revoke_on_platform',
  'delete from operator_role where operator_id = $1 and workspace_id is null and role = $2',
  ({ operatorId, role }) => [operatorId, role],
)

/**
 * Admins who are not locked: of one workspace, or the platform's with null. With `lockRoles` before it, the count
 * stays true until the transaction ends.
 */
export const countAdmins = maybeOne<{ readonly workspaceId: string | null }, { readonly admins: number }>(
  'operators.count_admins',
  `select count(*) as admins from operator_role r join operator o on o.id = r.operator_id
   where r.workspace_id is not distinct from $1 and o.locked_at is null
     and r.role = case when $1::uuid is null then 'platform_admin' else 'admin' end`,
  ({ workspaceId }) => [workspaceId],
)

/** Everybody who is an Admin of any workspace or of the platform, and not locked. */
export const listAdminRows = many<{ readonly workspaceId: string | null | undefined }, OperatorRow>(
  'operators.admins',
  `select ${OPERATOR_COLUMNS} from operator o
   where o.locked_at is null and exists (
     select from operator_role r where r.operator_id = o.id and r.role in ('admin', 'platform_admin')
       and ($1::boolean or r.workspace_id is not distinct from $2::uuid))
   order by o.id`,
  ({ workspaceId }) => [workspaceId === undefined, workspaceId ?? null],
)

/** Gives nothing when they are locked or do not have it. Neither changes until the transaction ends. */
export const holdPlatformRole = maybeOne<
  { readonly operatorId: string; readonly role: PlatformRole },
  Pick<RoleRow, 'role'>
>(
  'operators.hold_platform_role',
  `select r.role from operator_role r join operator o on o.id = r.operator_id
   where o.id = $1 and r.workspace_id is null and r.role = $2 and o.locked_at is null for share of o, r`,
  ({ operatorId, role }) => [operatorId, role],
)
