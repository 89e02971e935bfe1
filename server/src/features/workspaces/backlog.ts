/**
 * The quota of waiting jobs, from memory: submitting a job must not cost a look at the queue. Each process counts a
 * workspace's jobs every few seconds and adds what it has let in since. So a workspace may go beyond its quota by what the
 * other processes let in between two counts, and is refused at most so long after its jobs have gone down.
 */
import type { Clock } from '../../platform/clock.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import type { Log } from '../../platform/log.ts'
import { Problem } from '../../problems.ts'
import { withDefaults } from './quota-limits.ts'
import { countUse, selectQuotas } from './quotas.sql.ts'

const COUNT_EVERY_MS = 2_000
/** Counting a million takes a while: it may take so small a part of the time. */
const SHARE = 20
/** Workspaces that have been asked about; forgotten together when there are more, and counted anew. */
const MOST_KNOWN = 10_000

interface Known {
  readonly limit: number
  /** Counted, plus what this process has let in since the count began. */
  used: number
  /** Let in while the next count runs: whether it saw them nobody knows, so they are counted twice rather than never. */
  meanwhile: number
  countAgainAt: number
  counting: boolean
}

export interface Backlog {
  /** Errors: `backlog_full`, `database_unavailable` for a workspace that memory does not know. */
  admit(tenantId: string, jobs: number): Promise<void>
}

/** The database is that of all workspaces: counts are for all requests that come. */
export function createBacklog({
  db,
  clock,
  log,
}: {
  readonly db: Queryable
  readonly clock: Pick<Clock, 'monotonic'>
  readonly log: Log
}): Backlog {
  const known = new Map<string, Promise<Known>>()

  const count = async (tenantId: string): Promise<Known> => {
    const began = clock.monotonic()
    const row = await selectQuotas(db, { tenantId })
    const limit = withDefaults(row?.quotas ?? {}).jobs_waiting
    const { used } = await countUse(db, { tenantId, quota: 'jobs_waiting', most: limit + 1 })
    const now = clock.monotonic()
    const pause = Math.max(COUNT_EVERY_MS, (now - began) * SHARE)
    return { limit, used, meanwhile: 0, countAgainAt: now + pause, counting: false }
  }

  const recount = (tenantId: string, held: Known): void => {
    held.counting = true
    held.meanwhile = 0
    count(tenantId).then(
      (fresh) => known.set(tenantId, Promise.resolve({ ...fresh, used: fresh.used + held.meanwhile })),
      (error: unknown) => {
        // What memory says stays in force; the job itself will meet the same database.
        held.counting = false
        held.countAgainAt = clock.monotonic() + COUNT_EVERY_MS
        log.debug({ err: error, tenant_id: tenantId }, 'the waiting jobs of a workspace could not be counted')
      },
    )
  }

  const find = (tenantId: string): Promise<Known> => {
    const held = known.get(tenantId)
    if (held) return held
    if (known.size >= MOST_KNOWN) known.clear()
    const first = count(tenantId)
    known.set(tenantId, first)
    first.catch(() => known.delete(tenantId))
    return first
  }

  return {
    admit: async (tenantId, jobs) => {
      const held = await find(tenantId)
      if (!held.counting && clock.monotonic() >= held.countAgainAt) recount(tenantId, held)
      const { limit, used } = held
      if (used + jobs > limit)
        throw new Problem(
          'backlog_full',
          `The workspace may have ${limit} jobs waiting; it has about ${used}.`,
          {
            retryAfterSeconds: Math.max(1, Math.ceil((held.countAgainAt - clock.monotonic()) / 1_000)),
            members: { quota: 'jobs_waiting', limit, used },
          },
        )
      held.used += jobs
      held.meanwhile += jobs
    },
  }
}
