import type { Queryable } from '../platform/db/statement.ts'
import {
  type AttemptRecord,
  type InputRef,
  type JobState,
  QUEUES,
  type QueueName,
  queueName,
  upstreamKeyOf,
} from './job.ts'
import {
  type ListRow,
  listDeferred,
  listHistory,
  listRunning,
  type ReadRow,
  selectInput,
  selectJob,
  selectLost,
  selectSinceBusy,
  selectStates,
} from './read.sql.ts'

export interface JobView {
  readonly id: string
  readonly state: JobState
  readonly queue: QueueName
  readonly priority: number
  readonly connector: string
  readonly operation: string
  readonly configVersion: number
  /** Attempts that were spent or are running. */
  readonly attempts: number
  /** How often it was a dead letter and was sent on its way again; attempts are those since then. */
  readonly replays: number
  readonly metadata: Readonly<Record<string, unknown>>
  readonly idempotencyKey: string
  readonly inboxId: string | null
  readonly createdBy: string
  readonly createdAt: Date
  /** The next time it may run, or the one asked for at the enqueue. */
  readonly runAt: Date | null
  /** After it no attempt starts. */
  readonly expiresAt: Date | null
  /** Of the running attempt. */
  readonly startedAt: Date | null
  readonly finishedAt: Date | null
  readonly cancelRequestedAt: Date | null
  /** Why it is a dead letter. */
  readonly deadReason: string | null
  readonly requestId: string
  readonly correlationId: string
  readonly traceId: string
}

export interface JobDetail {
  readonly job: JobView & { readonly result: unknown; readonly resultRef: InputRef | null }
  /** In the order in which they started; the running one is not among them. */
  readonly attempts: readonly AttemptRecord[]
}

/** Milliseconds since the upstream first told the job to wait (429); undefined when it never did. */
export async function msSinceBusy(
  on: Queryable,
  ref: { readonly tenantId: string; readonly id: string },
): Promise<number | undefined> {
  return (await selectSinceBusy(on, ref))?.ms ?? undefined
}

/**
 * Whether a worker died, or overran its time, with an attempt of the job: what that attempt did upstream nobody knows.
 * An operator who replays the job takes that upon himself, so only its present life counts.
 */
export const wasLost = async (
  on: Queryable,
  ref: { readonly tenantId: string; readonly id: string },
): Promise<boolean> => (await selectLost(on, ref)) !== undefined

/** One job with its ended attempts; undefined when the workspace has no such job. */
export async function findJob(
  on: Queryable,
  ref: { readonly tenantId: string; readonly id: string },
): Promise<JobDetail | undefined> {
  const row = await selectJob(on, ref)
  if (!row) return undefined
  // Written by our own settle.
  const resultRef = row.result_ref as InputRef | null
  return { job: { ...toView(row), result: row.result, resultRef }, attempts: row.ended }
}

/** The states of several jobs; jobs that are no longer kept are not in the map. */
export const jobStates = async (
  on: Queryable,
  tenantId: string,
  ids: readonly string[],
): Promise<ReadonlyMap<string, JobState>> =>
  new Map((await selectStates(on, { tenantId, ids })).map(({ id, state }) => [id, state]))

/** What the job was enqueued with; undefined when the workspace has no such job. */
export async function jobInput(
  on: Queryable,
  ref: { readonly tenantId: string; readonly id: string },
): Promise<{ readonly input: unknown; readonly inputRef: InputRef | null } | undefined> {
  const row = await selectInput(on, ref)
  // Written by our own enqueue.
  return row && { input: row.input, inputRef: row.input_ref as InputRef | null }
}

export interface JobFilter {
  readonly tenantId: string
  readonly state?: JobState | undefined
  readonly connector?: string | undefined
  readonly queue?: QueueName | undefined
  /** The `next` of the page before. */
  readonly before?: string | undefined
  readonly limit: number
}

export interface JobPage {
  readonly jobs: readonly JobView[]
  /** Where the next page starts; null = nothing older. */
  readonly next: string | null
}

/** Jobs that one filtered page looks at. */
const WINDOW = 2_000
const NEWEST = 'ffffffff-ffff-ffff-ffff-ffffffffffff'

/**
 * Jobs, newest first. States are not indexed (an index would make every finish cost more than the lists are
 * worth), so a filtered page looks at 2,000 jobs at most: it may be short, even empty, and still have a `next`.
 * Running, scheduled and retrying jobs are looked for where they live and are found at once.
 */
export async function listJobs(on: Queryable, filter: JobFilter): Promise<JobPage> {
  const { tenantId, state, connector, queue, limit } = filter
  const filtered = state !== undefined || connector !== undefined || queue !== undefined
  const args = {
    tenantId,
    before: filter.before ?? NEWEST,
    window: filtered ? WINDOW : limit,
    limit,
    state: state ?? null,
    connector: connector ?? null,
    queue: queue === undefined ? null : QUEUES[queue],
  }
  const rows = await listOf(state)(on, args)
  const jobs = rows.filter((row): row is ListRow & ReadRow => row.id !== null).map(toView)
  const [first] = rows
  if (jobs.length === limit) return { jobs, next: jobs.at(-1)?.id ?? null }
  return { jobs, next: first?.examined === args.window ? first.oldest : null }
}

function listOf(state: JobState | undefined) {
  if (state === 'running') return listRunning
  return state === 'scheduled' || state === 'retrying' ? listDeferred : listHistory
}

const toView = (row: ReadRow): JobView => ({
  id: row.id,
  state: row.state,
  queue: queueName(row.queue),
  priority: row.priority,
  connector: row.connector,
  operation: row.operation,
  configVersion: row.config_version,
  attempts: row.attempts,
  replays: row.replays,
  metadata: row.metadata,
  idempotencyKey: row.idempotency_key ?? upstreamKeyOf(row.id),
  inboxId: row.inbox_id,
  createdBy: row.created_by,
  createdAt: row.created_at,
  runAt: row.run_at,
  expiresAt: row.expires_at,
  startedAt: row.started_at,
  finishedAt: row.finished_at,
  cancelRequestedAt: row.cancel_requested_at,
  deadReason: row.dead_reason,
  requestId: row.request_id,
  correlationId: row.correlation_id,
  traceId: row.trace_id,
})
