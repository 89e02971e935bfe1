/**
 * Invitations: the only way to an account. Each is for one address and one role, works once and for a limited time;
 * its token is shown to whoever invites, who hands it on.
 *
 * States: open → accepted | revoked | expired; one that is expired can be sent again, with another token.
 */

import type { CallContext } from '../../platform/call-context.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { inEmergency } from '../permissions/permissions.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { normalEmail, type Operator, subjectOf, toOperator } from './account.ts'
import { findByEmail, holdUnlocked, insertOperator } from './accounts.sql.ts'
import type { OperatorDeps } from './deps.ts'
import { requireNoPlatformRoleInEmergency, requireNotOwnInEmergency } from './emergency-limits.ts'
import * as sql from './invitations.sql.ts'
import { newOneTimeToken, sha256 } from './one-time-token.ts'
import { type OwnCall, requireGoodPassword } from './own-account.ts'
import type { OperatorRole } from './role.ts'
import { grantRole, listAdmins, lockRoles, operatorRoles } from './roles.ts'
import { beginSession, endSessions, lockSession, type NewSession } from './sessions.ts'
import { beginAudited, type SignOn, type SignOnCall } from './sign-on.ts'

export interface Invitation {
  readonly id: string
  readonly email: string
  readonly invites: OperatorRole
  readonly invitedBy: string
  readonly createdAt: Date
  readonly expiresAt: Date
}

export interface InvitationWithToken {
  readonly invitation: Invitation
  readonly token: Secret
}

const toInvitation = (row: sql.InvitationRow): Invitation => ({
  id: row.id,
  email: row.email,
  invites: { workspaceId: row.workspace_id, role: row.role } as OperatorRole,
  invitedBy: row.invited_by,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
})

const HOUR_MS = 3_600_000
const absent = (): Problem => new Problem('not_found', 'There is no such invitation.')
const notOpen = (): Problem =>
  new Problem('not_found', 'There is no such invitation, or it was used, revoked or has expired.')

type Deps = Pick<OperatorDeps, 'db' | 'clock'>

const record = (
  tx: Tx,
  change: Change,
  { email, workspace_id, role }: sql.InvitationRow,
  action: string,
): Promise<void> =>
  recordAudit(tx, {
    ...change,
    tenantId: workspace_id ?? NO_WORKSPACE,
    action,
    object: `operator:${email}`,
    diff: [{ path: '/role', after: role }],
  })

/**
 * A role on the platform gives no rights inside of a workspace, and whoever has one must not give themselves one there:
 * only where nobody else could. Errors: `forbidden`.
 */
async function requireNotOneself(
  tx: Tx,
  by: string,
  email: string,
  workspaceId: string | null,
): Promise<void> {
  if (workspaceId === null || by !== subjectOf(email)) return
  if ((await listAdmins(tx, { workspaceId })).length > 0)
    throw new Problem(
      'forbidden',
      'Nobody invites themselves into a workspace that has an Admin who can sign on: ask that Admin.',
    )
}

/** Tells a workspace that somebody from outside of it lets an Admin in. */
async function warnWorkspace(tx: Tx, row: sql.InvitationRow, change: Change): Promise<void> {
  const { workspace_id: tenant_id, email, role } = row
  if (tenant_id === null || role !== 'admin') return
  const { requestId: request_id, correlationId: correlation_id, traceId: trace_id } = change.call
  await appendEvents(tx, {
    events: [
      {
        tenant_id,
        type: 'member.invited',
        severity: 'warning',
        message: `${nameOf(change)}, who has a role on the platform, invited ${email} as Admin: ${change.reason}`,
        request_id,
        correlation_id,
        trace_id,
        data: { invitation_id: row.id, email, role, invited_by: nameOf(change) },
      },
    ],
  })
}

/**
 * Invites somebody to one role. An open invitation to the same is replaced. `byPlatform`: by the right of a role on the
 * platform. Errors: `conflict` for who has a role there, `forbidden` for oneself.
 */
export function invite(
  { db, clock }: Deps,
  wanted: {
    readonly email: string
    readonly invites: OperatorRole
    readonly hours: number
    readonly byPlatform: boolean
  },
  change: Change,
): Promise<InvitationWithToken> {
  const email = normalEmail(wanted.email)
  const { workspaceId, role } = wanted.invites
  return db.transaction(async (tx) => {
    requireNotOwnInEmergency(change, { email })
    requireNoPlatformRoleInEmergency(change, wanted.invites)
    const known = await findByEmail(tx, { email })
    const roles = known ? await operatorRoles(tx, known.id) : []
    if (roles.some((has) => has.workspaceId === workspaceId && (workspaceId !== null || has.role === role)))
      throw new Problem('conflict', 'This person has a role there already. Change it instead.')
    await requireNotOneself(tx, change.actor, email, workspaceId)
    const { token, sha256: tokenSha256 } = newOneTimeToken('inv_')
    const now = new Date(clock.now())
    const row = await sql.insertInvitation(tx, {
      id: newId(),
      email,
      workspaceId,
      role,
      tokenSha256,
      by: nameOf(change),
      inEmergency: inEmergency(change),
      now,
      expiresAt: new Date(now.getTime() + wanted.hours * HOUR_MS),
    })
    if (wanted.byPlatform) await warnWorkspace(tx, row, change)
    await record(tx, change, row, 'invitation.created')
    return { invitation: toInvitation(row), token }
  })
}

/** Of one workspace; null = all of the hub. Newest first. */
export const listInvitations = async (
  { db, clock }: Deps,
  filter: {
    readonly workspaceId: string | null
    readonly beforeId?: string | undefined
    readonly limit: number
  },
): Promise<Invitation[]> =>
  (await sql.listOpen(db, { ...filter, now: new Date(clock.now()) })).map(toInvitation)

interface Key {
  readonly id: string
  /** Only one of this workspace; null = whatever it invites to. */
  readonly workspaceId: string | null
}

/** Another token and another time; the token before it is worth nothing. Errors: `not_found`. */
export const resendInvitation = (
  { db, clock }: Deps,
  { hours, byPlatform, ...key }: Key & { readonly hours: number; readonly byPlatform: boolean },
  change: Change,
): Promise<InvitationWithToken> =>
  db.transaction(async (tx) => {
    const { token, sha256: tokenSha256 } = newOneTimeToken('inv_')
    const now = new Date(clock.now())
    const expiresAt = new Date(now.getTime() + hours * HOUR_MS)
    const row = await sql.renewToken(tx, { ...key, now, tokenSha256, expiresAt })
    if (!row) throw absent()
    requireNotOwnInEmergency(change, row)
    requireNoPlatformRoleInEmergency(change, { workspaceId: row.workspace_id })
    if (byPlatform) await warnWorkspace(tx, row, change)
    await record(tx, change, row, 'invitation.resent')
    return { invitation: toInvitation(row), token }
  })

/** Errors: `not_found`. */
export const revokeInvitation = ({ db, clock }: Deps, key: Key, change: Change): Promise<void> =>
  db.transaction(async (tx) => {
    const row = await sql.revokeInvitation(tx, { ...key, now: new Date(clock.now()) })
    if (!row) throw absent()
    await record(tx, change, row, 'invitation.revoked')
  })

/** Gives the promised role, with its audit entry in the name of who accepts. */
async function grant(
  tx: Tx,
  { clock }: Pick<Deps, 'clock'>,
  operator: Operator,
  row: sql.InvitationRow,
  call: CallContext,
): Promise<void> {
  const { invites } = toInvitation(row)
  const change = { actor: operator.subject, reason: `invited by ${row.invited_by}`.slice(0, 500), call }
  // Since they invited themselves, the workspace may have got an Admin.
  await requireNotOneself(tx, row.invited_by, operator.email, row.workspace_id)
  await grantRole(tx, clock, operator, invites, { by: row.invited_by, change })
  await record(tx, change, row, 'invitation.accepted')
}

/**
 * Makes the account of somebody new, and signs them on. Errors: `not_found` for a token that is not good any more,
 * `validation_error` for the password, `conflict` for who has an account: they sign on and accept there, so that an
 * invitation is no way into an account.
 */
export async function acceptAsNew(
  deps: OperatorDeps,
  given: { readonly token: Secret; readonly name: string; readonly password: Secret },
  at: SignOnCall,
): Promise<SignOn> {
  const { db, clock, limits, passwords } = deps
  const tokenSha256 = sha256(given.token.reveal())
  limits.take(tokenSha256.toString('hex'), at.client.ip)
  const now = new Date(clock.now())
  const open = await sql.findOpen(db, { now, tokenSha256 })
  if (!open) throw notOpen()
  requireGoodPassword(given.password, [open.email, given.name], '/body/password')
  const passwordHash = await passwords.hash(given.password)
  return db.transaction(async (tx) => {
    await lockRoles(tx)
    const row = await sql.acceptInvitation(tx, { now, tokenSha256 })
    if (!row) throw notOpen()
    if (await findByEmail(tx, { email: row.email }))
      throw new Problem('conflict', 'This person has an account: sign on and accept the invitation there.')
    const account = { id: newId(), email: row.email, name: given.name, passwordHash }
    const operator = toOperator(await insertOperator(tx, account))
    await grant(tx, deps, operator, row, at.call)
    return beginAudited(tx, deps, operator, { method: 'password', groupRoles: [], mfa: false }, at)
  })
}

/** For somebody with an account, who gets another session. Errors: `not_found`, also for another person's invitation. */
export const acceptSignedOn = (deps: OperatorDeps, own: OwnCall, token: Secret): Promise<NewSession> =>
  deps.db.transaction(async (tx) => {
    const { session, client } = own
    await lockRoles(tx)
    const account = await holdUnlocked(tx, { id: session.operatorId })
    const held = await lockSession(tx, deps.clock, session.id)
    const row = await sql.acceptInvitation(tx, {
      now: new Date(deps.clock.now()),
      tokenSha256: sha256(token.reveal()),
    })
    if (!held || !row || !account || row.email !== session.email) throw notOpen()
    const operator = toOperator(account)
    const change = { actor: operator.subject, reason: 'accepted an invitation', call: own.call }
    // What the person does themselves for other roles goes on under another id, as after a second factor.
    await endSessions(tx, deps.clock, { operatorId: operator.id, id: held.id }, change)
    await grant(tx, deps, operator, row, own.call)
    const { method, mfa, groupRoles, expiresAt } = held
    return beginSession(tx, deps.clock, { operator, method, mfa, groupRoles, client }, expiresAt)
  })

/** All open invitations of an address that the identity provider vouches for; undefined = there is none. */
export async function acceptVouched(
  tx: Tx,
  deps: Pick<OperatorDeps, 'clock'>,
  person: { readonly email: string; readonly name: string },
  call: CallContext,
): Promise<Operator | undefined> {
  await lockRoles(tx)
  const rows = await sql.acceptAllOf(tx, { now: new Date(deps.clock.now()), email: person.email })
  if (rows.length === 0) return undefined
  // Audit chains are locked one after the other: in one order everywhere, the platform's last.
  rows.sort((left, right) => (left.workspace_id ?? 'z').localeCompare(right.workspace_id ?? 'z'))
  const operator = toOperator(await insertOperator(tx, { id: newId(), ...person, passwordHash: null }))
  for (const row of rows) await grant(tx, deps, operator, row, call)
  return operator
}
