/**
 * Who has which role. Invariants. A workspace with an Admin keeps one who is not locked, and so does the platform with
 * its admins, also when two take each other's role away at the same time. What somebody had by a role ends in the
 * transaction that takes it: `authority-ends.ts`.
 */
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import type { PlatformRole, WorkspaceRole } from '../permissions/permissions.ts'
import { NO_WORKSPACE, requireRoom } from '../workspaces/workspaces.ts'
import { noOperator, type Operator, toOperator } from './account.ts'
import { findOperatorRow } from './accounts.sql.ts'
import { endEverywhere, endInWorkspace } from './authority-ends.ts'
import { requireNoPlatformRoleInEmergency, requireNotOwnInEmergency } from './emergency-limits.ts'
import type { OperatorRole } from './role.ts'
import * as sql from './roles.sql.ts'

export interface Member extends Operator {
  readonly role: WorkspaceRole
  readonly grantedAt: Date
  readonly grantedBy: string
}

const toRole = ({ workspace_id, role }: sql.RoleRow): OperatorRole =>
  ({ workspaceId: workspace_id, role }) as OperatorRole

/** Platform roles first. */
export const operatorRoles = async (on: Queryable, operatorId: string): Promise<OperatorRole[]> =>
  (await sql.rolesOf(on, { operatorIds: [operatorId] })).map(toRole)

/** As `operatorRoles`, of several at once, by their id. */
export async function rolesByOperator(
  on: Queryable,
  operatorIds: readonly string[],
): Promise<ReadonlyMap<string, readonly OperatorRole[]>> {
  const rows = await sql.rolesOf(on, { operatorIds })
  return new Map(
    operatorIds.map((id) => [id, rows.filter((row) => row.operator_id === id).map(toRole)] as const),
  )
}

/** Whoever has one of these must show a second factor before it counts. */
export const needsSecondFactor = (roles: readonly OperatorRole[]): boolean =>
  roles.some(({ workspaceId, role }) => workspaceId === null || role === 'admin')

/**
 * Admins who are not locked: of one workspace, of the platform with null, and of all of both without `workspaceId`.
 */
export const listAdmins = async (
  on: Queryable,
  { workspaceId }: { readonly workspaceId?: string | null } = {},
): Promise<Operator[]> => (await sql.listAdminRows(on, { workspaceId })).map(toOperator)

type MemberRow = NonNullable<Awaited<ReturnType<typeof sql.findMemberRow>>>
const toMember = (row: MemberRow): Member => ({
  ...toOperator(row),
  role: row.role,
  grantedAt: row.granted_at,
  grantedBy: row.granted_by,
})

export const listMembers = async (
  on: Queryable,
  filter: { readonly workspaceId: string; readonly afterId?: string | undefined; readonly limit: number },
): Promise<Member[]> => (await sql.listMemberRows(on, filter)).map(toMember)

interface OfWorkspace {
  readonly workspaceId: string
  readonly operatorId: string
}

const noMember = (): Problem => new Problem('not_found', 'Nobody with this id has a role in the workspace.')

/** Errors: `not_found`, the same for a stranger and for a member of another workspace. */
export async function getMember(on: Queryable, key: OfWorkspace): Promise<Member> {
  const row = await sql.findMemberRow(on, key)
  if (!row) throw noMember()
  return toMember(row)
}

/** Errors: `last_admin`. */
async function requireAdminLeft(tx: Tx, workspaceId: string | null): Promise<void> {
  if (((await sql.countAdmins(tx, { workspaceId }))?.admins ?? 0) > 0) return
  throw new Problem(
    'last_admin',
    workspaceId === null
      ? 'The platform would have no admin left who can sign on.'
      : 'The workspace would have no Admin left who can sign on.',
  )
}

interface Deps {
  readonly db: Db
  readonly clock: Clock
}

/** Another role for somebody who has one in the workspace. Errors: `not_found`, `last_admin`. */
export const setMemberRole = (
  { db, clock }: Deps,
  { workspaceId, operatorId, role }: OfWorkspace & { readonly role: WorkspaceRole },
  change: Change,
): Promise<Member> =>
  db.transaction(async (tx) => {
    await sql.lockRoles(tx, {})
    const before = await getMember(tx, { workspaceId, operatorId })
    requireNotOwnInEmergency(change, before)
    if (before.role === role) return before
    await sql.grantWorkspaceRole(tx, { operatorId, workspaceId, role, by: nameOf(change) })
    if (before.role === 'admin') await requireAdminLeft(tx, workspaceId)
    await endInWorkspace(tx, clock, before, workspaceId, change)
    await recordAudit(tx, {
      ...change,
      tenantId: workspaceId,
      action: 'member.role_changed',
      object: `operator:${before.email}`,
      diff: [{ path: '/role', before: before.role, after: role }],
    })
    return getMember(tx, { workspaceId, operatorId })
  })

/** Takes somebody's role in the workspace away. Errors: `not_found`, `last_admin`. */
export const removeMember = ({ db, clock }: Deps, key: OfWorkspace, change: Change): Promise<void> =>
  db.transaction(async (tx) => {
    await sql.lockRoles(tx, {})
    const before = await getMember(tx, key)
    requireNotOwnInEmergency(change, before)
    await sql.revokeWorkspaceRole(tx, key)
    if (before.role === 'admin') await requireAdminLeft(tx, key.workspaceId)
    await endInWorkspace(tx, clock, before, key.workspaceId, change)
    await recordAudit(tx, {
      ...change,
      tenantId: key.workspaceId,
      action: 'member.removed',
      object: `operator:${before.email}`,
      diff: [{ path: '/role', before: before.role }],
    })
  })

/** Makes the platform roles of somebody exactly these. Errors: `not_found`, `last_admin`. */
export const setPlatformRoles = (
  { db, clock }: Deps,
  { operatorId, roles }: { readonly operatorId: string; readonly roles: readonly PlatformRole[] },
  change: Change,
): Promise<Operator> =>
  db.transaction(async (tx) => {
    await sql.lockRoles(tx, {})
    const row = await findOperatorRow(tx, { id: operatorId })
    if (!row) throw noOperator()
    const operator = toOperator(row)
    requireNotOwnInEmergency(change, operator)
    const before = (await operatorRoles(tx, operatorId)).flatMap(({ workspaceId, role }) =>
      workspaceId === null ? [role as PlatformRole] : [],
    )
    const taken = before.filter((role) => !roles.includes(role))
    const given = roles.filter((role) => !before.includes(role))
    if (taken.length + given.length === 0) return operator
    if (given.length > 0) requireNoPlatformRoleInEmergency(change, { workspaceId: null })
    for (const role of taken) await sql.revokePlatformRole(tx, { operatorId, role })
    for (const role of given)
      await sql.grantPlatformRole(tx, { operatorId, workspaceId: null, role, by: nameOf(change) })
    if (taken.includes('platform_admin')) await requireAdminLeft(tx, null)
    await endEverywhere(tx, clock, operator, change, 'a role changed')
    await recordAudit(tx, {
      ...change,
      tenantId: NO_WORKSPACE,
      action: 'operator.roles_changed',
      object: `operator:${operator.email}`,
      diff: [{ path: '/roles', before, after: [...roles] }],
    })
    return operator
  })

/**
 * Gives a role that an invitation promised; the caller writes the audit entry. A role in a workspace takes the place
 * of the present one, and may not be the last Admin's.
 */
export async function grantRole(
  tx: Tx,
  clock: Clock,
  operator: Operator,
  { workspaceId, role }: OperatorRole,
  { by, change }: { readonly by: string; readonly change: Change },
): Promise<void> {
  await sql.lockRoles(tx, {})
  const grant = { operatorId: operator.id, workspaceId, role, by }
  if (workspaceId === null) {
    await sql.grantPlatformRole(tx, grant)
    await endEverywhere(tx, clock, operator, change, 'a role changed')
  } else {
    const before = await sql.findMemberRow(tx, { workspaceId, operatorId: operator.id })
    if (!before) await requireRoom(tx, { tenantId: workspaceId, quota: 'members' })
    await sql.grantWorkspaceRole(tx, grant)
    if (before?.role === 'admin') await requireAdminLeft(tx, workspaceId)
    await endInWorkspace(tx, clock, operator, workspaceId, change)
  }
}

/** Call it in the transaction that has locked an account. Errors: `last_admin`, naming what would have none. */
export async function requireAdminsWithout(tx: Tx, operatorId: string): Promise<void> {
  for (const { workspaceId, role } of await operatorRoles(tx, operatorId))
    if (role === 'admin' || role === 'platform_admin') await requireAdminLeft(tx, workspaceId)
}

/** One change of roles at a time, until the transaction ends. */
export const lockRoles = async (tx: Tx): Promise<void> => void (await sql.lockRoles(tx, {}))

/** Until the transaction ends no roles change and no account is locked: for what is issued by the roles of now. */
export const holdRoles = async (tx: Tx): Promise<void> => void (await sql.holdRoles(tx, {}))
