import type { HttpServer } from '../../platform/http/http-server.ts'
import { BlastQuery, BlastRadius, ValidateBody, Validation } from './configs.schema.ts'
import { type BlastDeps, blastRadius, configVersion, EMPTY_DOCUMENT, validateConfig } from './configs.ts'

const read = { access: { permission: 'configs.read' } } as const
const tags = ['configs']

/** What an activation would answer and touch, before it is done. */
export function configDryRunsControl(app: HttpServer, deps: BlastDeps): void {
  app.post(
    '/configs/validate',
    {
      config: read,
      schema: {
        operationId: 'validateConfig',
        tags,
        summary: 'Every reason why a config could not be activated, and what its activation would touch',
        body: ValidateBody,
        response: { 200: Validation },
      },
    },
    async ({ principal: { tenantId }, body }) => {
      const document =
        body.version === undefined
          ? (body.document ?? EMPTY_DOCUMENT)
          : (await configVersion(deps.db, tenantId, body.version)).document
      return validateConfig(deps, tenantId, document, { stored: body.version !== undefined })
    },
  )

  app.get(
    '/configs/blast-radius',
    {
      config: read,
      schema: {
        operationId: 'getBlastRadius',
        tags,
        summary: 'Routes, waiting jobs and recent calls of every connector that a version would change',
        querystring: BlastQuery,
        response: { 200: BlastRadius },
      },
    },
    async ({ principal: { tenantId }, query }) =>
      blastRadius(deps, tenantId, (await configVersion(deps.db, tenantId, query.version)).document),
  )
}
