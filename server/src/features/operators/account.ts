import { Problem } from '../../problems.ts'
import type { OperatorRow } from './accounts.sql.ts'

/** A person. Never the hash of the password or the secret of the second factor. */
export interface Operator {
  readonly id: string
  /** In lower case; never changes. */
  readonly email: string
  readonly name: string
  /** The `sub` of their tokens and the actor of their audit entries. */
  readonly subject: string
  readonly hasPassword: boolean
  readonly hasSecondFactor: boolean
  readonly lockedAt: Date | null
  readonly createdAt: Date
}

export const toOperator = (row: OperatorRow): Operator => ({
  id: row.id,
  email: row.email,
  name: row.name,
  subject: subjectOf(row.email),
  hasPassword: row.has_password,
  hasSecondFactor: row.has_second_factor,
  lockedAt: row.locked_at,
  createdAt: row.created_at,
})

export const subjectOf = (email: string): string => `operator:${email}`

/** Visible ASCII, so that it fits into a token's subject. What else an address needs only its mailbox knows. */
export const EMAIL_PATTERN = '^[\\x21-\\x3f\\x41-\\x7e]{1,64}@[A-Za-z0-9-]+(\\.[A-Za-z0-9-]+)*$'
export const EMAIL_MAX_LENGTH = 180

/** The one form of an address: without spaces around it, in lower case. */
export const normalEmail = (email: string): string => email.trim().toLowerCase()

/**
 * The same for an unknown name, a wrong password, a wrong or used code and a locked account: it must not teach a
 * stranger who has an account here.
 */
export const loginRefused = (): Problem =>
  new Problem(
    'login_refused',
    'The sign-on was refused: name, password or code is wrong, or the account is locked.',
  )

export const noOperator = (): Problem => new Problem('not_found', 'There is no such operator.')
