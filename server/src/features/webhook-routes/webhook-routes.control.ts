import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { authorOf } from '../audit/audit.ts'
import type { RouteSettings } from './route.ts'
import {
  DeleteRouteQuery,
  NewRouteBody,
  RouteGone,
  RoutePage,
  RouteParams,
  RoutesQuery,
  RouteView,
} from './webhook-routes.schema.ts'
import {
  createRoute,
  deleteRoute,
  fieldsOf,
  getRoute,
  listRoutes,
  type RouteChecks,
  settingsOf,
  type WebhookRoute,
} from './webhook-routes.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const wanted = (body: NewRouteBody): RouteSettings =>
  settingsOf({ account: null, queue: 'webhook', event_types: ['*'], emit_on_delivery: [], ...body })

const view = (route: WebhookRoute): RouteView => ({
  id: route.id,
  ...fieldsOf(route),
  paths: [`/webhooks/${route.provider}`, `/webhooks/${route.provider}/${route.id}`],
  created_at: route.createdAt.toISOString(),
  created_by: route.createdBy,
})

/** `/webhook-routes` of the control plane. */
export function webhookRoutesControl(
  app: HttpServer,
  { db, checks }: { readonly db: Db; readonly checks: RouteChecks },
): void {
  const read = { access: { permission: 'webhook_routes.read' } }
  const write = { access: { permission: 'webhook_routes.write' } }
  const tags = ['webhook routes']

  app.post(
    '/webhook-routes',
    {
      config: write,
      schema: {
        operationId: 'createWebhookRoute',
        tags,
        summary: 'Bind an account of a provider to this workspace',
        body: NewRouteBody,
        response: { 201: RouteView },
      },
    },
    async ({ principal, body, call }, reply) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      const route = await createRoute({ db, checks }, principal.tenantId, wanted(body), change)
      return reply.code(201).header('location', `/webhook-routes/${route.id}`).send(view(route))
    },
  )

  app.get(
    '/webhook-routes',
    {
      config: read,
      schema: {
        operationId: 'listWebhookRoutes',
        tags,
        summary: 'Webhook routes of this workspace, newest first',
        querystring: RoutesQuery,
        response: { 200: RoutePage },
      },
    },
    async ({ principal, query: { cursor, limit = 50, provider } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const routes = await listRoutes(db, {
        tenantId: principal.tenantId,
        provider,
        beforeId,
        limit: limit + 1,
      })
      return pageOf(routes, limit, ({ id }) => [id], view)
    },
  )

  app.get(
    '/webhook-routes/:id',
    {
      config: read,
      schema: {
        operationId: 'getWebhookRoute',
        tags,
        summary: 'One webhook route',
        params: RouteParams,
        response: { 200: RouteView },
      },
    },
    async ({ principal, params }) => view(await getRoute(db, principal.tenantId, params.id)),
  )

  app.delete(
    '/webhook-routes/:id',
    {
      config: write,
      schema: {
        operationId: 'deleteWebhookRoute',
        tags,
        summary: 'Delete a webhook route; its events are refused from now on',
        params: RouteParams,
        querystring: DeleteRouteQuery,
        response: { 204: RouteGone },
      },
    },
    async ({ principal, params, query, call }, reply) => {
      const change = { ...authorOf(principal), reason: query.reason, call }
      await deleteRoute(db, principal.tenantId, params.id, change)
      return reply.code(204).send(null)
    },
  )
}
