import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { authorOf } from '../audit/audit.ts'
import { endRoutes } from './end-routes.ts'
import { quotaRoutes } from './quota-routes.ts'
import { templateView, view } from './views.ts'
import {
  NewWorkspaceBody,
  StatusBody,
  TemplateList,
  WorkspacePage,
  WorkspaceParams,
  WorkspacesQuery,
  WorkspaceView,
} from './workspaces.schema.ts'
import {
  createWorkspace,
  type ExportLines,
  type FirstConfig,
  getWorkspace,
  listWorkspaces,
  requireSeen,
  seesAll,
  setWorkspaceStatus,
  templatesFor,
  type WorkspaceDeps,
} from './workspaces.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

/** The database is that of all workspaces: these routes stand above them. */
export type WorkspaceRouteDeps = WorkspaceDeps & {
  readonly firstConfig: FirstConfig
  readonly exportLines: ExportLines
}

/** `/workspaces` of the control plane: its own for every token, all for the platform admin. */
export function workspacesControl(app: HttpServer, deps: WorkspaceRouteDeps): void {
  const read = { access: { permission: 'workspaces.read' } }
  const administer = { access: { permission: 'workspaces.manage' } }
  const tags = ['workspaces']

  app.post(
    '/workspaces',
    {
      config: administer,
      schema: {
        operationId: 'createWorkspace',
        tags,
        summary: 'Create a workspace in the environment of this hub',
        body: NewWorkspaceBody,
        response: { 201: WorkspaceView },
      },
    },
    async ({ body: { slug, name, template, reason }, principal, call }, reply) => {
      const change = { ...authorOf(principal), reason, call }
      const beginning = { template, firstConfig: deps.firstConfig }
      const workspace = await createWorkspace(deps, { slug, name }, change, beginning)
      return reply.code(201).header('location', `/workspaces/${workspace.id}`).send(view(workspace))
    },
  )

  app.get(
    '/workspaces',
    {
      config: read,
      schema: {
        operationId: 'listWorkspaces',
        tags,
        summary: 'Workspaces that the token may see, newest first',
        querystring: WorkspacesQuery,
        response: { 200: WorkspacePage },
      },
    },
    async ({ principal, query: { cursor, limit = 50, status } }) => {
      const rows = await listWorkspaces(deps.db, {
        environment: deps.environment,
        status,
        onlyId: seesAll(principal) ? null : principal.tenantId,
        beforeId: cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0],
        limit: limit + 1,
      })
      return pageOf(rows, limit, ({ id }) => [id], view)
    },
  )

  app.get(
    '/workspaces/templates',
    {
      config: read,
      schema: {
        operationId: 'listWorkspaceTemplates',
        tags,
        summary: 'What new workspaces can begin with',
        response: { 200: TemplateList },
      },
    },
    async () => ({
      data: templatesFor(deps.environment).map((template) => templateView(template, deps.environment)),
    }),
  )

  app.get(
    '/workspaces/:id',
    {
      config: read,
      schema: {
        operationId: 'getWorkspace',
        tags,
        summary: 'One workspace',
        params: WorkspaceParams,
        response: { 200: WorkspaceView },
      },
    },
    async ({ principal, params: { id } }) => {
      requireSeen(principal, id)
      return view(await getWorkspace(deps, id))
    },
  )

  for (const [verb, status, summary] of [
    ['suspend', 'suspended', 'Refuse every call of a workspace until it is resumed; its data stays'],
    ['resume', 'active', 'Let a suspended workspace go on'],
  ] as const)
    app.post(
      `/workspaces/:id/${verb}`,
      {
        config: administer,
        schema: {
          operationId: `${verb}Workspace`,
          tags,
          summary,
          params: WorkspaceParams,
          body: StatusBody,
          response: { 200: WorkspaceView },
        },
      },
      async ({ params: { id }, body: { reason }, principal, call }) =>
        view(await setWorkspaceStatus(deps, { id, status }, { ...authorOf(principal), reason, call })),
    )

  quotaRoutes(app, deps, requireSeen)
  endRoutes(app, deps)
}
