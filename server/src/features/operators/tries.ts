/**
 * Tries to guess, counted in the database, so that they are few over all nodes and restarts. A try is counted before
 * it is made: of a hundred at once, few are heard. Success takes the count back.
 */
import type { Clock } from '../../platform/clock.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { sha256 } from './one-time-token.ts'
import { countTry, forgetTries } from './tries.sql.ts'

/** Counted apart: guessing at the ordinary door must not close the one for emergencies. */
export type Guess = 'password' | 'code' | 'break_glass'

export interface Tries {
  readonly guess: Guess
  /** Undefined for an unknown name. */
  readonly operatorId: string | undefined
  readonly email: string
}

/** Unknown names share so many counts, so that they cost the same and cannot fill the table. */
const keyOf = ({ guess, operatorId, email }: Tries): string =>
  `${guess} ${operatorId ?? `nobody-${sha256(email).toString('hex').slice(0, 3)}`}`

interface Deps {
  readonly db: Queryable
  readonly clock: Clock
}

/** False: not now, whatever the guess. After 5 failures 30 s, and twice as long each time, up to an hour. */
export const mayTry = async ({ db, clock }: Deps, tries: Tries): Promise<boolean> =>
  (await countTry(db, { key: keyOf(tries), now: new Date(clock.now()) })) > 0

/** For somebody whom a stranger keeps out: the next try is heard. Gives whether there was anything to forget. */
export const forgetSignOnFailures = async (on: Queryable, operatorId: string): Promise<boolean> => {
  const of = { operatorId, email: '' }
  const passwords = await forgetTries(on, { key: keyOf({ guess: 'password', ...of }) })
  return passwords + (await forgetTries(on, { key: keyOf({ guess: 'code', ...of }) })) > 0
}

export const forgetFailures = async ({ db }: Pick<Deps, 'db'>, tries: Tries): Promise<void> => {
  await forgetTries(db, { key: keyOf(tries) })
}
