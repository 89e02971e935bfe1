/** Signing on with a password, and the step between a first proof and the second factor. */
import type { CallContext } from '../../platform/call-context.ts'
import type { Tx } from '../../platform/db/statement.ts'
import type { Log } from '../../platform/log.ts'
import type { Secret } from '../../platform/secret.ts'
import { recordAudit } from '../audit/audit.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { loginRefused, normalEmail, type Operator, toOperator } from './account.ts'
import { findForSignOn, findOperatorRow, holdUnlocked } from './accounts.sql.ts'
import type { Client, OperatorDeps } from './deps.ts'
import { newOneTimeToken, sha256 } from './one-time-token.ts'
import type { OperatorRole } from './role.ts'
import { takeCode } from './second-factor.ts'
import { beginSession, type NewSession, type Session } from './sessions.ts'
import { insertTicket, takeTicket, tryTicket } from './tickets.sql.ts'
import { forgetFailures, mayTry, type Tries } from './tries.ts'

/** From the password to the code. */
const TICKET_SECONDS = 300

/** In which call somebody signs on, and the log that hears of refusals. */
export interface SignOnCall {
  readonly client: Client
  readonly call: CallContext
  readonly log: Pick<Log, 'warn'>
}

export type SignOn =
  | ({ readonly status: 'signed_on' } & NewSession)
  | { readonly status: 'mfa_required'; readonly ticket: Secret; readonly expiresAt: Date }

interface FirstProof {
  readonly method: Session['method']
  readonly groupRoles: readonly OperatorRole[]
}

/** Nothing of what was typed is logged: people type passwords into the wrong field. */
export function refuse(log: Pick<Log, 'warn'>, operatorId: string | undefined, step: string): never {
  log.warn({ operator_id: operatorId ?? null, step }, 'a sign-on was refused')
  throw loginRefused()
}

/**
 * Signs on with a password; with a second factor it gives a ticket for the next step. An unknown name, a wrong
 * password and a locked account take the same work and the same time. Errors: `login_refused`, `rate_limited`,
 * `overloaded`.
 */
export async function logIn(
  deps: OperatorDeps,
  given: { readonly email: string; readonly password: Secret },
  at: SignOnCall,
): Promise<SignOn> {
  const { db, limits, passwords } = deps
  const email = normalEmail(given.email)
  limits.take(email, at.client.ip)
  const account = await findForSignOn(db, { email })
  const tries: Tries = { guess: 'password', operatorId: account?.id, email }
  const heard = await mayTry(deps, tries)
  const matches = await passwords.matches(given.password, account?.password_hash ?? undefined)
  if (!account || !heard || !matches || account.locked_at !== null)
    return refuse(at.log, account?.id, 'password')
  await forgetFailures(deps, tries)
  return signOnAfter(deps, toOperator(account), { method: 'password', groupRoles: [] }, at)
}

/** After a first proof: the second factor if there is one, otherwise a session that has none. */
export async function signOnAfter(
  deps: OperatorDeps,
  operator: Operator,
  proof: FirstProof,
  at: SignOnCall,
): Promise<SignOn> {
  if (!operator.hasSecondFactor) return signOn(deps, operator.id, { ...proof, mfa: false }, at)
  const { token, sha256: tokenSha256 } = newOneTimeToken('mfa_')
  const now = new Date(deps.clock.now())
  const expiresAt = new Date(now.getTime() + TICKET_SECONDS * 1_000)
  await insertTicket(deps.db, {
    tokenSha256,
    kind: 'mfa',
    operatorId: operator.id,
    facts: { ...proof },
    sealed: null,
    now,
    expiresAt,
  })
  return { status: 'mfa_required', ticket: token, expiresAt }
}

/**
 * The second step: a code of the app, or a recovery code. A ticket takes five tries. Errors: `login_refused`,
 * `rate_limited`.
 */
export async function showSecondFactor(
  deps: OperatorDeps,
  { ticket, code }: { readonly ticket: Secret; readonly code: Secret },
  at: SignOnCall,
): Promise<SignOn> {
  const { db, clock, limits } = deps
  const key = { tokenSha256: sha256(ticket.reveal()), kind: 'mfa', now: new Date(clock.now()) } as const
  limits.take(key.tokenSha256.toString('hex'), at.client.ip)
  const found = await tryTicket(db, key)
  const operator = found?.operator_id ? await findOperatorRow(db, { id: found.operator_id }) : undefined
  if (!found || !operator) return refuse(at.log, undefined, 'code')
  const tries: Tries = { guess: 'code', operatorId: operator.id, email: operator.email }
  if (!(await mayTry(deps, tries))) return refuse(at.log, operator.id, 'code')
  if (!(await takeCode(deps, { operatorId: operator.id, code }))) return refuse(at.log, operator.id, 'code')
  await forgetFailures(deps, tries)
  // Of two that came with good codes at the same time, one has the ticket.
  if (!(await takeTicket(db, key))) return refuse(at.log, operator.id, 'code')
  const { method, groupRoles } = found.facts as unknown as FirstProof
  return signOn(deps, operator.id, { method, groupRoles, mfa: true }, at)
}

/** Begins the session. Errors: `login_refused` when the account was locked meanwhile. */
export const signOn = (
  deps: OperatorDeps,
  operatorId: string,
  proof: FirstProof & { readonly mfa: boolean },
  at: SignOnCall,
): Promise<SignOn> =>
  deps.db.transaction(async (tx) => {
    const row = await holdUnlocked(tx, { id: operatorId })
    if (!row) return refuse(at.log, operatorId, 'account')
    return beginAudited(tx, deps, toOperator(row), proof, at)
  })

/** Begins a session as part of something else, with its entry in the audit log of the platform. */
export async function beginAudited(
  tx: Tx,
  { clock }: Pick<OperatorDeps, 'clock'>,
  operator: Operator,
  proof: FirstProof & { readonly mfa: boolean },
  { client, call }: Pick<SignOnCall, 'client' | 'call'>,
): Promise<SignOn> {
  const begun = await beginSession(tx, clock, { operator, ...proof, client })
  await recordAudit(tx, {
    actor: operator.subject,
    reason: `signed on by ${proof.method}${proof.mfa ? ' with a second factor' : ''}`,
    call,
    tenantId: NO_WORKSPACE,
    action: 'operator.signed_on',
    object: `operator:${operator.email}`,
  })
  return { status: 'signed_on', ...begun }
}
