/**
 * The door of the break-glass feature: emergency access when nothing else helps.
 *
 * Invariants. A session is opened only on its own listener, by an operator with the role break_glass_admin who proves
 * password and second factor again, with a reason and a ticket, for an hour at most; the database's clock ends it in
 * the middle of whatever it does. Every workspace's Admins are told in the transaction that opens it, and by the alert
 * address before that: an alert that cannot be sent opens nothing. It needs neither the identity provider nor Redis.
 * A session ends with the right to have one, in the transaction that takes it away. Its end is told to whoever was told
 * of its beginning. Somebody else reviews it afterwards.
 */
import type { Principal } from '../../platform/auth/principal.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import type { Log } from '../../platform/log.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { EMERGENCY } from '../permissions/permissions.ts'
import type { Environment } from '../workspaces/workspaces.ts'
import * as sql from './break-glass.sql.ts'
import { newToken, sha256 } from './emergency-token.ts'
import { sessionOf } from './endings.ts'
import { type EmergencySession, toSession } from './session.ts'
import { tell } from './tell.ts'

export { authenticateEmergency } from './emergency-token.ts'
export { endEmergenciesOf, endOverdueSessions } from './endings.ts'

export const MAX_MINUTES = 60

/** An operator who has just proved who they are. */
export interface ProvenOperator {
  readonly id: string
  /** The `sub` of their tokens. */
  readonly subject: string
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
  /** Proves password, second factor and role. Errors: `login_refused`, the same for every cause. */
  readonly prove: (
    proof: Proof,
    at: Pick<Change, 'call'> & { readonly log: Pick<Log, 'warn'> },
  ) => Promise<ProvenOperator>
  /** That they may still, and that nobody changes it before the transaction ends. Errors: `login_refused`. */
  readonly hold: (tx: Tx, operator: ProvenOperator) => Promise<void>
  /** Subjects of the Admins of all workspaces and of the platform. */
  readonly admins: () => Promise<readonly string[]>
  /** Tells the world outside; rejects when nobody heard. Absent = no address is set. */
  readonly alert: ((alert: Alert) => Promise<void>) | undefined
}

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
  { reason, call, log }: Pick<Change, 'reason' | 'call'> & { readonly log: Pick<Log, 'warn'> },
): Promise<{ readonly session: EmergencySession; readonly token: Secret }> {
  const operator = await deps.prove(proof, { call, log })
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
    // The alert took its time. From here on, whoever takes the right away finds the session and ends it.
    await deps.hold(tx, operator)
    const of = { id, environment: deps.environment, subject, reason, ticket, ip }
    const row = await sql.insertSession(tx, { ...of, seconds: minutes * 60 })
    await sql.insertToken(tx, { sha256: sha256(token.reveal()), sessionId: id, workspaceId: null })
    await tell(tx, row, 'break_glass.opened', { actor: subject, role: EMERGENCY, reason, call })
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
