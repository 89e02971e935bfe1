import type { Principal } from '../../platform/auth/principal.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { authorOf } from '../audit/audit.ts'
import {
  NewWorkspaceBody,
  StatusBody,
  WorkspacePage,
  WorkspaceParams,
  WorkspacesQuery,
  WorkspaceView,
} from './workspaces.schema.ts'
import {
  createWorkspace,
  getWorkspace,
  listWorkspaces,
  PLATFORM_ADMIN,
  setWorkspaceStatus,
  type Workspace,
  type WorkspaceDeps,
} from './workspaces.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const view = ({ createdAt, ...workspace }: Workspace): WorkspaceView => ({
  ...workspace,
  created_at: createdAt.toISOString(),
})

const seesAll = ({ roles }: Principal): boolean => roles.has(PLATFORM_ADMIN)

/** `/workspaces` of the control plane: its own for every token, all for the platform admin. */
export function workspacesControl(app: HttpServer, deps: WorkspaceDeps): void {
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
    async ({ body: { slug, name, reason }, principal, call }, reply) => {
      const workspace = await createWorkspace(deps, { slug, name }, { ...authorOf(principal), reason, call })
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
    async ({ principal, query: { cursor, limit = 50 } }) => {
      const rows = await listWorkspaces(deps.db, {
        environment: deps.environment,
        onlyId: seesAll(principal) ? null : principal.tenantId,
        beforeId: cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0],
        limit: limit + 1,
      })
      return pageOf(rows, limit, ({ id }) => [id], view)
    },
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
      if (!seesAll(principal) && id.toLowerCase() !== principal.tenantId)
        throw new Problem('not_found', 'There is no such workspace.')
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
}
