/** What platform admins do to accounts. Each commits with its entry in the audit log of the platform. */
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { endEmergenciesOf } from '../break-glass/break-glass.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { noOperator, type Operator, toOperator } from './account.ts'
import { findOperatorRow, listOperatorRows, setLocked } from './accounts.sql.ts'
import { endEverywhere } from './authority-ends.ts'
import { requireNotOwnInEmergency } from './emergency-limits.ts'
import type { OperatorRole } from './role.ts'
import { lockRoles, operatorRoles, requireAdminsWithout, rolesByOperator } from './roles.ts'
import { removeSecondFactor } from './second-factor.ts'
import { endSessions, listSessions, type Session } from './sessions.ts'
import { forgetSignOnFailures } from './tries.ts'

interface Deps {
  readonly db: Db
  readonly clock: Clock
}

export interface OperatorWithRoles {
  readonly operator: Operator
  readonly roles: readonly OperatorRole[]
}

/** In the order of their making. */
export async function listOperators(
  on: Queryable,
  page: { readonly afterId?: string | undefined; readonly limit: number },
): Promise<OperatorWithRoles[]> {
  const operators = (await listOperatorRows(on, page)).map(toOperator)
  const roles = await rolesByOperator(
    on,
    operators.map(({ id }) => id),
  )
  return operators.map((operator) => ({ operator, roles: roles.get(operator.id) ?? [] }))
}

/** Errors: `not_found`. */
export async function getOperator(
  { db, clock }: Deps,
  id: string,
): Promise<OperatorWithRoles & { readonly sessions: readonly Session[] }> {
  const operator = await requireOperator(db, id)
  return {
    operator,
    roles: await operatorRoles(db, id),
    sessions: await listSessions(db, clock, id),
  }
}

async function requireOperator(on: Queryable, id: string): Promise<Operator> {
  const row = await findOperatorRow(on, { id })
  if (!row) throw noOperator()
  return toOperator(row)
}

const record = (tx: Tx, change: Change, { email }: Operator, action: string): Promise<void> =>
  recordAudit(tx, { ...change, tenantId: NO_WORKSPACE, action, object: `operator:${email}` })

/** Ends sessions, half-done sign-ons and emergencies. Gives how many. */
async function endAll(tx: Tx, clock: Clock, { id, subject }: Operator, change: Change): Promise<number> {
  const ended = await endSessions(tx, clock, { operatorId: id }, change)
  return ended + (await endEmergenciesOf(tx, subject, change))
}

/** Locks the account and ends its sessions. Errors: `not_found`, `conflict` when it is locked, `last_admin`. */
export const lockOperator = ({ db, clock }: Deps, id: string, change: Change): Promise<Operator> =>
  db.transaction(async (tx) => {
    await lockRoles(tx)
    const row = await setLocked(tx, { id, locked: true })
    if (!row) {
      await requireOperator(tx, id)
      throw new Problem('conflict', 'The account is locked already.')
    }
    requireNotOwnInEmergency(change, row)
    await requireAdminsWithout(tx, id)
    await endEverywhere(tx, clock, toOperator(row), change, 'an account was locked')
    await record(tx, change, toOperator(row), 'operator.locked')
    return toOperator(row)
  })

/**
 * Also ends the rest after failed sign-ons, which a stranger can bring about. Errors: `not_found`, `conflict` when it is
 * not locked and does not rest.
 */
export const unlockOperator = ({ db }: Pick<Deps, 'db'>, id: string, change: Change): Promise<Operator> =>
  db.transaction(async (tx) => {
    const row = await setLocked(tx, { id, locked: false })
    const rested = await forgetSignOnFailures(tx, id)
    const operator = row ? toOperator(row) : await requireOperator(tx, id)
    if (!row && !rested) throw new Problem('conflict', 'The account is not locked.')
    requireNotOwnInEmergency(change, operator)
    await record(tx, change, operator, 'operator.unlocked')
    return operator
  })

/** Gives how many sessions there were, with emergencies. Errors: `not_found`. */
export const endSessionsOf = ({ db, clock }: Deps, id: string, change: Change): Promise<number> =>
  db.transaction(async (tx) => {
    const operator = await requireOperator(tx, id)
    const ended = await endAll(tx, clock, operator, change)
    await record(tx, change, operator, 'operator.sessions_ended')
    return ended
  })

/** For a lost phone: the second factor goes, with its recovery codes and all sessions. Errors: `not_found`, `conflict`. */
export const resetSecondFactor = ({ db, clock }: Deps, id: string, change: Change): Promise<Operator> =>
  db.transaction(async (tx) => {
    const operator = await requireOperator(tx, id)
    requireNotOwnInEmergency(change, operator)
    if (!(await removeSecondFactor(tx, id))) throw new Problem('conflict', 'There is no second factor.')
    await endAll(tx, clock, operator, change)
    await record(tx, change, operator, 'operator.second_factor_reset')
    return { ...operator, hasSecondFactor: false }
  })
