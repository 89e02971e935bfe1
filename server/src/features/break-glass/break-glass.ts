/**
 * The door of the break-glass feature: emergency access when nothing else helps.
 *
 * Invariants. A session is opened only on its own listener, by an operator with the role break_glass_admin who proves
 * password and second factor again, with a reason and a ticket, for an hour at most; the database's clock ends it in
 * the middle of whatever it does. Every workspace's Admins are told in the transaction that opens it, and by the alert
 * address before that: an alert that cannot be sent opens nothing. It needs neither the identity provider nor Redis.
 * Somebody else reviews it afterwards.
 */
import type { Principal } from '../../platform/auth/principal.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import { EMERGENCY } from '../permissions/permissions.ts'
import { type Environment, NO_WORKSPACE } from '../workspaces/workspaces.ts'
import * as sql from './break-glass.sql.ts'
import { newToken, sha256 } from './emergency-token.ts'

export { authenticateEmergency } from './emergency-token.ts'

export const MAX_MINUTES = 60

/** An operator who has just proved who they are. */
export interface ProvenOperator {
  /** The `sub` of their tokens. */
  readonly subject: string
  readonly platformRoles: readonly string[]
}

export interface Proof {
  readonly email: string
  readonly password: Secret
  readonly code: Secret
}

/** What is told outside of the hub before a session begins. */
export interface Alert {
  readonly sessionId: string
  readonly subject: string
  readonly reason: string
  readonly ticket: string
  readonly ip: string
  readonly minutes: number
  /** Subjects of everybody who has to hear of it. */
  readonly admins: readonly string[]
}

export interface BreakGlassDeps {
  readonly db: Db
  readonly environment: Environment
  /** Proves password and second factor. Errors: `login_refused`, the same for every cause. */
  readonly prove: (proof: Proof, client: Change['call']['client']) => Promise<ProvenOperator>
  /** Subjects of the Admins of all workspaces and of the platform. */
  readonly admins: () => Promise<readonly string[]>
  /** Tells the world outside; rejects when nobody heard. Absent = no address is set. */
  readonly alert: ((alert: Alert) => Promise<void>) | undefined
}

export interface EmergencySession {
  readonly id: string
  readonly subject: string
  readonly reason: string
  readonly ticket: string
  readonly ip: string
  readonly startedAt: Date
  readonly expiresAt: Date
  readonly endedAt: Date | null
  readonly endedBy: string | null
  readonly reviewedAt: Date | null
  readonly reviewedBy: string | null
  readonly review: string | null
}

const toSession = (row: sql.SessionRow): EmergencySession => ({
  id: row.id,
  subject: row.subject,
  reason: row.reason,
  ticket: row.ticket,
  ip: row.ip,
  startedAt: row.started_at,
  expiresAt: row.expires_at,
  endedAt: row.ended_at,
  endedBy: row.ended_by,
  reviewedAt: row.reviewed_at,
  reviewedBy: row.reviewed_by,
  review: row.review,
})

const refused = (): Problem => new Problem('login_refused', 'The sign-on was refused.')

export interface NewSession extends Proof {
  readonly ticket: string
  readonly minutes: number
}

/**
 * Opens an emergency session. Errors: `login_refused`, also for an operator without the role; `alert_failed` when the
 * alert address does not take the alert, then nothing is opened.
 */
export async function openSession(
  deps: BreakGlassDeps,
  { ticket, minutes, ...proof }: NewSession,
  { reason, call }: Pick<Change, 'reason' | 'call'>,
): Promise<{ readonly session: EmergencySession; readonly token: Secret }> {
  const operator = await deps.prove(proof, call.client)
  // The same answer as for a wrong password: whoever may not do this learns nothing of who may.
  if (!operator.platformRoles.includes('break_glass_admin')) throw refused()
  const { subject } = operator
  const id = newId()
  const ip = call.client?.ip ?? 'unknown'
  if (deps.alert) {
    const alert = { sessionId: id, subject, reason, ticket, ip, minutes, admins: await deps.admins() }
    await deps.alert(alert).catch((cause: unknown) => {
      throw new Problem('alert_failed', 'The alert could not be sent, so no emergency session was opened.', {
        cause,
      })
    })
  }
  const token = newToken()
  const session = await deps.db.transaction(async (tx) => {
    const row = await sql.insertSession(tx, { id, subject, reason, ticket, ip, seconds: minutes * 60 })
    await sql.insertToken(tx, { sha256: sha256(token.reveal()), sessionId: id, workspaceId: null })
    await tell(tx, deps.environment, row, 'break_glass.opened', {
      actor: subject,
      role: EMERGENCY,
      reason,
      call,
    })
    return row
  })
  return { session: toSession(session), token }
}

/** A token of the caller's session for one workspace. Errors: `not_found`. */
export async function enterWorkspace(
  { db, environment }: Pick<BreakGlassDeps, 'db' | 'environment'>,
  principal: Principal,
  workspace: { readonly id: string; readonly slug: string; readonly environment: Environment } | undefined,
  change: Change,
): Promise<Secret> {
  if (workspace?.environment !== environment) throw new Problem('not_found', 'There is no such workspace.')
  const token = newToken()
  await db.transaction(async (tx) => {
    await sql.insertToken(tx, {
      sha256: sha256(token.reveal()),
      sessionId: sessionOf(principal),
      workspaceId: workspace.id,
    })
    await recordAudit(tx, {
      ...change,
      tenantId: workspace.id,
      action: 'break_glass.entered',
      object: `workspace:${workspace.slug}`,
      diff: [{ path: '/session', after: sessionOf(principal) }],
    })
  })
  return token
}

function sessionOf({ sessionId }: Principal): string {
  if (sessionId === undefined) throw new Error('the caller has no emergency session')
  return sessionId
}

/** Ends the caller's session. */
export async function closeSession(
  { db, environment }: Pick<BreakGlassDeps, 'db' | 'environment'>,
  principal: Principal,
  change: Change,
): Promise<EmergencySession> {
  return db.transaction(async (tx) => {
    const row = await sql.endSession(tx, { id: sessionOf(principal), by: change.actor })
    if (!row) throw new Problem('conflict', 'The session has ended already.')
    // Ends open event streams, too.
    await endTokens(tx, { tenantId: NO_WORKSPACE, sessionId: row.id })
    await tell(tx, environment, row, 'break_glass.closed', change)
    return toSession(row)
  })
}

/** A second person's look at what was done. Errors: `not_found`; `conflict` while it lives, and when it is reviewed; `forbidden` for its own operator. */
export async function reviewSession(
  db: Db,
  { id, review }: { readonly id: string; readonly review: string },
  change: Change,
): Promise<EmergencySession> {
  return db.transaction(async (tx) => {
    const session = await sql.lockSession(tx, { id })
    if (!session) throw new Problem('not_found', 'There is no such emergency session.')
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

/** Emergency sessions, newest first. */
export async function listSessions(
  on: Queryable,
  filter: Parameters<typeof sql.listSessions>[1],
): Promise<EmergencySession[]> {
  return (await sql.listSessions(on, filter)).map(toSession)
}

async function tell(
  tx: Tx,
  environment: Environment,
  row: sql.SessionRow,
  action: 'break_glass.opened' | 'break_glass.closed',
  change: Change,
): Promise<void> {
  const { requestId, correlationId, traceId } = change.call
  const { id, subject, reason, ticket, ip, expires_at } = row
  const message =
    action === 'break_glass.opened'
      ? `${subject} opened emergency access to every workspace until ${expires_at.toISOString()} (${ticket}): ${reason}`
      : `${subject} closed emergency access (${ticket})`
  const data = { session_id: id, subject, ticket, expires_at }
  await sql.tellEveryWorkspace(tx, {
    environment,
    type: action,
    message,
    requestId,
    correlationId,
    traceId,
    data,
  })
  await recordAudit(tx, {
    ...change,
    tenantId: NO_WORKSPACE,
    action,
    object: `break_glass:${id}`,
    diff: [{ path: '', after: { ...data, ip } }],
  })
}
