import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import type { HttpServer } from '../../platform/http/server.ts'
import { authorOf } from '../audit/audit.ts'
import { addInvitationRoutes, DEFAULT_HOURS } from './invitation-routes.ts'
import { invite } from './invitations.ts'
import * as schema from './members.schema.ts'
import { isIdKey, viewMember, viewWithToken } from './members.views.ts'
import { DoneView } from './own-account.schema.ts'
import { getMember, listMembers, removeMember, setMemberRole } from './roles.ts'

export interface MembersDeps {
  /** Sees all workspaces: operators belong to none. Each statement names the workspace of the token. */
  readonly db: Db
  readonly clock: Clock
}

/** `/members` and `/invitations`: who may work in the workspace of the token. */
export function membersControl(app: HttpServer, deps: MembersDeps): void {
  const { db } = deps
  const read = { access: { permission: 'members.read' } }
  const write = { access: { permission: 'members.write' } }
  const tags = ['members']

  app.get(
    '/members',
    {
      config: read,
      schema: {
        operationId: 'listMembers',
        tags,
        summary: 'Who has a role in this workspace, in the order of their accounts',
        querystring: schema.PeopleQuery,
        response: { 200: schema.MemberPage },
      },
    },
    async ({ principal, query: { cursor, limit = 50 } }) => {
      const afterId = cursor === undefined ? undefined : decodeCursor(cursor, isIdKey)[0]
      const rows = await listMembers(db, { workspaceId: principal.tenantId, afterId, limit: limit + 1 })
      return pageOf(rows, limit, ({ id }) => [id], viewMember)
    },
  )

  app.get(
    '/members/:id',
    {
      config: read,
      schema: {
        operationId: 'getMember',
        tags,
        summary: 'Somebody who has a role in this workspace',
        params: schema.OperatorParams,
        response: { 200: schema.MemberView },
      },
    },
    async ({ principal, params: { id } }) =>
      viewMember(await getMember(db, { workspaceId: principal.tenantId, operatorId: id })),
  )

  app.put(
    '/members/:id',
    {
      config: write,
      schema: {
        operationId: 'setMemberRole',
        tags,
        summary: 'Give a member another role; their tokens of this workspace end',
        params: schema.OperatorParams,
        body: schema.MemberRoleBody,
        response: { 200: schema.MemberView },
      },
    },
    async ({ principal, params: { id }, body: { role, reason }, call }) => {
      const key = { workspaceId: principal.tenantId, operatorId: id, role }
      return viewMember(await setMemberRole(deps, key, { ...authorOf(principal), reason, call }))
    },
  )

  app.delete(
    '/members/:id',
    {
      config: write,
      schema: {
        operationId: 'removeMember',
        tags,
        summary: 'Take a member’s role away; their tokens of this workspace end',
        params: schema.OperatorParams,
        querystring: schema.ReasonQuery,
        response: { 200: DoneView },
      },
    },
    async ({ principal, params: { id }, query: { reason }, call }) => {
      const key = { workspaceId: principal.tenantId, operatorId: id }
      await removeMember(deps, key, { ...authorOf(principal), reason, call })
      return { done: true }
    },
  )

  app.post(
    '/invitations',
    {
      config: write,
      schema: {
        operationId: 'inviteMember',
        tags,
        summary: 'Invite somebody into this workspace; the token is shown once',
        body: schema.InviteMemberBody,
        response: { 201: schema.InvitationWithTokenView },
      },
    },
    async ({ principal, body: { email, role, hours = DEFAULT_HOURS, reason }, call }, reply) => {
      const invites = { workspaceId: principal.tenantId, role }
      const change = { ...authorOf(principal), reason, call }
      const invited = await invite(deps, { email, invites, hours, byPlatform: false }, change)
      return reply.code(201).header('cache-control', 'no-store').send(viewWithToken(invited))
    },
  )

  addInvitationRoutes(app, deps, {
    path: '/invitations',
    tag: 'members',
    read: 'members.read',
    write: 'members.write',
    byPlatform: false,
    list: {
      operationId: 'listInvitations',
      summary: 'Open invitations into this workspace, newest first',
    },
    resendId: 'resendInvitation',
    revokeId: 'revokeInvitation',
  })
}
