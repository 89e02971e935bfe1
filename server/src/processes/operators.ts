/** People in the control process: how they prove who they are, and who they are to other features. Wiring only. */
import type { Proof, ProvenOperator } from '../features/break-glass/break-glass.ts'
import type { FindMember } from '../features/impersonation/impersonation.ts'
import {
  createPasswords,
  createSignOnLimits,
  getMember,
  listAdmins,
  type OperatorDeps,
  operatorRoles,
  proveOperator,
} from '../features/operators/operators.ts'
import type { Db } from '../platform/db/db.ts'
import type { Envelope } from '../platform/envelope.ts'
import type { Platform } from '../platform/platform.ts'
import { Problem } from '../problems.ts'

/** One of each for a process: limits and hashes are counted in it. */
export const openOperators = (platform: Platform, envelope: Envelope): OperatorDeps => ({
  db: platform.db,
  clock: platform.clock,
  envelope,
  passwords: createPasswords(),
  limits: createSignOnLimits(platform),
})

/** A member with all roles that a token of this workspace would give them. */
export const findMemberIn =
  (db: Db): FindMember =>
  async (tenantId, operatorId) => {
    try {
      const { subject } = await getMember(db, { workspaceId: tenantId, operatorId })
      const roles = await operatorRoles(db, operatorId)
      return {
        subject,
        roles: roles.flatMap(({ workspaceId, role }) =>
          workspaceId === null || workspaceId === tenantId ? [role] : [],
        ),
      }
    } catch (error) {
      if (error instanceof Problem && error.code === 'not_found') return undefined
      throw error
    }
  }

/** Password and second factor again, for an emergency. */
export const proveFor =
  (deps: OperatorDeps) =>
  async (
    proof: Proof,
    client: { ip: string; userAgent: string | null } | undefined,
  ): Promise<ProvenOperator> => {
    const operator = await proveOperator(deps, {
      ...proof,
      client: client ?? { ip: 'unknown', userAgent: null },
    })
    const roles = await operatorRoles(deps.db, operator.id)
    return {
      subject: operator.subject,
      platformRoles: roles.flatMap(({ workspaceId, role }) => (workspaceId === null ? [role] : [])),
    }
  }

/** Everybody who must hear of an emergency. */
export const adminSubjects = async ({ db }: Pick<OperatorDeps, 'db'>): Promise<string[]> => [
  ...new Set((await listAdmins(db)).map(({ subject }) => subject)),
]
