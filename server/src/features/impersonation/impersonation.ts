/**
 * The door of the impersonation feature: an operator looks at a workspace as one of its members.
 *
 * Invariants. It needs a signed token with an `act` claim (RFC 8693 §4.1), a reason, and lives an hour at most. Nobody
 * impersonates an Admin, somebody with a platform role, or themselves, and nobody begins a second one during a first:
 * GitLab once had an unaudited session that way. Start and end commit with their audit entries; every row that is
 * written meanwhile names both. None outlives the session or the roles it came from: a start holds them while it looks,
 * and what changes them ends what lives. What is about secrets and people is closed (the permission table's `guarded`).
 */

import type { Keys } from '../../platform/auth/keys.ts'
import type { Principal } from '../../platform/auth/principal.ts'
import { issueToken, type TokenRules } from '../../platform/auth/tokens.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import { refusal } from '../permissions/permissions.ts'
import * as sql from './impersonation.sql.ts'
import { impersonationFault, type People } from './whom.ts'

export { withImpersonationHeaders, withoutImpersonationHeaders } from './impersonation-headers.ts'
export type { FindMember, Member, People } from './whom.ts'

export const MAX_MINUTES = 60

export interface ImpersonationDeps {
  /** Of the service: people belong to no workspace. Each statement names the one of the caller. */
  readonly db: Db
  readonly people: People
  readonly keys: Keys
  readonly rules: TokenRules
  readonly clock: Clock
}

export interface Impersonation {
  readonly id: string
  readonly impersonator: string
  readonly subject: string
  readonly readOnly: boolean
  readonly reason: string
  readonly startedAt: Date
  readonly expiresAt: Date
  readonly endedAt: Date | null
  readonly endedBy: string | null
  /** Neither ended nor over. */
  readonly active: boolean
}

const toImpersonation = (row: sql.ImpersonationRow): Impersonation => ({
  id: row.id,
  impersonator: row.impersonator,
  subject: row.subject,
  readOnly: row.read_only,
  reason: row.reason,
  startedAt: row.started_at,
  expiresAt: row.expires_at,
  endedAt: row.ended_at,
  endedBy: row.ended_by,
  active: row.active,
})

export interface NewImpersonation {
  readonly operatorId: string
  readonly minutes: number
  readonly readOnly: boolean
}

/**
 * Starts one. Roles are asked after they are held: of a start and a change of roles at the same time one waits for the
 * other, so none is begun with roles that are gone. Errors: `not_found` for somebody who is no member, `forbidden` with
 * the reason.
 */
export async function startImpersonation(
  deps: ImpersonationDeps,
  caller: Principal,
  { operatorId, minutes, readOnly }: NewImpersonation,
  change: Change,
): Promise<{ readonly impersonation: Impersonation; readonly token: Secret }> {
  const { people } = deps
  const { tenantId, sessionId } = caller
  return deps.db.transaction(async (tx) => {
    const present = { ...caller, roles: new Set(await people.hold(tx, caller)) }
    const member = await people.findMember(tx, tenantId, operatorId)
    if (!member) throw new Problem('not_found', 'There is no such member of this workspace.')
    const fault = refusal(present, 'impersonation.start') ?? impersonationFault(present, member)
    if (fault !== undefined) throw new Problem('forbidden', fault)
    const issued = await issueToken(deps, {
      subject: member.subject,
      tenantId,
      scopes: [],
      roles: member.roles,
      lifetimeSeconds: minutes * 60,
      impersonator: { subject: caller.subject, readOnly },
      // Signing out ends what was begun.
      ...(sessionId !== undefined && { sessionId }),
    })
    const row = await sql.insertImpersonation(tx, {
      tenantId,
      id: newId(),
      tokenId: issued.tokenId,
      sessionId,
      impersonator: caller.subject,
      subject: member.subject,
      readOnly,
      reason: change.reason,
      seconds: minutes * 60,
    })
    await tell(tx, row, 'impersonation.started', change)
    return { impersonation: toImpersonation(row), token: new Secret(issued.token) }
  })
}

/** Stops one before its time; its token ends everywhere within seconds. Errors: `not_found`, `conflict` when it has ended. */
export async function stopImpersonation(
  db: Db,
  ref: { readonly tenantId: string; readonly id: string },
  change: Change,
): Promise<Impersonation> {
  return db.transaction(async (tx) => {
    const row = await sql.endImpersonation(tx, { ...ref, by: nameOf(change) })
    if (!row) {
      if (await sql.findImpersonation(tx, ref))
        throw new Problem('conflict', 'The impersonation has ended already.')
      throw new Problem('not_found', 'There is no such impersonation.')
    }
    await finish(tx, row, change)
    return toImpersonation(row)
  })
}

/** What ends impersonations besides a stop: the end of sessions, or a change to a person, in one workspace or in all. */
export type EndsImpersonations =
  | { readonly sessionIds: readonly string[] }
  | { readonly subject: string; readonly tenantId: string | undefined }

/**
 * Ends the living ones that this touches, in the transaction of what ends them, with `why` before the reason in the
 * events and audit entries of their workspaces. Call it before anything is recorded in the chain of the platform, which
 * is always locked last.
 */
export async function endImpersonations(
  tx: Tx,
  ends: EndsImpersonations,
  change: Change,
  why: string,
): Promise<void> {
  const by = nameOf(change)
  const rows =
    'subject' in ends
      ? await sql.endOfPerson(tx, { subject: ends.subject, tenantId: ends.tenantId ?? null, by })
      : await sql.endOfSessions(tx, { sessionIds: ends.sessionIds, by })
  // Audit chains are locked one after the other: in one order everywhere.
  rows.sort((left, right) => left.tenant_id.localeCompare(right.tenant_id))
  const reason = `${why}: ${change.reason}`.slice(0, 500)
  for (const row of rows) await finish(tx, row, { ...change, reason })
}

async function finish(tx: Tx, row: sql.ImpersonationRow, change: Change): Promise<void> {
  await endTokens(tx, { tenantId: row.tenant_id, tokenId: row.token_id })
  await tell(tx, row, 'impersonation.stopped', change)
}

async function tell(
  tx: Tx,
  row: sql.ImpersonationRow,
  action: 'impersonation.started' | 'impersonation.stopped',
  change: Change,
): Promise<void> {
  const { requestId: request_id, correlationId: correlation_id, traceId: trace_id } = change.call
  const { tenant_id: tenantId, impersonator, subject, read_only } = row
  const verb = action === 'impersonation.started' ? 'started to act' : 'no longer acts'
  await appendEvents(tx, {
    events: [
      {
        tenant_id: tenantId,
        type: action,
        severity: 'warning',
        message: `${impersonator} ${verb} as ${subject}${read_only ? ', to see only' : ''}: ${change.reason}`,
        request_id,
        correlation_id,
        trace_id,
        data: { impersonation_id: row.id, impersonator, subject, read_only },
      },
    ],
  })
  await recordAudit(tx, {
    ...change,
    tenantId,
    action,
    object: `impersonation:${row.id}`,
    diff: [{ path: '', after: { impersonator, subject, read_only, expires_at: row.expires_at } }],
  })
}

/** Who acted as whom in a workspace, newest first. */
export async function listImpersonations(
  on: Queryable,
  filter: { readonly tenantId: string; readonly beforeId?: string | undefined; readonly limit: number },
): Promise<Impersonation[]> {
  return (await sql.listImpersonations(on, filter)).map(toImpersonation)
}
