import type { Hold, RetentionRule } from '../platform/db/retention.ts'
import type { Queryable, Tx } from '../platform/db/statement.ts'
import { firstIdAt } from '../platform/ids.ts'
import { findEnds, findOpenJobs, forgetExpiries, forgetReady } from './job-history.sql.ts'

const DAY_MS = 86_400_000
const BATCH = 5_000

/** The ids that were made on a day (`YYYY-MM-DD`, UTC). */
export function idsOfDay(day: string): { readonly low: string; readonly high: string } {
  const start = Date.parse(`${day}T00:00:00Z`)
  return { low: firstIdAt(start), high: firstIdAt(start + DAY_MS) }
}

/**
 * The history of jobs: a day of it stays while one of its jobs is unfinished (scheduled ones included), is a dead
 * letter, in the bin or not, or ended less than `keepDays` ago. Idempotency keys of callers have a time of their own
 * (30 days) and outlive their jobs: a repeated request is still known, its job answers 404.
 */
export const jobHistoryRetention = (keepDays: number): RetentionRule => ({
  tables: ['job', 'job_payload', 'job_attempt'],
  keepDays,
  heldBy: (tx, day) => heldBy(tx, day, keepDays),
  forget,
})

async function heldBy(tx: Tx, day: string, days: number): Promise<Hold | undefined> {
  const ids = idsOfDay(day)
  const open = await findOpenJobs(tx, ids)
  if (open.unfinished) return { why: 'unfinished jobs' }
  if (open.letters) return { why: 'dead letters' }
  const ends = await findEnds(tx, { ...ids, days })
  if (ends.unfinished > 0) return { why: 'unfinished jobs' }
  // All are over for good, so the last end does not change any more.
  if (ends.kept_ms !== null && ends.kept_ms > 0)
    return { why: 'jobs that ended later', lookAgainInMs: ends.kept_ms }
  return undefined
}

async function forget(on: Queryable, day: string): Promise<void> {
  const batch = { ...idsOfDay(day), limit: BATCH }
  for (const forgetSome of [forgetExpiries, forgetReady]) while ((await forgetSome(on, batch)) === BATCH);
}
