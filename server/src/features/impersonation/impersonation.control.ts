import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { authorOf } from '../audit/audit.ts'
import {
  ImpersonationPage,
  ImpersonationParams,
  ImpersonationsQuery,
  ImpersonationView,
  StartBody,
  StartedImpersonation,
  StopBody,
} from './impersonation.schema.ts'
import {
  type Impersonation,
  type ImpersonationDeps,
  listImpersonations,
  startImpersonation,
  stopImpersonation,
} from './impersonation.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const view = (impersonation: Impersonation): ImpersonationView => ({
  id: impersonation.id,
  impersonator: impersonation.impersonator,
  subject: impersonation.subject,
  read_only: impersonation.readOnly,
  reason: impersonation.reason,
  started_at: impersonation.startedAt.toISOString(),
  expires_at: impersonation.expiresAt.toISOString(),
  ended_at: impersonation.endedAt?.toISOString() ?? null,
  ended_by: impersonation.endedBy,
  active: impersonation.active,
})

/** `/impersonation` of the control plane: start, stop, and who acted as whom. */
export function impersonationControl(app: HttpServer, deps: ImpersonationDeps): void {
  const start = { access: { permission: 'impersonation.start' } }
  const tags = ['impersonation']

  app.post(
    '/impersonation',
    {
      config: start,
      schema: {
        operationId: 'startImpersonation',
        tags,
        summary: 'Act as a member of this workspace for a while; only seeing, unless writing is asked for',
        body: StartBody,
        response: { 201: StartedImpersonation },
      },
    },
    async ({ principal, body, call }, reply) => {
      const { impersonation, token } = await startImpersonation(
        deps,
        principal,
        { operatorId: body.operator_id, minutes: body.minutes ?? 15, readOnly: body.write !== true },
        { ...authorOf(principal), reason: body.reason, call },
      )
      return reply
        .code(201)
        .header('cache-control', 'no-store')
        .send({ ...view(impersonation), access_token: token.reveal() })
    },
  )

  app.post(
    '/impersonation/:id/stop',
    {
      config: start,
      schema: {
        operationId: 'stopImpersonation',
        tags,
        summary: 'Stop an impersonation before its time',
        params: ImpersonationParams,
        body: StopBody,
        response: { 200: ImpersonationView },
      },
    },
    async ({ principal, params: { id }, body: { reason }, call }) => {
      const change = { ...authorOf(principal), reason, call }
      return view(await stopImpersonation(deps.db, { tenantId: principal.tenantId, id }, change))
    },
  )

  app.get(
    '/impersonation',
    {
      config: { access: { permission: 'impersonation.read' } },
      schema: {
        operationId: 'listImpersonations',
        tags,
        summary: 'Who acted as whom in this workspace, newest first',
        querystring: ImpersonationsQuery,
        response: { 200: ImpersonationPage },
      },
    },
    async ({ principal: { tenantId }, query: { cursor, limit = 50 } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const rows = await listImpersonations(deps.db, { tenantId, beforeId, limit: limit + 1 })
      return pageOf(rows, limit, ({ id }) => [id], view)
    },
  )
}
