import type { Clock, Random } from './clock.ts'
import type { Db } from './db/db.ts'
import type { Notifications } from './db/notifications.ts'
import type { Log } from './log.ts'
import type { Metrics } from './metrics.ts'

/** What every part of a process may use; built once by the process and passed on as an argument. */
export interface Platform {
  readonly log: Log
  readonly metrics: Metrics
  readonly clock: Clock
  readonly random: Random
  readonly db: Db
  readonly notifications: Notifications
}
