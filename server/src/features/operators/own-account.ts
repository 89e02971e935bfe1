/** What a person does with their own account after signing on. Each change that strengthens it begins another session. */
import type { CallContext } from '../../platform/call-context.ts'
import type { Tx } from '../../platform/db/statement.ts'
import type { Secret } from '../../platform/secret.ts'
import { Problem } from '../../problems.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { endEmergenciesOf } from '../break-glass/break-glass.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { subjectOf } from './account.ts'
import { findForSignOn, findOperatorRow, holdUnlocked, setPassword } from './accounts.sql.ts'
import type { Client, OperatorDeps } from './deps.ts'
import { passwordFault } from './passwords.ts'
import * as factor from './second-factor.ts'
import { beginSession, endSessions, lockSession, type NewSession, type Session } from './sessions.ts'
import { forgetFailures, mayTry, type Tries } from './tries.ts'

/** Who does it: their session, as it was read for this call. */
export interface OwnCall {
  readonly session: Session
  readonly client: Client
  readonly call: CallContext
}

const wrong = (path: string, message: string): Problem =>
  new Problem('validation_error', `${path} ${message}.`, { details: [{ path, message }] })

const sessionEnded = (): Problem => new Problem('auth_required', 'The bearer token is missing or not valid.')

const ownChange = ({ session, call }: Pick<OwnCall, 'session' | 'call'>): Change => ({
  actor: subjectOf(session.email),
  reason: 'own account',
  call,
})

const audit = (tx: Tx, own: OwnCall, action: string): Promise<void> =>
  recordAudit(tx, {
    ...ownChange(own),
    tenantId: NO_WORKSPACE,
    action,
    object: `operator:${own.session.email}`,
  })

/** Ends all sessions of the person, also the one that asks, and begins another that lasts no longer than that. */
export async function replaceSession(
  tx: Tx,
  { clock }: Pick<OperatorDeps, 'clock'>,
  own: OwnCall,
  mfa = own.session.mfa,
): Promise<NewSession> {
  const { session, client } = own
  const account = await holdUnlocked(tx, { id: session.operatorId })
  const held = await lockSession(tx, clock, session.id)
  if (!account || !held) throw sessionEnded()
  await endSessions(tx, clock, { operatorId: session.operatorId }, ownChange(own))
  // Whoever opened one with the password or the app of before does not go on with it.
  await endEmergenciesOf(tx, subjectOf(session.email), ownChange(own))
  const operator = { id: session.operatorId, email: session.email }
  const { method, groupRoles, expiresAt } = held
  return beginSession(tx, clock, { operator, method, mfa, groupRoles, client }, expiresAt)
}

/** Counted like a sign-on, so that a stolen session is no way to guess. Errors: `validation_error` at `path`. */
async function requireGuess(
  deps: OperatorDeps,
  { session, client }: OwnCall,
  guess: 'password' | 'code',
  path: string,
  check: () => Promise<boolean>,
): Promise<void> {
  deps.limits.take(session.email, client.ip)
  const tries: Tries = { guess, operatorId: session.operatorId, email: session.email }
  const heard = await mayTry(deps, tries)
  if (!(await check()) || !heard) throw wrong(path, 'is wrong, was used, or was tried too often')
  await forgetFailures(deps, tries)
}

const requireCode = (deps: OperatorDeps, own: OwnCall, code: Secret, appOnly = false): Promise<void> =>
  requireGuess(deps, own, 'code', '/body/code', () =>
    (appOnly ? factor.takeAppCode : factor.takeCode)(deps, { operatorId: own.session.operatorId, code }),
  )

/** Errors: `validation_error` for a new password that is too easy. */
export function requireGoodPassword(password: Secret, about: readonly string[], path: string): void {
  const fault = passwordFault(password, about)
  if (fault !== undefined) throw wrong(path, fault)
}

/** Another password; all sessions end. Errors: `validation_error`, also when the present one is wrong. */
export async function changePassword(
  deps: OperatorDeps,
  own: OwnCall,
  { present, next }: { readonly present: Secret; readonly next: Secret },
): Promise<NewSession> {
  const { session } = own
  const account = await findForSignOn(deps.db, { email: session.email })
  await requireGuess(deps, own, 'password', '/body/current_password', () =>
    deps.passwords.matches(present, account?.password_hash ?? undefined),
  )
  requireGoodPassword(next, [session.email, account?.name ?? ''], '/body/new_password')
  const passwordHash = await deps.passwords.hash(next)
  return deps.db.transaction(async (tx) => {
    const replaced = await replaceSession(tx, deps, own)
    await setPassword(tx, { id: session.operatorId, passwordHash })
    await audit(tx, own, 'operator.password_changed')
    return replaced
  })
}

/** A new secret for the app. Whoever has a second factor shows it first. Errors: `validation_error`. */
export async function enrol(
  deps: OperatorDeps,
  own: OwnCall,
  code: Secret | undefined,
): Promise<factor.Enrolment> {
  const { operatorId: id, email } = own.session
  const account = await findOperatorRow(deps.db, { id })
  if (account?.has_second_factor) {
    if (!code) throw wrong('/body/code', 'is needed to replace a second factor')
    await requireCode(deps, own, code)
  }
  return factor.beginEnrolment(deps, { id, email })
}

/** The first code of the new secret. Errors: `validation_error`, `conflict` when none waits. */
export async function confirm(
  deps: OperatorDeps,
  own: OwnCall,
  code: Secret,
): Promise<NewSession & { readonly recoveryCodes: readonly Secret[] }> {
  const { operatorId } = own.session
  deps.limits.take(own.session.email, own.client.ip)
  return deps.db.transaction(async (tx) => {
    const recoveryCodes = await factor.confirmEnrolment(tx, deps, { operatorId, code })
    if (!recoveryCodes) throw wrong('/body/code', 'is not the present code of the new secret')
    const replaced = await replaceSession(tx, deps, own, true)
    await audit(tx, own, 'operator.second_factor_enrolled')
    return { ...replaced, recoveryCodes }
  })
}

/** Takes the second factor away; whoever needs one can only enrol another. Errors: `validation_error`. */
export async function removeOwnSecondFactor(
  deps: OperatorDeps,
  own: OwnCall,
  code: Secret,
): Promise<NewSession> {
  await requireCode(deps, own, code)
  return deps.db.transaction(async (tx) => {
    await factor.removeSecondFactor(tx, own.session.operatorId)
    const replaced = await replaceSession(tx, deps, own, false)
    await audit(tx, own, 'operator.second_factor_removed')
    return replaced
  })
}

/** New recovery codes for a code of the app. Errors: `validation_error`. */
export async function renewRecoveryCodes(
  deps: OperatorDeps,
  own: OwnCall,
  code: Secret,
): Promise<readonly Secret[]> {
  await requireCode(deps, own, code, true)
  return deps.db.transaction(async (tx) => {
    const codes = await factor.newRecoveryCodes(tx, own.session.operatorId)
    await audit(tx, own, 'operator.recovery_codes_renewed')
    return codes
  })
}

/** Ends one of one's own sessions, or all with null. Errors: `not_found`. */
export const endOwnSessions = (deps: OperatorDeps, own: OwnCall, id: string | null): Promise<void> =>
  deps.db.transaction(async (tx) => {
    const ended = await endSessions(
      tx,
      deps.clock,
      { operatorId: own.session.operatorId, id },
      ownChange(own),
    )
    if (ended === 0) throw new Problem('not_found', 'There is no such session.')
    await audit(tx, own, id === null ? 'operator.sessions_ended' : 'operator.session_ended')
  })
