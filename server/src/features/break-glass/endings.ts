/** The ways in which an emergency ends: by its operator, by somebody else, with their account, and by itself. */
import type { Principal } from '../../platform/auth/principal.ts'
import { ownCall } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import { type Environment, NO_WORKSPACE } from '../workspaces/workspaces.ts'
import * as sql from './break-glass.sql.ts'
import { type EmergencySession, toSession } from './session.ts'
import { tell } from './tell.ts'

/** The session that a caller of the break-glass listener has. */
export function sessionOf({ sessionId }: Principal): string {
  if (sessionId === undefined) throw new Error('the caller has no emergency session')
  return sessionId
}

async function ended(tx: Tx, row: sql.SessionRow, change: Change): Promise<void> {
  // Its tokens are asked of the database; this ends open event streams, too.
  await endTokens(tx, { tenantId: NO_WORKSPACE, sessionId: row.id })
  await tell(tx, row, 'break_glass.closed', change)
}

/** Ends a session, one's own or somebody else's. Errors: `not_found`; `conflict` when it has ended. */
export async function endSession(
  db: Db,
  { id }: { readonly id: string },
  change: Change,
): Promise<EmergencySession> {
  return db.transaction(async (tx) => {
    const row = await sql.endSession(tx, { id, by: nameOf(change) })
    if (!row) {
      if (!(await sql.findSession(tx, { id }))) throw noSession()
      throw new Problem('conflict', 'The session has ended already.')
    }
    await ended(tx, row, change)
    return toSession(row)
  })
}

export const noSession = (): Problem => new Problem('not_found', 'There is no such emergency session.')

/**
 * Ends all that live of an operator, with the change that says that they may not go on: their account is locked, their
 * roles change, somebody ends their sessions. Gives how many there were.
 */
export async function endEmergenciesOf(tx: Tx, subject: string, change: Change): Promise<number> {
  const rows = await sql.endSessionsOf(tx, { subject, by: nameOf(change) })
  for (const row of rows) await ended(tx, row, change)
  return rows.length
}

/** Tells of sessions whose time is over, each once however many processes do it. Gives how many. */
export async function endOverdueSessions(db: Db, environment: Environment): Promise<number> {
  for (let told = 0; ; told += 1) {
    const one = await db.transaction(async (tx) => {
      const row = await sql.endOverdue(tx, { environment, by: 'system:control' })
      if (row)
        await tell(tx, row, 'break_glass.closed', {
          actor: 'system:control',
          reason: 'its time was over',
          call: ownCall(),
        })
      return row
    })
    if (!one) return told
  }
}
