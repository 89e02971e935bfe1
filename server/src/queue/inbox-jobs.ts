import type { Queryable, Tx } from '../platform/db/statement.ts'
import * as sql from './inbox-jobs.sql.ts'
import type { AttemptRecord, InputRef, JobState } from './job.ts'

/** A job that a webhook has caused. */
export interface InboxJob {
  readonly jobId: string
  readonly inboxId: string
}

/** States that are looked for where such jobs live, however rare they are. */
export type FoundState = Extract<JobState, 'running' | 'scheduled' | 'retrying' | 'dead'>

export interface InboxJobSlice {
  /** Newest first. */
  readonly jobs: readonly InboxJob[]
  /** The last job that was looked at when there may be more; null = the end. */
  readonly edge: string | null
}

/** Jobs of webhooks in this state, among the next `window` jobs of it that are older than `before`. */
export async function inboxJobsIn(
  on: Queryable,
  { state, ...args }: sql.InboxJobsArgs & { readonly state: FoundState },
): Promise<InboxJobSlice> {
  const source = state === 'scheduled' || state === 'retrying' ? 'deferred' : state
  const rows = await sql.listInboxJobs[source](on, args)
  const fits = ({ attempt }: sql.InboxJobRow): boolean =>
    source !== 'deferred' || (state === 'retrying') === (attempt !== null && attempt > 1)
  const jobs = rows
    .filter(fits)
    .flatMap(({ job_id, inbox_id }) => (inbox_id === null ? [] : [{ jobId: job_id, inboxId: inbox_id }]))
  return { jobs, edge: rows.length === args.window ? (rows.at(-1)?.job_id ?? null) : null }
}

export type JobAttempt = AttemptRecord & {
  readonly job_id: string
  /** Microseconds since 1970. */
  readonly started_us: number
}

/** Ended attempts of several jobs that began at this moment or later, in their order. */
export const attemptsOfJobs: (
  on: Queryable,
  args: {
    readonly tenantId: string
    readonly ids: readonly string[]
    readonly afterUs: number
    readonly limit: number
  },
) => Promise<JobAttempt[]> = sql.selectAttempts

/**
 * Removes what jobs were given and what came of them; their states, times and errors stay. Whoever runs or replays
 * one of them asks `inputRef` for its input, which has to say that it is gone.
 */
export async function eraseJobContents(
  tx: Tx,
  args: { readonly tenantId: string; readonly ids: readonly string[]; readonly inputRef: InputRef },
): Promise<void> {
  if (args.ids.length === 0) return
  await sql.eraseInputs(tx, args)
  await sql.eraseResults(tx, args)
}
