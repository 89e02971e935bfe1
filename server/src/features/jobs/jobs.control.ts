import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { authorOf, Reason } from '../audit/audit.ts'
import { CANCEL_ANSWERS } from './documented.ts'
import { addJobReadRoutes } from './job-routes.ts'
import { AGAIN, CancelResult, JobParams } from './jobs.schema.ts'
import { type CancelDeps, cancel } from './jobs.ts'
import type { InputDeps } from './whole-input.ts'

/** `/jobs` for operators: the same reading as products have, and cancelling with a reason. */
export function jobsControl(app: HttpServer, deps: CancelDeps & InputDeps): void {
  addJobReadRoutes(app, deps)

  app.post(
    '/jobs/:id/cancel',
    {
      config: { access: { permission: 'jobs.cancel' }, answers: CANCEL_ANSWERS },
      schema: {
        operationId: 'cancelJob',
        tags: ['jobs'],
        summary: 'Cancel a job; a running attempt is told to stop',
        description: AGAIN,
        params: JobParams,
        body: Type.Object({ reason: Reason }, { additionalProperties: false }),
        response: { 200: CancelResult },
      },
    },
    async ({ principal, params, body: { reason }, call }) =>
      cancel(deps, principal, params.id, reason, { ...authorOf(principal), reason, call }),
  )
}
