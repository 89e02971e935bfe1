import type { HttpServer } from '../../platform/http/server.ts'
import { Secret } from '../../platform/secret.ts'
import type { WorkspaceRole } from '../permissions/permissions.ts'
import { noOperator, toOperator } from './account.ts'
import { findOperatorRow } from './accounts.sql.ts'
import { callersSession } from './callers-session.ts'
import type { OperatorDeps } from './deps.ts'
import { acceptSignedOn } from './invitations.ts'
import * as schema from './own-account.schema.ts'
import * as own from './own-account.ts'
import { needsSecondFactor } from './roles.ts'
import { recoveryCodesLeft } from './second-factor.ts'
import { listSessions } from './sessions.ts'
import { SignedOnView } from './sign-on.schema.ts'
import { viewOf, viewSession } from './sign-on.views.ts'
import { issueWorkspaceToken, permissionsIn, rolesOfSession, type TokenDeps } from './workspace-token.ts'

export type OwnAccountDeps = OperatorDeps & TokenDeps

/** `/auth` with a session: one's own account. */
export function ownAccountControl(app: HttpServer, deps: OwnAccountDeps): void {
  const { db, clock } = deps
  const config = { access: { permission: 'account.own' } }
  const tags = ['own account']

  const { anySession, fullSession } = callersSession(deps)

  app.get(
    '/auth/session',
    {
      config,
      schema: {
        operationId: 'getSession',
        tags,
        summary: 'Who has signed on, with which roles, and what they may do',
        querystring: schema.SessionQuery,
        response: { 200: schema.WhoView },
      },
    },
    async (request) => {
      const { session } = await anySession(request)
      const row = await findOperatorRow(db, { id: session.operatorId })
      if (!row) throw noOperator()
      const { id, email, name, subject, hasSecondFactor } = toOperator(row)
      const roles = await rolesOfSession(db, session)
      const workspaces = await Promise.all(
        roles.map(async ({ workspaceId, role }) => {
          const found = workspaceId === null ? undefined : await deps.directory.find(workspaceId)
          return found
            ? [{ id: found.id, slug: found.slug, status: found.status, role: role as WorkspaceRole }]
            : []
        }),
      )
      return {
        operator: { id, email, name, subject },
        session: viewOf(session.id)(session),
        mfa: {
          enrolled: hasSecondFactor,
          required: needsSecondFactor(roles),
          recovery_codes_left: await recoveryCodesLeft(db, id),
        },
        platform_roles: roles.flatMap(({ workspaceId, role }) => (workspaceId === null ? [role] : [])),
        workspaces: workspaces.flat(),
        permissions: [
          ...(await permissionsIn(deps, session, roles, request.query.workspace_id?.toLowerCase())),
        ],
      }
    },
  )

  app.post(
    '/auth/token',
    {
      config,
      schema: {
        operationId: 'chooseWorkspace',
        tags,
        summary: 'Exchange the session for a token of one workspace, or of the platform',
        description: 'At most ten minutes; it ends with the session, and when the roles change.',
        body: schema.TokenBody,
        response: { 200: schema.WorkspaceTokenView },
      },
    },
    async (request, reply) => {
      const { session } = await anySession(request)
      const issued = await issueWorkspaceToken(deps, session, request.body.workspace_id?.toLowerCase())
      return reply.header('cache-control', 'no-store').send({
        access_token: issued.token,
        token_type: 'Bearer' as const,
        expires_in: issued.lifetimeSeconds,
        roles: [...issued.roles],
      })
    },
  )

  app.post(
    '/auth/logout',
    {
      config,
      schema: {
        operationId: 'logOut',
        tags,
        summary: 'End this session and the tokens that came from it',
        response: { 200: schema.DoneView },
      },
    },
    async (request) => {
      const call = await anySession(request)
      await own.endOwnSessions(deps, call, call.session.id)
      return { done: true }
    },
  )

  app.get(
    '/auth/sessions',
    {
      config,
      schema: {
        operationId: 'listOwnSessions',
        tags,
        summary: 'One’s own sessions',
        response: { 200: schema.SessionList },
      },
    },
    async (request) => {
      const { session } = await fullSession(request)
      return { data: (await listSessions(db, clock, session.operatorId)).map(viewOf(session.id)) }
    },
  )

  app.delete(
    '/auth/sessions',
    {
      config,
      schema: {
        operationId: 'endOwnSessions',
        tags,
        summary: 'End all of one’s own sessions, also this one',
        response: { 200: schema.DoneView },
      },
    },
    async (request) => {
      await own.endOwnSessions(deps, await fullSession(request), null)
      return { done: true }
    },
  )

  app.delete(
    '/auth/sessions/:id',
    {
      config,
      schema: {
        operationId: 'endOwnSession',
        tags,
        summary: 'End one of one’s own sessions',
        params: schema.SessionParams,
        response: { 200: schema.DoneView },
      },
    },
    async (request) => {
      await own.endOwnSessions(deps, await fullSession(request), request.params.id)
      return { done: true }
    },
  )

  app.post(
    '/auth/session/invitations',
    {
      config,
      schema: {
        operationId: 'acceptInvitationSignedOn',
        tags,
        summary: 'Accept an invitation with one’s account; gives another session',
        body: schema.AcceptSignedOnBody,
        response: { 200: SignedOnView },
      },
    },
    async (request, reply) => {
      const session = await acceptSignedOn(deps, await fullSession(request), new Secret(request.body.token))
      return reply.header('cache-control', 'no-store').send(viewSession(session))
    },
  )

  app.post(
    '/auth/password',
    {
      config,
      schema: {
        operationId: 'changePassword',
        tags,
        summary: 'Change one’s password; ends all sessions and gives another',
        body: schema.PasswordBody,
        response: { 200: SignedOnView },
      },
    },
    async (request, reply) => {
      const { current_password, new_password } = request.body
      const passwords = { present: new Secret(current_password), next: new Secret(new_password) }
      const session = await own.changePassword(deps, await fullSession(request), passwords)
      return reply.header('cache-control', 'no-store').send(viewSession(session))
    },
  )
}
