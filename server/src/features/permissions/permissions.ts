/**
 * The door of the permissions feature: who may do what. The table is the single source for the guards of the routes,
 * for the documentation and for the buttons of the console.
 *
 * A machine's token has scopes, a person's token has roles, a token of `orchestrator token` may have both: either is
 * enough. An impersonator has the roles of the impersonated, less everything that is guarded, and less everything
 * but reading unless writing was asked for.
 */
import type { Principal } from '../../platform/auth/principal.ts'
import type { Authorization } from '../../platform/http/access.ts'
import { NO_WORKSPACE } from './no-workspace.ts'
import { PERMISSIONS, type Permission, type PermissionName } from './permission-table.ts'
import { EMERGENCY, PLATFORM_ROLES, WORKSPACE_ROLES } from './roles.ts'

export { endWithin, inEmergency } from './emergency.ts'
export { NO_WORKSPACE } from './no-workspace.ts'
export { type Effect, PERMISSIONS, type Permission, type PermissionName } from './permission-table.ts'
export {
  EMERGENCY,
  PLATFORM_ROLES,
  type PlatformRole,
  type Role,
  SIGNED_ON,
  WORKSPACE_ROLES,
  type WorkspaceRole,
} from './roles.ts'

const isPermission = (name: string): name is PermissionName => Object.hasOwn(PERMISSIONS, name)

/** Why the caller may not do it, for the caller; undefined = may. */
export function refusal(principal: Principal, name: PermissionName): string | undefined {
  const permission: Permission = PERMISSIONS[name]
  if (principal.impersonator !== undefined) {
    if (permission.effect === 'guarded') return 'Nobody may do this while impersonating somebody.'
    if (permission.effect === 'act' && principal.readOnly !== false)
      return 'This impersonation is for looking only.'
  }
  const { scopes, roles } = permission
  if (scopes.some((scope) => principal.scopes.has(scope)) || roles.some((role) => principal.roles.has(role)))
    return principal.tenantId === NO_WORKSPACE && isOfWorkspace(permission)
      ? needsWorkspace(principal)
      : undefined
  // Whoever came with roles is told of roles, whoever came with scopes of scopes.
  const byRole = roles.length > 0 && (principal.roles.size > 0 || scopes.length === 0)
  return byRole ? `This needs ${oneOf('role', roles)}.` : `This needs ${oneOf('scope', scopes)}.`
}

/** What only somebody in a workspace can do: no role of the platform gives it. */
const isOfWorkspace = ({ scopes, roles }: Permission): boolean =>
  scopes.length + roles.filter((role) => Object.hasOwn(WORKSPACE_ROLES, role)).length > 0 &&
  !roles.some((role) => Object.hasOwn(PLATFORM_ROLES, role))

const needsWorkspace = ({ roles }: Principal): string =>
  roles.has(EMERGENCY)
    ? 'Enter a workspace first: POST /break-glass/enter.'
    : 'This token is for no workspace. Use one of the workspace that it is about.'

const oneOf = (what: string, names: readonly string[]): string =>
  names.length === 1 ? `the ${what} ${names[0]}` : `one of the ${what}s ${names.join(', ')}`

/**
 * The table as the guard of the routes of one plane. Scopes of other planes count for nothing there, whatever a
 * token says.
 */
export function authorizationOf(planeScopes: readonly string[]): Authorization {
  const ofPlane = new Set(planeScopes)
  return {
    knows: isPermission,
    refusal: (principal, name) => {
      if (!isPermission(name)) return 'Nobody may do this: the permission is not known.'
      const counted = [...principal.scopes].every((scope) => ofPlane.has(scope))
        ? principal
        : { ...principal, scopes: new Set([...principal.scopes].filter((scope) => ofPlane.has(scope))) }
      return refusal(counted, name)
    },
    needs: (name) => {
      const { scopes, roles }: Permission = PERMISSIONS[name as PermissionName]
      const ways = [
        ...scopes.filter((scope) => ofPlane.has(scope)).map((scope) => `the scope \`${scope}\``),
        ...(roles.length > 0 ? [`one of the roles ${roles.map((role) => `\`${role}\``).join(', ')}`] : []),
      ]
      return `Needs ${ways.join(' or ')}: permission \`${name}\`.`
    },
  }
}

/** What the caller may do, for buttons that are shown disabled: names of the table. */
export const permissionsOf = (principal: Principal): PermissionName[] =>
  Object.keys(PERMISSIONS).filter(
    (name): name is PermissionName => isPermission(name) && refusal(principal, name) === undefined,
  )
