import type { Queryable } from '../../platform/db/statement.ts'
import { PLATFORM_ROLES, WORKSPACE_ROLES } from '../permissions/permissions.ts'
import { findWorkspaces } from './group-roles.sql.ts'
import type { GroupRole } from './oidc-provider.ts'
import type { OperatorRole } from './role.ts'

/** Admins are invited by name: whoever may put people into groups elsewhere must not make one. */
const BY_NAME_ONLY = ['admin', 'platform_admin', 'break_glass_admin']

/**
 * Reads `group=role@workspace-slug` or `group=platform-role`, separated by commas. A text instead of the list says what
 * is wrong with it.
 */
export function parseGroupRoles(text: string): readonly GroupRole[] | string {
  const roles: GroupRole[] = []
  for (const entry of text
    .split(',')
    .map((part) => part.trim())
    .filter((part) => part !== '')) {
    const [, group = '', role = '', workspace] = /^(.+)=([a-z_]+)(?:@([a-z0-9-]+))?$/.exec(entry) ?? []
    const known = workspace === undefined ? PLATFORM_ROLES : WORKSPACE_ROLES
    if (group === '' || !Object.hasOwn(known, role))
      return 'must be entries like group=support@buildos-dev or group=platform_auditor, separated by commas'
    if (BY_NAME_ONLY.includes(role)) return `may not give the role ${role}: its holders are invited by name`
    roles.push({ group, role, workspace })
  }
  return roles
}

/** The roles that these groups give. A workspace that does not exist gives none. */
export async function groupRolesOf(
  on: Queryable,
  mapping: readonly GroupRole[],
  groups: readonly string[],
): Promise<OperatorRole[]> {
  const given = mapping.filter(({ group }) => groups.includes(group))
  const slugs = given.flatMap(({ workspace }) => workspace ?? [])
  const ids = new Map(
    (slugs.length === 0 ? [] : await findWorkspaces(on, { slugs })).map(({ slug, id }) => [slug, id]),
  )
  return given.flatMap(({ role, workspace }) => {
    const workspaceId = workspace === undefined ? null : ids.get(workspace)
    return workspaceId === undefined ? [] : [{ workspaceId, role } as OperatorRole]
  })
}
