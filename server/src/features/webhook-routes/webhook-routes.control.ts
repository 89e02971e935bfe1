import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { etagOf, versionSeen } from '../../platform/http/if-match.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { authorOf } from '../audit/audit.ts'
import type { RouteSettings } from './route.ts'
import {
  ChangeRouteBody,
  DeleteRouteQuery,
  NewRouteBody,
  PauseRouteBody,
  RouteGone,
  RouteIfMatch,
  RoutePage,
  RouteParams,
  RoutesQuery,
  RouteView,
} from './webhook-routes.schema.ts'
import {
  changeRoute,
  createRoute,
  deleteRoute,
  fieldsOf,
  getRoute,
  type HeldOf,
  listRoutes,
  type RouteChanges,
  type RouteChecks,
  setRoutePaused,
  settingsOf,
  type WebhookRoute,
} from './webhook-routes.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const wanted = (body: NewRouteBody): RouteSettings =>
  settingsOf({ account: null, queue: 'webhook', event_types: ['*'], emit_on_delivery: [], ...body })

/** What the body names, in the words of the hub. */
function changesOf(route: WebhookRoute, { reason: _, ...body }: ChangeRouteBody): RouteChanges {
  const { provider: _p, account: _a, livemode: _l, ...changes } = settingsOf({ ...fieldsOf(route), ...body })
  return changes
}

/** Whether the address without a route id finds a route. */
type IsFound = (route: WebhookRoute) => boolean

const view = (route: WebhookRoute, isFound: IsFound): RouteView => ({
  id: route.id,
  ...fieldsOf(route),
  paused: route.paused && { ...route.paused, at: route.paused.at.toISOString() },
  version: route.version,
  paths: [
    ...(isFound(route) ? [`/webhooks/${route.provider}`] : []),
    `/webhooks/${route.provider}/${route.id}`,
  ],
  created_at: route.createdAt.toISOString(),
  created_by: route.createdBy,
})

/** `/webhook-routes` of the control plane. */
export function webhookRoutesControl(
  app: HttpServer,
  {
    db,
    checks,
    plainRoutes,
    heldOf,
  }: {
    readonly db: Db
    readonly checks: RouteChecks
    /** With the routes of all workspaces as they are now. */
    readonly plainRoutes: () => Promise<IsFound>
    readonly heldOf: HeldOf
  },
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
      return reply
        .code(201)
        .header('location', `/webhook-routes/${route.id}`)
        .header('etag', etagOf(route.version))
        .send(view(route, await plainRoutes()))
    },
  )

  app.patch(
    '/webhook-routes/:id',
    {
      config: write,
      schema: {
        operationId: 'changeWebhookRoute',
        tags,
        summary: 'Change what a webhook route does with its events; whose they are never changes',
        params: RouteParams,
        headers: RouteIfMatch,
        body: ChangeRouteBody,
        response: { 200: RouteView },
      },
    },
    async ({ principal, params, headers, body, call }, reply) => {
      const { tenantId } = principal
      const change = { ...authorOf(principal), reason: body.reason, call }
      const target = { tenantId, id: params.id, seen: versionSeen(headers['if-match']) }
      const route = await changeRoute({ db, checks }, target, (before) => changesOf(before, body), change)
      return reply.header('etag', etagOf(route.version)).send(view(route, await plainRoutes()))
    },
  )

  for (const verb of ['pause', 'resume'] as const)
    app.post(
      `/webhook-routes/:id/${verb}`,
      {
        config: write,
        schema: {
          operationId: `${verb}WebhookRoute`,
          tags,
          summary:
            verb === 'pause'
              ? 'Take and hold the events of a webhook route from now on'
              : 'Deliver the events of a webhook route again, the held ones first',
          params: RouteParams,
          body: PauseRouteBody,
          response: { 200: RouteView },
        },
      },
      async ({ principal, params, body, call }, reply) => {
        const change = { ...authorOf(principal), reason: body.reason, call }
        const target = { tenantId: principal.tenantId, id: params.id }
        const route = await setRoutePaused(db, target, verb === 'pause', change)
        return reply.header('etag', etagOf(route.version)).send(view(route, await plainRoutes()))
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
      const isFound = await plainRoutes()
      return pageOf(
        routes,
        limit,
        ({ id }) => [id],
        (route) => view(route, isFound),
      )
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
    async ({ principal, params }, reply) => {
      const route = await getRoute(db, principal.tenantId, params.id)
      return reply.header('etag', etagOf(route.version)).send(view(route, await plainRoutes()))
    },
  )

  app.delete(
    '/webhook-routes/:id',
    {
      config: write,
      schema: {
        operationId: 'deleteWebhookRoute',
        tags,
        summary: 'Delete a webhook route; its events are refused from now on',
        description:
          'What was accepted is still delivered. A route that holds events is deleted only with `held=deliver`: without the route nothing keeps them back.',
        params: RouteParams,
        querystring: DeleteRouteQuery,
        response: { 204: RouteGone },
      },
    },
    async ({ principal, params, query, call }, reply) => {
      const change = { ...authorOf(principal), reason: query.reason, call }
      const unlessHeld = query.held === undefined ? heldOf : undefined
      await deleteRoute(db, principal.tenantId, params.id, change, unlessHeld)
      return reply.code(204).send(null)
    },
  )
}
