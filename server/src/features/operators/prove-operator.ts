import type { Secret } from '../../platform/secret.ts'
import { loginRefused, normalEmail, type Operator, toOperator } from './account.ts'
import { findForSignOn } from './accounts.sql.ts'
import type { Client, OperatorDeps } from './deps.ts'
import { takeAppCode } from './second-factor.ts'
import { forgetFailures, mayTry, type Tries } from './tries.ts'

export interface Proof {
  readonly email: string
  readonly password: Secret
  /** Six digits of the authenticator app. Recovery codes are not taken. */
  readonly code: Secret
  readonly client: Client
}

/**
 * That it is this person, here and now, by password and authenticator app together: for what a session is not enough
 * for. Needs Postgres only. A code that was accepted anywhere before is refused. Tries are counted apart from those
 * of the ordinary sign-on, so that guessing there closes nothing here. Errors: `login_refused`, the same for every
 * cause; `rate_limited`, `overloaded`.
 */
export async function proveOperator(deps: OperatorDeps, proof: Proof): Promise<Operator> {
  const { db, limits, passwords } = deps
  const email = normalEmail(proof.email)
  limits.take(`break-glass ${email}`, proof.client.ip)
  const account = await findForSignOn(db, { email })
  const tries: Tries = { guess: 'break_glass', operatorId: account?.id, email }
  const heard = await mayTry(deps, tries)
  const matches = await passwords.matches(proof.password, account?.password_hash ?? undefined)
  if (!account || !heard || !matches || account.locked_at !== null) throw loginRefused()
  if (!(await takeAppCode(deps, { operatorId: account.id, code: proof.code }))) throw loginRefused()
  await forgetFailures(deps, tries)
  return toOperator(account)
}
