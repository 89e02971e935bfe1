import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Envelope } from '../../platform/envelope.ts'
import type { Passwords } from './passwords.ts'
import type { SignOnLimits } from './sign-on-limits.ts'

/** Where a call comes from, for limits and for the list of sessions. */
export interface Client {
  readonly ip: string
  readonly userAgent: string | null
}

/** What everything about sign-on needs. One of each for a process: limits and hashes are counted in it. */
export interface OperatorDeps {
  readonly db: Db
  readonly clock: Clock
  readonly envelope: Pick<Envelope, 'seal' | 'open'>
  readonly passwords: Passwords
  readonly limits: SignOnLimits
}
