import type { Queryable } from '../../platform/db/statement.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, encodeCursor } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { jobNotFound } from '../../queue/cancel.ts'
import type { AttemptRecord } from '../../queue/job.ts'
import { obstaclesOf } from '../../queue/obstacles.ts'
import { findJob, type JobView, jobInput, listJobs } from '../../queue/read.ts'
import { LIST_ANSWERS, READ_ANSWERS } from './documented.ts'
import { JobDetail, JobPage, JobParams, JobsQuery } from './jobs.schema.ts'
import { shownRef } from './large-bodies.ts'
import { type InputDeps, wholeInput } from './whole-input.ts'

export interface JobReadDeps extends InputDeps {
  readonly db: Queryable
}

const iso = (date: Date | null): string | null => date?.toISOString() ?? null

/** The database writes another ISO form than the rest of the answer has. */
const utc = (text: string): string => new Date(text).toISOString()

const WAITING = new Set(['scheduled', 'retrying'])

const view = (job: JobView) => ({
  id: job.id,
  state: job.state,
  queue: job.queue,
  priority: job.priority,
  connector: job.connector,
  operation: job.operation,
  attempts: job.attempts,
  replays: job.replays,
  next_run_at: WAITING.has(job.state) ? iso(job.runAt) : null,
  expires_at: iso(job.expiresAt),
  created_at: job.createdAt.toISOString(),
  finished_at: iso(job.finishedAt),
  created_by: job.createdBy,
  config_version: job.configVersion,
  inbox_id: job.inboxId,
  correlation_id: job.correlationId,
  trace_id: job.traceId,
})

const attemptView = (attempt: AttemptRecord) => ({
  attempt: attempt.attempt,
  outcome: attempt.outcome,
  why: attempt.why,
  started_at: utc(attempt.started_at),
  ended_at: utc(attempt.ended_at),
  http_status: attempt.http_status,
  config_version: attempt.config_version,
  error:
    attempt.error_class === null
      ? null
      : { class: attempt.error_class, message: attempt.error_message ?? attempt.error_class },
  next_run_at: attempt.next_run_at && utc(attempt.next_run_at),
})

const isJobKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

/** `GET /jobs` and `GET /jobs/:id`: the same on both planes. */
export function addJobReadRoutes(app: HttpServer, deps: JobReadDeps): void {
  const { db } = deps
  const access = { permission: 'jobs.read' }
  const tags = ['jobs']

  app.get(
    '/jobs',
    {
      config: { access, answers: LIST_ANSWERS },
      schema: {
        operationId: 'listJobs',
        tags,
        summary: 'List jobs, newest first',
        description:
          'With a filter a page looks at 2,000 jobs at most: it may be short and still have a `next_cursor`.',
        querystring: JobsQuery,
        response: { 200: JobPage },
      },
    },
    async ({ principal, query }) => {
      const { jobs, next } = await listJobs(db, {
        tenantId: principal.tenantId,
        state: query.state,
        connector: query.connector,
        queue: query.queue,
        before: query.cursor === undefined ? undefined : decodeCursor(query.cursor, isJobKey)[0],
        limit: query.limit ?? 50,
      })
      return { data: jobs.map(view), next_cursor: next === null ? null : encodeCursor([next]) }
    },
  )

  app.get(
    '/jobs/:id',
    {
      config: { access, answers: READ_ANSWERS },
      schema: {
        operationId: 'getJob',
        tags,
        summary: 'Read a job with its attempts',
        params: JobParams,
        response: { 200: JobDetail },
      },
    },
    async ({ principal, params }) => {
      const ref = { tenantId: principal.tenantId, id: params.id }
      const found = await findJob(db, ref)
      const stored = found && (await jobInput(db, ref))
      if (!found || !stored) throw jobNotFound()
      const whole = await wholeInput(deps, { ...stored, tenantId: ref.tenantId, inboxId: found.job.inboxId })
      const obstacles = found.job.state === 'queued' ? await obstaclesOf(db, ref) : []
      return {
        job: {
          ...view(found.job),
          ...whole,
          input_ref: shownRef(stored.inputRef),
          metadata: found.job.metadata,
          idempotency_key: found.job.idempotencyKey,
          request_id: found.job.requestId,
          started_at: iso(found.job.startedAt),
          cancel_requested_at: iso(found.job.cancelRequestedAt),
          result: found.job.result ?? null,
          result_ref: shownRef(found.job.resultRef),
          blocked_by: obstacles.map((each) => ({ ...each, until: iso(each.until) })),
          dead_reason: found.job.deadReason,
        },
        attempts: found.attempts.map(attemptView),
      }
    },
  )
}
