import type { FastifyRequest } from 'fastify'
import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { fingerprintOf, idempotencyKeyOf } from '../../platform/http/idempotency-key.ts'
import { faultsOfItems } from '../../platform/http/validation.ts'
import type { NewJob } from '../../queue/job.ts'
import { originOfJob } from '../../queue/job-of-key.ts'
import { BATCH_ANSWERS, CANCEL_ANSWERS, SUBMIT_ANSWERS } from './documented.ts'
import { addJobReadRoutes } from './job-routes.ts'
import {
  AGAIN,
  BatchAccepted,
  BatchBody,
  BatchHeaders,
  CancelBody,
  CancelResult,
  JobAccepted,
  JobHeaders,
  JobParams,
  NewJobBody,
} from './jobs.schema.ts'
import { cancel, type JobDeps, submitJob } from './jobs.ts'
import { submitBatch } from './submit-batch.ts'
import type { InputDeps } from './whole-input.ts'

const access = { permission: 'jobs.submit' } as const
const tags = ['jobs']

/** `/jobs` for products: submit, batch, read, cancel. */
export function jobsExec(app: HttpServer, deps: JobDeps & InputDeps): void {
  app.post(
    '/jobs',
    {
      config: { access, answers: SUBMIT_ANSWERS },
      schema: {
        operationId: 'createJob',
        tags,
        summary: 'Run an operation later; 202 means that it is committed',
        headers: JobHeaders,
        body: NewJobBody,
        response: { 202: JobAccepted },
      },
    },
    async (request, reply) => {
      const { id, queuedAt, replayed } = await submitJob(deps, request, request.body, {
        dedupe: dedupeOf(request),
        bytes: request.rawBody.length,
      })
      if (replayed) reply.header('idempotent-replayed', 'true')
      const origin = replayed
        ? await originOfJob(deps.db, { tenantId: request.principal.tenantId, id })
        : undefined
      return reply
        .code(202)
        .header('location', `/jobs/${id}`)
        .send({
          job_id: id,
          status: 'queued' as const,
          queued_at: queuedAt.toISOString(),
          // Of the first answer, whose repetition this is.
          request_id: origin?.request_id ?? request.call.requestId,
          trace_id: origin?.trace_id ?? request.call.traceId,
        })
    },
  )

  app.post(
    '/jobs/batch',
    {
      config: { access, answers: BATCH_ANSWERS },
      // All faults of all items in one answer: what the schema finds does not end the search.
      attachValidation: true,
      schema: {
        operationId: 'createJobs',
        tags,
        summary: 'Submit up to 1,000 jobs in one transaction: all are stored or none',
        headers: BatchHeaders,
        body: BatchBody,
        response: { 202: BatchAccepted },
      },
    },
    async (request, reply) => {
      const malformed = malformedItems(request.validationError)
      const bytes = request.rawBody.length
      const batch = { items: request.body.jobs, dedupe: dedupeOf(request), bytes, malformed }
      const jobs = await submitBatch(deps, request, batch)
      if (jobs.every(({ replayed }) => replayed)) reply.header('idempotent-replayed', 'true')
      return reply.code(202).send({
        jobs: jobs.map(({ id, queuedAt, replayed }) => ({
          job_id: id,
          status: 'queued' as const,
          queued_at: queuedAt.toISOString(),
          replayed,
        })),
        request_id: request.call.requestId,
        trace_id: request.call.traceId,
      })
    },
  )

  app.post(
    '/jobs/:id/cancel',
    {
      config: { access, answers: CANCEL_ANSWERS },
      schema: {
        operationId: 'cancelJob',
        tags,
        summary: 'Cancel a job; a running attempt is told to stop',
        description: AGAIN,
        params: JobParams,
        // Without a body, too: there is nothing that it must say.
        body: Type.Union([CancelBody, Type.Null()]),
        response: { 200: CancelResult },
      },
    },
    async ({ principal, params, body }) => cancel(deps, principal, params.id, body?.reason),
  )

  addJobReadRoutes(app, deps)
}

/** What the Idempotency-Key of a request stands for. */
function dedupeOf(request: FastifyRequest): NewJob['dedupe'] {
  const key = idempotencyKeyOf(request)
  return key === undefined ? undefined : { key, requestHash: fingerprintOf(request) }
}

/** Faults of the items of a batch; throws for a body that has no such items, and for faults of other parts. */
function malformedItems(refusal: FastifyRequest['validationError']) {
  if (refusal === undefined) return undefined
  const { validation = [], validationContext } = refusal
  const faults = validationContext === 'body' ? faultsOfItems(validation, '/jobs') : undefined
  if (faults === undefined) throw refusal
  return faults
}
