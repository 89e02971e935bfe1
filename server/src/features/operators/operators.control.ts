import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import type { HttpServer } from '../../platform/http/server.ts'
import { Problem } from '../../problems.ts'
import { authorOf } from '../audit/audit.ts'
import { PLATFORM_ROLES, type PlatformRole, type WorkspaceRole } from '../permissions/permissions.ts'
import type { WorkspaceDirectory } from '../workspaces/workspaces.ts'
import * as accounts from './administer.ts'
import { addInvitationRoutes, DEFAULT_HOURS } from './invitation-routes.ts'
import { invite } from './invitations.ts'
import * as schema from './members.schema.ts'
import { isIdKey, viewOperator, viewWithToken } from './members.views.ts'
import type { OperatorRole } from './role.ts'
import { setPlatformRoles } from './roles.ts'
import { viewOf } from './sign-on.views.ts'

export interface OperatorsDeps {
  readonly db: Db
  readonly clock: Clock
  readonly directory: WorkspaceDirectory
}

const withRoles = ({ operator, roles }: accounts.OperatorWithRoles) => ({
  ...viewOperator(operator),
  roles: roles.map(({ workspaceId, role }) => ({ workspace_id: workspaceId, role })),
})

/** `/operators`: all people of the hub, for who has a platform role. */
export function operatorsControl(app: HttpServer, deps: OperatorsDeps): void {
  const { db } = deps
  const read = { access: { permission: 'operators.read' } }
  const manage = { access: { permission: 'operators.manage' } }
  const tags = ['operators']

  app.get(
    '/operators',
    {
      config: read,
      schema: {
        operationId: 'listOperators',
        tags,
        summary: 'All operators with their roles, in the order of their accounts',
        querystring: schema.PeopleQuery,
        response: { 200: schema.OperatorPage },
      },
    },
    async ({ query: { cursor, limit = 50 } }) => {
      const afterId = cursor === undefined ? undefined : decodeCursor(cursor, isIdKey)[0]
      const rows = await accounts.listOperators(db, { afterId, limit: limit + 1 })
      return pageOf(rows, limit, ({ operator }) => [operator.id], withRoles)
    },
  )

  app.get(
    '/operators/:id',
    {
      config: read,
      schema: {
        operationId: 'getOperator',
        tags,
        summary: 'One operator, with roles and sessions',
        params: schema.OperatorParams,
        response: { 200: schema.OperatorDetailView },
      },
    },
    async ({ params: { id } }) => {
      const found = await accounts.getOperator(deps, id)
      return { ...withRoles(found), sessions: found.sessions.map(viewOf(undefined)) }
    },
  )

  for (const [path, operationId, summary, act] of [
    [
      'lock',
      'lockOperator',
      'Lock an account: its sessions end, nobody signs on with it',
      accounts.lockOperator,
    ],
    [
      'unlock',
      'unlockOperator',
      'Unlock an account, and end its rest after failed sign-ons',
      accounts.unlockOperator,
    ],
    [
      'reset-mfa',
      'resetSecondFactor',
      'Take the second factor of somebody who lost it away; their sessions end',
      accounts.resetSecondFactor,
    ],
  ] as const)
    app.post(
      `/operators/:id/${path}`,
      {
        config: manage,
        schema: {
          operationId,
          tags,
          summary,
          params: schema.OperatorParams,
          body: schema.ReasonBody,
          response: { 200: schema.OperatorView },
        },
      },
      async ({ principal, params: { id }, body: { reason }, call }) =>
        viewOperator(await act(deps, id, { ...authorOf(principal), reason, call })),
    )

  app.post(
    '/operators/:id/end-sessions',
    {
      config: manage,
      schema: {
        operationId: 'endSessionsOfOperator',
        tags,
        summary: 'End all sessions of somebody, and the tokens that came from them',
        params: schema.OperatorParams,
        body: schema.ReasonBody,
        response: { 200: schema.EndedView },
      },
    },
    async ({ principal, params: { id }, body: { reason }, call }) => ({
      ended: await accounts.endSessionsOf(deps, id, { ...authorOf(principal), reason, call }),
    }),
  )

  app.put(
    '/operators/:id/roles',
    {
      config: manage,
      schema: {
        operationId: 'setPlatformRoles',
        tags,
        summary: 'Set the platform roles of somebody; their sessions end',
        params: schema.OperatorParams,
        body: schema.PlatformRolesBody,
        response: { 200: schema.OperatorView },
      },
    },
    async ({ principal, params: { id }, body: { roles, reason }, call }) => {
      const change = { ...authorOf(principal), reason, call }
      return viewOperator(await setPlatformRoles(deps, { operatorId: id, roles }, change))
    },
  )

  addPlatformInvitations(app, deps)
}

/** Invitations of the platform: to platform roles, and into any workspace, which is how its first Admin comes. */
function addPlatformInvitations(app: HttpServer, deps: OperatorsDeps): void {
  const manage = { access: { permission: 'operators.manage' } }
  const tags = ['operators']

  app.post(
    '/operators/invitations',
    {
      config: manage,
      schema: {
        operationId: 'inviteOperator',
        tags,
        summary: 'Invite somebody to a platform role or into a workspace; the token is shown once',
        body: schema.InviteOperatorBody,
        response: { 201: schema.InvitationWithTokenView },
      },
    },
    async ({ principal, body, call }, reply) => {
      const { email, role, hours = DEFAULT_HOURS, reason } = body
      const invites = await rolePlace(deps, role, body.workspace_id?.toLowerCase())
      const change = { ...authorOf(principal), reason, call }
      const invited = await invite(deps, { email, invites, hours, byPlatform: true }, change)
      return reply.code(201).header('cache-control', 'no-store').send(viewWithToken(invited))
    },
  )

  addInvitationRoutes(app, deps, {
    path: '/operators/invitations',
    tag: 'operators',
    read: 'operators.read',
    write: 'operators.manage',
    byPlatform: true,
    list: { operationId: 'listAllInvitations', summary: 'All open invitations, newest first' },
    resendId: 'resendAnyInvitation',
    revokeId: 'revokeAnyInvitation',
  })
}

const isPlatformRole = (role: string): role is PlatformRole => Object.hasOwn(PLATFORM_ROLES, role)

/** Errors: `validation_error` for a role in the wrong place or a workspace that is not there. */
async function rolePlace(
  { directory }: Pick<OperatorsDeps, 'directory'>,
  role: WorkspaceRole | PlatformRole,
  workspaceId: string | undefined,
): Promise<OperatorRole> {
  const fault = (message: string): Problem =>
    new Problem('validation_error', `/body/workspace_id ${message}.`, {
      details: [{ path: '/body/workspace_id', message }],
    })
  if (isPlatformRole(role)) {
    if (workspaceId !== undefined) throw fault('must be absent: this is a role on the platform')
    return { workspaceId: null, role }
  }
  if (workspaceId === undefined) throw fault('is missing: this is a role in a workspace')
  if (!(await directory.find(workspaceId))) throw fault('names no workspace of this hub')
  return { workspaceId, role }
}
