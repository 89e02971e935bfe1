import { Readable } from 'node:stream'
import { Type } from 'typebox'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { authorOf, Reason, recordAudit } from '../audit/audit.ts'
import { view } from './views.ts'
import { DeletionBody, StatusBody, WorkspaceParams, WorkspaceView } from './workspaces.schema.ts'
import {
  deleteWorkspace,
  type ExportLine,
  type ExportLines,
  getWorkspace,
  quotasOf,
  restoreWorkspace,
  type WorkspaceDeps,
} from './workspaces.ts'

const ExportQuery = Type.Object({ reason: Reason }, { additionalProperties: false })

/** The end of a workspace: export, deletion, and calling it off. */
export function endRoutes(
  app: HttpServer,
  deps: WorkspaceDeps & { readonly exportLines: ExportLines },
): void {
  const config = { access: { permission: 'workspaces.manage' } }
  const tags = ['workspaces']

  app.post(
    '/workspaces/:id/delete',
    {
      config,
      schema: {
        operationId: 'deleteWorkspace',
        tags,
        summary: 'Stop a workspace and remove its data after a grace',
        description:
          'Calls are refused and jobs stop at once. Until `delete_after` it can be restored; then everything but its slug and its audit log goes, and cannot come back.',
        params: WorkspaceParams,
        body: DeletionBody,
        response: { 200: WorkspaceView },
      },
    },
    async ({ params: { id }, body: { confirm, grace_days: graceDays = 7, reason }, principal, call }) =>
      view(await deleteWorkspace(deps, { id, confirm, graceDays }, { ...authorOf(principal), reason, call })),
  )

  app.post(
    '/workspaces/:id/restore',
    {
      config,
      schema: {
        operationId: 'restoreWorkspace',
        tags,
        summary: 'Call the deletion of a workspace off, within its grace',
        params: WorkspaceParams,
        body: StatusBody,
        response: { 200: WorkspaceView },
      },
    },
    async ({ params: { id }, body: { reason }, principal, call }) =>
      view(await restoreWorkspace(deps, id, { ...authorOf(principal), reason, call })),
  )

  app.get(
    '/workspaces/:id/export',
    {
      config,
      exposeHeadRoute: false,
      schema: {
        operationId: 'exportWorkspace',
        tags,
        summary: 'Everything of a workspace that is worth keeping, as a file; no secrets',
        description:
          'One JSON object per line, streamed; `part` says what of: `workspace`, `quotas`, `bundle`, `identity`, `member`, `trusted_issuer`, `payload`, `audit_entry`, and `end` as the last one: without it the file is not complete. Noted in the audit log of the workspace.',
        params: WorkspaceParams,
        querystring: ExportQuery,
        response: {
          200: {
            description: 'The lines',
            content: { 'application/x-ndjson': { schema: Type.String() } },
          },
        },
      },
    },
    async ({ params: { id }, query: { reason }, principal, call, log }, reply) => {
      const workspace = await getWorkspace(deps, id)
      await deps.db.transaction((tx) =>
        recordAudit(tx, {
          ...authorOf(principal),
          ...{ reason, call, tenantId: id },
          action: 'workspace.exported',
          object: `workspace:${workspace.slug}`,
        }),
      )
      async function* text(): AsyncGenerator<string> {
        const counts: Record<string, number> = {}
        const line = (value: ExportLine): string => {
          counts[value.part] = (counts[value.part] ?? 0) + 1
          return `${JSON.stringify(value)}\n`
        }
        yield line({ part: 'workspace', ...view(workspace) })
        yield line({ part: 'quotas', quotas: (await quotasOf(deps.db, id)) ?? [] })
        // Of a deleted one nothing else is left but the audit log.
        for await (const value of deps.exportLines(id)) yield line(value)
        yield `${JSON.stringify({ part: 'end', counts })}\n`
      }
      const body = Readable.from(text(), { objectMode: false })
      body.once('error', (err) => log.warn({ err }, 'an export of a workspace broke off'))
      return (
        reply
          .type('application/x-ndjson')
          .header('content-disposition', `attachment; filename="${workspace.slug}.ndjson"`)
          .header('cache-control', 'no-store')
          // The schema tells what is in it; it is sent as it comes.
          .send(body as unknown as string)
      )
    },
  )
}
