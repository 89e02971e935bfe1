/** People in the control process: how they prove who they are, and who they are to other features. Wiring only. */
import type { BreakGlassDeps } from '../features/break-glass/break-glass.ts'
import type { FindMember, People } from '../features/impersonation/impersonation.ts'
import {
  createPasswords,
  createSignOnLimits,
  holdCallersRoles,
  holdProven,
  listAdmins,
  type OperatorDeps,
  presentMember,
  proveOperator,
} from '../features/operators/operators.ts'
import type { Clock } from '../platform/clock.ts'
import type { Envelope } from '../platform/envelope.ts'
import type { Platform } from '../platform/platform.ts'

/** One of each for a process: limits and hashes are counted in it. */
export const openOperators = (platform: Platform, envelope: Envelope): OperatorDeps => ({
  db: platform.db,
  clock: platform.clock,
  envelope,
  passwords: createPasswords(),
  limits: createSignOnLimits(platform),
})

export const findMember =
  (clock: Clock): FindMember =>
  (on, workspaceId, operatorId) =>
    presentMember(on, clock, { workspaceId, operatorId })

/** Whom people may act as, and by which roles. */
export const peopleOf = (clock: Clock): People => ({
  findMember: findMember(clock),
  hold: (tx, caller) => holdCallersRoles(tx, clock, caller),
})

const MAY_OPEN = 'break_glass_admin'

/** Password and second factor again, and the role, for an emergency. */
export const proveFor =
  (deps: OperatorDeps): BreakGlassDeps['prove'] =>
  (proof, { call, log }) =>
    proveOperator(
      deps,
      { ...proof, role: MAY_OPEN },
      { call, log, client: call.client ?? { ip: 'unknown', userAgent: null } },
    )

/** That they may still. */
export const holdFor: BreakGlassDeps['hold'] = (tx, { id }) => holdProven(tx, { id, role: MAY_OPEN })

/** Everybody who must hear of an emergency. */
export const adminSubjects = async ({ db }: Pick<OperatorDeps, 'db'>): Promise<string[]> => [
  ...new Set((await listAdmins(db)).map(({ subject }) => subject)),
]
