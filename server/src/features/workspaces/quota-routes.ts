import type { Principal } from '../../platform/auth/principal.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { authorOf } from '../audit/audit.ts'
import { QuotasBody, QuotasView, WorkspaceParams } from './workspaces.schema.ts'
import { getWorkspace, quotasOf, setQuotas, type WorkspaceDeps } from './workspaces.ts'

/** `/workspaces/:id/quotas`: the workspace sees its own limits, the platform sets them. */
export function quotaRoutes(
  app: HttpServer,
  deps: WorkspaceDeps,
  requireSeen: (principal: Principal, id: string) => void,
): void {
  const tags = ['workspaces']
  app.get(
    '/workspaces/:id/quotas',
    {
      config: { access: { permission: 'workspaces.read' } },
      schema: {
        operationId: 'getWorkspaceQuotas',
        tags,
        summary: 'How much a workspace may have, and has',
        params: WorkspaceParams,
        response: { 200: QuotasView },
      },
    },
    async ({ principal, params: { id } }) => {
      requireSeen(principal, id)
      await getWorkspace(deps, id)
      return { data: (await quotasOf(deps.db, id)) ?? [] }
    },
  )

  app.put(
    '/workspaces/:id/quotas',
    {
      config: { access: { permission: 'workspaces.manage' } },
      schema: {
        operationId: 'setWorkspaceQuotas',
        tags,
        summary: 'Set how much a workspace may have',
        description:
          'Quotas that are not named stay. A limit below what is there removes nothing; it lets nothing be added.',
        params: WorkspaceParams,
        body: QuotasBody,
        response: { 200: QuotasView },
      },
    },
    async ({ principal, params: { id }, body: { quotas, reason }, call }) => ({
      data: await setQuotas(deps, { id, quotas }, { ...authorOf(principal), reason, call }),
    }),
  )
}
