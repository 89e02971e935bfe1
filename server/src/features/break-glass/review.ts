/** What was done in emergencies, for whoever looks at it afterwards. */
import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { type AuditEntryOfChain, type Change, listAuditOfActor, recordAudit } from '../audit/audit.ts'
import { EMERGENCY } from '../permissions/permissions.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import * as sql from './break-glass.sql.ts'
import { noSession } from './endings.ts'
import { type EmergencySession, toSession } from './session.ts'

/** As many entries are shown with a session, the oldest first. */
export const MAX_ENTRIES = 500
/** The closing entry, and what was let in just before the end, are written after it. */
const AFTERWARDS_MS = 30_000

/** Emergency sessions, newest first. */
export async function listSessions(
  on: Queryable,
  filter: Parameters<typeof sql.listSessions>[1],
): Promise<EmergencySession[]> {
  return (await sql.listSessions(on, filter)).map(toSession)
}

export interface InspectedSession {
  readonly session: EmergencySession
  /** What its operator did meanwhile as `emergency`, in all chains, oldest first. */
  readonly entries: readonly AuditEntryOfChain[]
  /** There are more than are shown. */
  readonly hasMore: boolean
}

/** A session with everything that the audit logs tell of it. Errors: `not_found`. */
export async function inspectSession(
  on: Queryable,
  { id, limit = MAX_ENTRIES }: { readonly id: string; readonly limit?: number },
): Promise<InspectedSession> {
  const row = await sql.findSession(on, { id })
  if (!row) throw noSession()
  const session = toSession(row)
  const entries = await listAuditOfActor(on, {
    actor: session.subject,
    role: EMERGENCY,
    from: session.startedAt,
    to: new Date((session.endedAt ?? session.expiresAt).getTime() + AFTERWARDS_MS),
    limit: limit + 1,
  })
  return { session, entries: entries.slice(0, limit), hasMore: entries.length > limit }
}

/** A second person's look at what was done. Errors: `not_found`; `conflict` while it lives, and when it is reviewed; `forbidden` for its own operator. */
export async function reviewSession(
  db: Db,
  { id, review }: { readonly id: string; readonly review: string },
  change: Change,
): Promise<EmergencySession> {
  return db.transaction(async (tx) => {
    const session = await sql.lockSession(tx, { id })
    if (!session) throw noSession()
    if (session.subject === change.actor)
      throw new Problem('forbidden', 'An emergency session is reviewed by somebody else than who opened it.')
    if (session.living) throw new Problem('conflict', 'The session has not ended yet.')
    if (session.reviewed_at) throw new Problem('conflict', 'The session is reviewed already.')
    const row = await sql.reviewSession(tx, { id, by: change.actor, review })
    await recordAudit(tx, {
      ...change,
      tenantId: NO_WORKSPACE,
      action: 'break_glass.reviewed',
      object: `break_glass:${id}`,
      diff: [{ path: '/review', after: review }],
    })
    return toSession(row)
  })
}
