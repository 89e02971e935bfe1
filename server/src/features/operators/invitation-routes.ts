import type { Principal } from '../../platform/auth/principal.ts'
import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import type { HttpServer } from '../../platform/http/server.ts'
import { authorOf } from '../audit/audit.ts'
import type { PermissionName } from '../permissions/permissions.ts'
import { listInvitations, resendInvitation, revokeInvitation } from './invitations.ts'
import * as schema from './members.schema.ts'
import { isIdKey, viewInvitation, viewWithToken } from './members.views.ts'
import { DoneView } from './own-account.schema.ts'

export const DEFAULT_HOURS = 72

/** Whose invitations they are: those of the caller's workspace, or all of the hub. */
export interface InvitationPlace {
  readonly path: '/invitations' | '/operators/invitations'
  readonly tag: string
  readonly read: PermissionName
  readonly write: PermissionName
  readonly byPlatform: boolean
  readonly list: { readonly operationId: string; readonly summary: string }
  readonly resendId: string
  readonly revokeId: string
}

/** Seeing open invitations, sending one again, revoking one. To invite differs by who may invite to what. */
export function addInvitationRoutes(
  app: HttpServer,
  deps: { readonly db: Db; readonly clock: Clock },
  place: InvitationPlace,
): void {
  const { path, byPlatform } = place
  const tags = [place.tag]
  const write = { access: { permission: place.write } }
  const workspaceOf = ({ tenantId }: Principal): string | null => (byPlatform ? null : tenantId)

  app.get(
    path,
    {
      config: { access: { permission: place.read } },
      schema: {
        ...place.list,
        tags,
        querystring: schema.PeopleQuery,
        response: { 200: schema.InvitationPage },
      },
    },
    async ({ principal, query: { cursor, limit = 50 } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isIdKey)[0]
      const filter = { workspaceId: workspaceOf(principal), beforeId, limit: limit + 1 }
      return pageOf(await listInvitations(deps, filter), limit, ({ id }) => [id], viewInvitation)
    },
  )

  app.post(
    `${path}/:id/resend`,
    {
      config: write,
      schema: {
        operationId: place.resendId,
        tags,
        summary: 'Give an invitation another token; the one before is worth nothing',
        params: schema.InvitationParams,
        body: schema.ResendBody,
        response: { 200: schema.InvitationWithTokenView },
      },
    },
    async ({ principal, params: { id }, body: { hours = DEFAULT_HOURS, reason }, call }, reply) => {
      const key = { id, workspaceId: workspaceOf(principal), hours, byPlatform }
      const resent = await resendInvitation(deps, key, { ...authorOf(principal), reason, call })
      return reply.header('cache-control', 'no-store').send(viewWithToken(resent))
    },
  )

  app.delete(
    `${path}/:id`,
    {
      config: write,
      schema: {
        operationId: place.revokeId,
        tags,
        summary: 'Revoke an invitation',
        params: schema.InvitationParams,
        querystring: schema.ReasonQuery,
        response: { 200: DoneView },
      },
    },
    async ({ principal, params: { id }, query: { reason }, call }) => {
      const key = { id, workspaceId: workspaceOf(principal) }
      await revokeInvitation(deps, key, { ...authorOf(principal), reason, call })
      return { done: true }
    },
  )
}
