import type { Queryable } from '../../platform/db/statement.ts'
import { attemptsOfJobs, type JobAttempt } from '../../queue/inbox-jobs.ts'
import { findInbox, type InboxRow } from './inbox.sql.ts'
import { inboxNotFound } from './inbox-detail.ts'
import { findEvents, findJobIds, type TimelineEventRow } from './timeline.sql.ts'

/** Place in a timeline: microseconds since 1970, and what tells entries of one microsecond apart. */
export type TimelineKey = readonly [atUs: number, kind: 0 | 1, number: number]

export type TimelineEntry = { readonly key: TimelineKey; readonly at: Date } & (
  | { readonly kind: 'event'; readonly event: TimelineEventRow }
  /** At the moment of its start. */
  | { readonly kind: 'attempt'; readonly attempt: JobAttempt }
)

const compare = (one: TimelineKey, other: TimelineKey): number =>
  one[0] - other[0] || one[1] - other[1] || one[2] - other[2]

const ofEvent = (event: TimelineEventRow): TimelineEntry => ({
  key: [event.at_us, 0, event.seq],
  ...{ at: event.at, kind: 'event', event },
})
const ofAttempt = (attempt: JobAttempt): TimelineEntry => ({
  key: [attempt.started_us, 1, attempt.lease_id],
  ...{ at: new Date(attempt.started_at), kind: 'attempt', attempt },
})

/** All deliveries of an inbox row that are known, oldest first. */
export async function jobsOfInbox(
  on: Queryable,
  tenantId: string,
  row: Pick<InboxRow, 'id' | 'trace_id' | 'job_id'>,
): Promise<string[]> {
  const told = await findJobIds(on, { tenantId, id: row.id, traceId: row.trace_id })
  return [
    ...new Set([...told.map(({ job_id }) => job_id), ...(row.job_id === null ? [] : [row.job_id])]),
  ].sort()
}

/**
 * Everything that happened to an event from its receipt to its last callback, oldest first: what was told of it, what
 * was told of its deliveries, and their attempts. Up to `limit` entries behind `after`. Errors: `not_found`.
 */
export async function timelineOf(
  on: Queryable,
  of: {
    readonly tenantId: string
    readonly id: string
    readonly after?: TimelineKey
    readonly limit: number
  },
): Promise<TimelineEntry[]> {
  const { tenantId, id, after, limit } = of
  const row = await findInbox(on, { tenantId, id })
  if (!row) throw inboxNotFound()
  const jobIds = await jobsOfInbox(on, tenantId, row)
  const fromUs = after?.[0] ?? 0
  // Those of the moment of `after` may all have been shown: enough for what is behind them.
  for (let most = limit + 50; ; most *= 4) {
    const events = await findEvents(on, { tenantId, id, traceId: row.trace_id, jobIds, fromUs, limit: most })
    const attempts = await attemptsOfJobs(on, { tenantId, ids: jobIds, afterUs: fromUs, limit: most })
    const entries = [...events.map(ofEvent), ...attempts.map(ofAttempt)]
      .sort((one, other) => compare(one.key, other.key))
      .filter(({ key }) => after === undefined || compare(key, after) > 0)
    if (entries.length >= limit || (events.length < most && attempts.length < most))
      return entries.slice(0, limit)
  }
}
