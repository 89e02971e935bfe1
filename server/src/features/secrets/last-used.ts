import type { Clock } from '../../platform/clock.ts'
import { isDataFault } from '../../platform/db/failures.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Log } from '../../platform/log.ts'
import { createWriteBehind } from '../../platform/write-behind.ts'
import { markUsed, type Use } from './secrets.sql.ts'

export interface LastUsed {
  /** Notes that a secret is used now. Costs nothing but the first time of a minute. */
  touch(tenantId: string, name: string): void
  close(): Promise<void>
}

const MINUTE_MS = 60_000
const GATHER_MS = 2_000
const MAX_REMEMBERED = 10_000

/** When secrets were used, to the minute, written behind the calls that use them. */
export function createLastUsed({
  db,
  clock,
  log,
}: {
  readonly db: Queryable
  readonly clock: Clock
  readonly log: Log
}): LastUsed {
  const noted = new Map<string, number>()
  const behind = createWriteBehind<Use>({
    clock,
    log,
    what: 'times of the last use of secrets',
    dropped: undefined,
    write: (uses) => markUsed(db, newest(uses)),
    isFault: isDataFault,
    factsOf: ({ tenantId, name }) => ({ tenant_id: tenantId, secret_ref: name }),
    maxBatch: 500,
    maxWaiting: MAX_REMEMBERED,
    gatherMs: GATHER_MS,
  })
  return {
    touch: (tenantId, name) => {
      const minute = Math.floor(clock.now() / MINUTE_MS)
      const key = `${tenantId}/${name}`
      if (noted.get(key) === minute) return
      if (noted.size >= MAX_REMEMBERED) noted.clear()
      noted.set(key, minute)
      behind.add({ tenantId, name, at: new Date(minute * MINUTE_MS) })
    },
    close: () => behind.close(),
  }
}

/** One use per secret: a row must not be named twice in one update. */
const newest = (uses: readonly Use[]): Use[] => [
  ...new Map(uses.map((use) => [`${use.tenantId}/${use.name}`, use])).values(),
]
