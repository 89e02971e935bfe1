import type { HttpServer } from '../../platform/http/http-server.ts'
import { authorOf } from '../audit/audit.ts'
import { getWorkspace, requireSeen } from '../workspaces/workspaces.ts'
import { PreviewView, RetentionBody, RetentionParams, RetentionView } from './retention.schema.ts'
import { previewRun, retentionOf, setRetention } from './retention.ts'
import type { RetentionDeps } from './workspace-retention.ts'

/** `/workspaces/:id/retention` and the preview of a run. */
export function retentionControl(app: HttpServer, deps: RetentionDeps): void {
  const tags = ['retention']
  app.get(
    '/workspaces/:id/retention',
    {
      config: { access: { permission: 'workspaces.read' } },
      schema: {
        operationId: 'getWorkspaceRetention',
        tags,
        summary: 'How long a workspace keeps what',
        params: RetentionParams,
        response: { 200: RetentionView },
      },
    },
    async ({ principal, params: { id } }) => {
      requireSeen(principal, id)
      await getWorkspace(deps.workspaces, id)
      return { data: await retentionOf(deps.db, id, deps.hub) }
    },
  )

  app.put(
    '/workspaces/:id/retention',
    {
      config: { access: { permission: 'workspaces.manage' } },
      schema: {
        operationId: 'setWorkspaceRetention',
        tags,
        summary: 'Say how long a workspace keeps what',
        params: RetentionParams,
        body: RetentionBody,
        response: { 200: RetentionView },
      },
    },
    async ({ principal, params: { id }, body: { days, reason }, call }) => ({
      data: await setRetention(deps, { id, days }, { ...authorOf(principal), reason, call }),
    }),
  )

  app.get(
    '/platform/retention',
    {
      config: { access: { permission: 'platform_retention.read' } },
      schema: {
        operationId: 'previewRetention',
        tags,
        summary: 'What a run of retention would remove now; changes nothing',
        response: { 200: PreviewView },
      },
    },
    async () => {
      const { days, rows, deadLetters, auditEntries } = await previewRun(deps.db, deps.hub)
      return {
        days: days.map(({ heldBy, tables, ...day }) => ({ ...day, tables: [...tables], held_by: heldBy })),
        rows: rows.map(({ tenantId, ...row }) => ({ workspace_id: tenantId, ...row })),
        dead_letters: deadLetters,
        audit_entries: auditEntries,
      }
    },
  )
}
