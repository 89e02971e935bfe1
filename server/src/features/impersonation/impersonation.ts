/**
 * The door of the impersonation feature: an operator looks at a workspace as one of its members.
 *
 * Invariants. It needs a signed token with an `act` claim (RFC 8693 §4.1), a reason, and lives an hour at most. Nobody
 * impersonates an Admin, somebody with a platform role, or themselves, and nobody begins a second one during a first:
 * GitLab once had an unaudited session that way. Start and stop commit with their audit entries; every row that is
 * written meanwhile names both. What is about secrets and people is closed (the permission table's `guarded`).
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
import { type Change, recordAudit } from '../audit/audit.ts'
import { endTokens } from '../ended-tokens/ended-tokens.ts'
import * as sql from './impersonation.sql.ts'
import { type FindMember, impersonationFault } from './whom.ts'

export { withImpersonationHeaders } from './impersonation-headers.ts'
export type { FindMember, Member } from './whom.ts'

export const MAX_MINUTES = 60

export interface ImpersonationDeps {
  readonly db: Db
  readonly findMember: FindMember
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
})

export interface NewImpersonation {
  readonly operatorId: string
  readonly minutes: number
  readonly readOnly: boolean
}

/** Starts one. Errors: `not_found` for somebody who is no member, `forbidden` with the reason. */
export async function startImpersonation(
  deps: ImpersonationDeps,
  caller: Principal,
  { operatorId, minutes, readOnly }: NewImpersonation,
  change: Change,
): Promise<{ readonly impersonation: Impersonation; readonly token: Secret }> {
  const { tenantId } = caller
  const member = await deps.findMember(tenantId, operatorId)
  if (!member) throw new Problem('not_found', 'There is no such member of this workspace.')
  const fault = impersonationFault(caller, member)
  if (fault !== undefined) throw new Problem('forbidden', fault)

  const issued = await issueToken(deps, {
    subject: member.subject,
    tenantId,
    scopes: [],
    roles: member.roles,
    lifetimeSeconds: minutes * 60,
    impersonator: { subject: caller.subject, readOnly },
    // Signing out ends what was begun.
    ...(caller.sessionId !== undefined && { sessionId: caller.sessionId }),
  })
  const row = await deps.db.transaction(async (tx) => {
    const started = await sql.insertImpersonation(tx, {
      tenantId,
      id: newId(),
      tokenId: issued.tokenId,
      impersonator: caller.subject,
      subject: member.subject,
      readOnly,
      reason: change.reason,
      seconds: minutes * 60,
    })
    await tell(tx, tenantId, started, 'impersonation.started', change)
    return started
  })
  return { impersonation: toImpersonation(row), token: new Secret(issued.token) }
}

/** Stops one before its time; its token ends everywhere within seconds. Errors: `not_found`, `conflict` when it has ended. */
export async function stopImpersonation(
  db: Db,
  ref: { readonly tenantId: string; readonly id: string },
  change: Change,
): Promise<Impersonation> {
  return db.transaction(async (tx) => {
    const row = await sql.endImpersonation(tx, { ...ref, by: change.actor })
    if (!row) {
      if (await sql.findImpersonation(tx, ref))
        throw new Problem('conflict', 'The impersonation has ended already.')
      throw new Problem('not_found', 'There is no such impersonation.')
    }
    await endTokens(tx, { tenantId: ref.tenantId, tokenId: row.token_id })
    await tell(tx, ref.tenantId, row, 'impersonation.stopped', change)
    return toImpersonation(row)
  })
}

async function tell(
  tx: Tx,
  tenantId: string,
  row: sql.ImpersonationRow,
  action: 'impersonation.started' | 'impersonation.stopped',
  change: Change,
): Promise<void> {
  const { requestId: request_id, correlationId: correlation_id, traceId: trace_id } = change.call
  const { impersonator, subject, read_only } = row
  const verb = action === 'impersonation.started' ? 'started to act' : 'stopped acting'
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
