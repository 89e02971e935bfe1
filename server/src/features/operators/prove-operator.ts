import type { Tx } from '../../platform/db/statement.ts'
import type { Secret } from '../../platform/secret.ts'
import { recordAudit } from '../audit/audit.ts'
import type { PlatformRole } from '../permissions/permissions.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { loginRefused, normalEmail, type Operator, toOperator } from './account.ts'
import { findForSignOn } from './accounts.sql.ts'
import type { OperatorDeps } from './deps.ts'
import { holdPlatformRole } from './roles.sql.ts'
import { operatorRoles } from './roles.ts'
import { takeAppCode } from './second-factor.ts'
import { refuse, type SignOnCall } from './sign-on.ts'
import { forgetFailures, mayTry, type Tries } from './tries.ts'

export interface Proof {
  readonly email: string
  readonly password: Secret
  /** Six digits of the authenticator app. Recovery codes are not taken. */
  readonly code: Secret
  /** What they must be. */
  readonly role: PlatformRole
}

/**
 * That it is this person, here and now, by password and authenticator app together: for what a session is not enough
 * for. Needs Postgres and the key-encryption key only. A code that was accepted anywhere before is refused. Tries are
 * counted apart from those of the ordinary sign-on, so that guessing there closes nothing here. Each refusal is logged;
 * one after the right password is in the audit log of the platform, too. Errors: `login_refused`, the same for every
 * cause; `rate_limited`, `overloaded`, `secrets_unavailable`.
 */
export async function proveOperator(deps: OperatorDeps, proof: Proof, at: SignOnCall): Promise<Operator> {
  const { db, limits, passwords } = deps
  const email = normalEmail(proof.email)
  limits.take(`break-glass ${email}`, at.client.ip)
  const account = await findForSignOn(db, { email })
  const tries: Tries = { guess: 'break_glass', operatorId: account?.id, email }
  const heard = await mayTry(deps, tries)
  const matches = await passwords.matches(proof.password, account?.password_hash ?? undefined)
  if (!account || !heard || !matches || account.locked_at !== null)
    return refuse(at.log, account?.id, 'break_glass password')
  const operator = toOperator(account)
  if (!(await takeAppCode(deps, { operatorId: account.id, code: proof.code }))) {
    await recordRefusal(deps, operator, 'the password was right, the code was not', at)
    return refuse(at.log, account.id, 'break_glass code')
  }
  await forgetFailures(deps, tries)
  const roles = await operatorRoles(db, account.id)
  if (!roles.some(({ workspaceId, role }) => workspaceId === null && role === proof.role)) {
    await recordRefusal(
      deps,
      operator,
      `password and code were right, the role ${proof.role} was missing`,
      at,
    )
    return refuse(at.log, account.id, 'break_glass role')
  }
  return operator
}

const recordRefusal = (
  { db }: Pick<OperatorDeps, 'db'>,
  { subject, email }: Operator,
  reason: string,
  { call }: Pick<SignOnCall, 'call'>,
): Promise<void> =>
  db.transaction((tx) =>
    recordAudit(tx, {
      actor: subject,
      reason,
      call,
      tenantId: NO_WORKSPACE,
      action: 'break_glass.refused',
      object: `operator:${email}`,
    }),
  )

/**
 * That they are not locked and have the platform role still, and that nobody changes that before the transaction ends.
 * Errors: `login_refused`.
 */
export async function holdProven(
  tx: Tx,
  { id, role }: { readonly id: string; readonly role: PlatformRole },
): Promise<void> {
  if (!(await holdPlatformRole(tx, { operatorId: id, role }))) throw loginRefused()
}
