import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { ChainsView } from './audit.schema.ts'
import { verifyAllChains } from './audit.ts'
import { type AuditDeps, addAuditRoutes } from './audit-routes.ts'

export interface AuditControlDeps extends AuditDeps {
  /** What belongs to no workspace. */
  readonly hub: {
    /** Sees all workspaces. */
    readonly db: Db
    /** The tenant id of what belongs to none. */
    readonly tenantId: string
    /** The slug of a workspace; undefined = there is none. */
    readonly slugOf: (tenantId: string) => Promise<string | undefined>
  }
}

/** `/audit` of the control plane, and `/platform/audit` for what belongs to no workspace. */
export function auditControl(app: HttpServer, deps: AuditControlDeps): void {
  addAuditRoutes(app, deps, {
    path: '/audit',
    permission: 'audit.read',
    operation: 'Audit',
    whose: 'this workspace',
    tenantOf: ({ tenantId }) => tenantId,
  })
  const { hub } = deps
  addAuditRoutes(
    app,
    {
      ...deps,
      db: hub.db,
      // The platform is never suspended.
      reasonToStop: async (principal) => {
        const reason = await deps.reasonToStop(principal)
        return reason === 'workspace_suspended' ? undefined : reason
      },
    },
    {
      path: '/platform/audit',
      permission: 'platform_audit.read',
      operation: 'PlatformAudit',
      whose: 'the platform',
      tenantOf: () => hub.tenantId,
    },
  )

  app.get(
    '/platform/audit/chains',
    {
      config: { access: { permission: 'platform_audit.read' } },
      schema: {
        operationId: 'verifyAllAudit',
        tags: ['audit'],
        summary: 'Check every chain of the hub',
        description:
          'As `orchestrator audit verify` does without a workspace. Tells nothing of what entries hold.',
        response: { 200: ChainsView },
      },
    },
    async () => {
      const chains = []
      for await (const { tenantId, state } of verifyAllChains(hub.db, deps.evidence))
        chains.push({ tenant_id: tenantId, workspace: (await hub.slugOf(tenantId)) ?? null, ...state })
      return { intact: chains.every(({ intact }) => intact), chains }
    },
  )
}
