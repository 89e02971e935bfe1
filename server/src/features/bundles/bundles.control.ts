import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { authorOf } from '../audit/audit.ts'
import { ImportBody, PlanBody } from './bundles.schema.ts'
import {
  Bundle,
  type BundleDeps,
  bundleJsonSchema,
  exportBundle,
  Imported,
  importBundle,
  Plan,
  planImport,
} from './bundles.ts'

const read = { access: { permission: 'bundles.export' } } as const
const write = { access: { permission: 'bundles.import' } } as const
const tags = ['bundles']

/** `/bundle` of the control plane: a workspace as one document, out and in. */
export function bundlesControl(app: HttpServer, deps: BundleDeps): void {
  const schema = bundleJsonSchema()

  app.get(
    '/bundle/export',
    {
      config: read,
      schema: {
        operationId: 'exportBundle',
        tags,
        summary: 'The workspace as one document: config, secret refs, webhook routes; no secret values',
        response: { 200: Bundle },
      },
    },
    async ({ principal }) => exportBundle(deps, principal.tenantId),
  )

  app.get(
    '/bundle/schema',
    {
      config: read,
      schema: {
        operationId: 'getBundleSchema',
        tags,
        summary: 'The JSON Schema (2020-12) of a bundle',
        response: { 200: Type.Unknown({ description: 'A JSON Schema.' }) },
      },
    },
    async () => schema,
  )

  app.post(
    '/bundle/plan',
    {
      config: read,
      schema: {
        operationId: 'planBundle',
        tags,
        summary: 'What the import of a bundle would change, and every reason why it could not be imported',
        body: PlanBody,
        response: { 200: Plan },
      },
    },
    async ({ principal, body }) => planImport(deps, principal.tenantId, body),
  )

  app.post(
    '/bundle/import',
    {
      config: write,
      schema: {
        operationId: 'importBundle',
        tags,
        summary: 'Do exactly what a plan says, all of it or nothing',
        body: ImportBody,
        response: { 200: Imported },
      },
    },
    async ({ principal, body, call }) => {
      const { reason, ...wanted } = body
      return importBundle(deps, principal.tenantId, wanted, { ...authorOf(principal), reason, call })
    },
  )
}
