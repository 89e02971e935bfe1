import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { NO_WORKSPACE } from '../workspaces/workspaces.ts'
import { AssignBody, Assigned, QuarantineParams } from './quarantine.schema.ts'
import { type AssignDeps, assign, whereTo } from './quarantine.ts'
import { addQuarantineRoutes, changeOf, type QuarantineRouteDeps } from './quarantine-routes.ts'

export interface QuarantineControlDeps extends QuarantineRouteDeps, Pick<AssignDeps, 'workspaces'> {
  /** Sees all workspaces: for what belongs to none. */
  readonly hubDb: Db
}

/** `/quarantine` of the control plane, and `/platform/quarantine` for what belongs to no workspace. */
export function quarantineControl(app: HttpServer, deps: QuarantineControlDeps): void {
  addQuarantineRoutes(app, deps, {
    path: '/quarantine',
    read: 'quarantine.read',
    release: 'quarantine.release',
    operation: 'Quarantine',
    whose: 'this workspace',
    tenantOf: ({ tenantId }) => tenantId,
  })
  const ofHub = { ...deps, db: deps.hubDb }
  addQuarantineRoutes(app, ofHub, {
    path: '/platform/quarantine',
    read: 'platform_quarantine.read',
    release: 'quarantine.assign',
    operation: 'PlatformQuarantine',
    whose: 'the platform',
    tenantOf: () => NO_WORKSPACE,
  })

  app.post(
    '/platform/quarantine/:id/assign',
    {
      config: { access: { permission: 'quarantine.assign' } },
      schema: {
        operationId: 'assignPlatformQuarantineEntry',
        tags: ['quarantine'],
        summary: 'Say whose it is although nothing verifies it, and release it to that route',
        description:
          'Nothing proves then where it comes from: its inbox row has no evidence. Mode and environment must fit, and no route of another workspace may claim its account unless `despite_claim` says so. Told in the audit log of the platform and of the workspace.',
        params: QuarantineParams,
        body: AssignBody,
        response: { 200: Assigned },
      },
    },
    async ({ principal, params, body, call }) => {
      const where = {
        id: params.id,
        workspaceId: body.workspace_id,
        routeId: body.route_id,
        ...(body.despite_claim && { despiteClaim: true }),
      }
      const targets = await assign(ofHub, where, changeOf(principal, body.reason, call))
      return { released_to: whereTo(NO_WORKSPACE, targets) }
    },
  )
}
