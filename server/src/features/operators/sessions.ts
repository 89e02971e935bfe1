/**
 * Sessions: what a person has after signing on. They lie in the database, so every node knows at once that one ended.
 *
 * A session ends by itself 30 min after it was last used and 12 h after it began. It is never changed into a stronger
 * one: a second factor, another password or other platform roles end it, and begin another with another id and token.
 * Control tokens that were issued from it carry its id as `sid`, and end with it.
 */
import type { Principal } from '../../platform/auth/principal.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import type { Secret } from '../../platform/secret.ts'
import type { Change } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import { endImpersonations } from '../impersonation/impersonation.ts'
import { SIGNED_ON } from '../permissions/permissions.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { subjectOf } from './account.ts'
import type { Client } from './deps.ts'
import { newOneTimeToken, sha256 } from './one-time-token.ts'
import type { OperatorRole } from './role.ts'
import * as sql from './sessions.sql.ts'
import { deleteTicketsOf } from './tickets.sql.ts'

export const IDLE_SECONDS = 30 * 60
export const LIFETIME_SECONDS = 12 * 3_600

export interface Session {
  readonly id: string
  readonly operatorId: string
  readonly email: string
  readonly method: 'password' | 'oidc'
  /** A second factor was shown. */
  readonly mfa: boolean
  /** Roles that the groups of the identity provider give for this session only. */
  readonly groupRoles: readonly OperatorRole[]
  readonly createdAt: Date
  /** To the minute. */
  readonly lastSeenAt: Date
  readonly expiresAt: Date
  readonly ip: string | null
  readonly userAgent: string | null
}

export interface NewSession {
  readonly session: Session
  readonly token: Secret
}

const toSession = (row: sql.SessionRow): Session => ({
  id: row.id,
  operatorId: row.operator_id,
  email: row.email,
  method: row.method,
  mfa: row.mfa,
  groupRoles: row.group_roles,
  createdAt: row.created_at,
  lastSeenAt: row.last_seen_at,
  expiresAt: row.expires_at,
  ip: row.ip,
  userAgent: row.user_agent,
})

const moment = (clock: Clock) => ({ now: new Date(clock.now()), idleSeconds: IDLE_SECONDS })

export interface SignedOn {
  readonly operator: { readonly id: string; readonly email: string }
  readonly method: Session['method']
  readonly mfa: boolean
  readonly groupRoles: readonly OperatorRole[]
  readonly client: Client
}

/** Begins a session. `until` keeps the end of one that it takes the place of. */
export async function beginSession(
  tx: Queryable,
  clock: Clock,
  { operator, method, mfa, groupRoles, client }: SignedOn,
  until?: Date,
): Promise<NewSession> {
  const { token, sha256: tokenSha256 } = newOneTimeToken('ses_')
  const now = new Date(clock.now())
  const expiresAt = until ?? new Date(now.getTime() + LIFETIME_SECONDS * 1_000)
  const { ip, userAgent } = client
  const id = newId()
  await sql.insertSession(tx, {
    id,
    operatorId: operator.id,
    tokenSha256,
    method,
    mfa,
    groupRoles,
    now,
    expiresAt,
    ip,
    userAgent,
  })
  await sql.deleteOldSessions(tx, { before: new Date(now.getTime() - LIFETIME_SECONDS * 1_000) })
  const session: Session = {
    id,
    operatorId: operator.id,
    email: operator.email,
    method,
    mfa,
    groupRoles,
    createdAt: now,
    lastSeenAt: now,
    expiresAt,
    ip,
    userAgent,
  }
  return { session, token }
}

/** The session of a principal that `verifySession` gave, while it lives. */
export const findSession = async (on: Queryable, clock: Clock, id: string): Promise<Session | undefined> => {
  const row = await sql.findLive(on, { ...moment(clock), id })
  return row && toSession(row)
}

/** As `findSession`, and nobody else ends or replaces it until the transaction ends. */
export const lockSession = async (tx: Tx, clock: Clock, id: string): Promise<Session | undefined> => {
  const row = await sql.lockSession(tx, { ...moment(clock), id })
  return row && toSession(row)
}

export const listSessions = async (on: Queryable, clock: Clock, operatorId: string): Promise<Session[]> =>
  (await sql.listLive(on, { ...moment(clock), operatorId })).map(toSession)

/**
 * Ends one session or, without an id, all of an operator with every sign-on that is half done, and the tokens and
 * impersonations that came from them. Before anything is recorded about it. Gives how many.
 */
export async function endSessions(
  tx: Tx,
  clock: Clock,
  { operatorId, id = null }: { readonly operatorId: string; readonly id?: string | null },
  change: Change,
): Promise<number> {
  const ended = await sql.endRows(tx, { operatorId, id, now: new Date(clock.now()) })
  if (id === null) await deleteTicketsOf(tx, { operatorId })
  for (const session of ended) await endTokens(tx, { tenantId: NO_WORKSPACE, sessionId: session.id })
  const sessionIds = ended.map((session) => session.id)
  if (ended.length > 0) await endImpersonations(tx, { sessionIds }, change, 'a session ended')
  return ended.length
}

/**
 * From the token of a session (`ses_…`) to who holds it: somebody who has signed on and chosen no workspace.
 * Undefined for every token that is not one of a live session. Reads the database each time, so that the end of a
 * session holds everywhere at once. Errors: `database_unavailable`.
 */
export async function verifySession(
  { db, clock }: { readonly db: Queryable; readonly clock: Clock },
  token: string,
): Promise<Principal | undefined> {
  if (!/^ses_[A-Za-z0-9_-]{43}$/.test(token)) return undefined
  const session = await sql.findByToken(db, { ...moment(clock), tokenSha256: sha256(token) })
  if (!session) return undefined
  await sql.touchSession(db, { id: session.id, now: new Date(clock.now()) })
  return {
    subject: subjectOf(session.email),
    tenantId: NO_WORKSPACE,
    scopes: new Set(),
    roles: new Set([SIGNED_ON]),
    tokenId: session.id,
    issuedAt: session.created_at.getTime(),
    expiresAt: session.expires_at.getTime(),
    sessionId: session.id,
  }
}
