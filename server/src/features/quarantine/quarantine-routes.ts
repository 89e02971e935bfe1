import type { Principal } from '../../platform/auth/principal.ts'
import type { CallContext } from '../../platform/call-context.ts'
import type { Clock } from '../../platform/clock.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { momentAt } from '../../platform/http/moment.ts'
import { decodeCursor, encodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { authorOf, type Change } from '../audit/audit.ts'
import {
  Discarded,
  DiscardManyBody,
  ManyDiscarded,
  ManyVerifiedView,
  QuarantineDetail,
  QuarantinePage,
  QuarantineParams,
  QuarantineQuery,
  ReasonBody,
  Verified,
  VerifyManyBody,
} from './quarantine.schema.ts'
import {
  discardMany,
  discardQuarantined,
  getQuarantined,
  listQuarantine,
  type VerifyDeps,
  verifyMany,
  verifyQuarantined,
  whereTo,
} from './quarantine.ts'
import { detailView, entryView } from './quarantine.views.ts'

/** One quarantine under one path: that of the caller's workspace, or that of no workspace. */
export interface QuarantineRouteOptions {
  readonly path: string
  readonly read: string
  readonly release: string
  /** Ends of the operation ids, and what is said of whose it is. */
  readonly operation: string
  readonly whose: string
  readonly tenantOf: (principal: Principal) => string
}

export type QuarantineRouteDeps = VerifyDeps & { readonly clock: Clock }

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const MANY = 100
const MANY_DISCARDED = 1_000

interface Filter {
  readonly provider?: string
  readonly route_id?: string
  readonly from?: string
  readonly to?: string
}

/** Without the reason: there it is why the caller asks. */
const filterOf = ({ provider, route_id, from, to }: Filter, where: string) => ({
  ...{ provider, routeId: route_id },
  from: from === undefined ? undefined : momentAt(`${where}/from`, from),
  to: to === undefined ? undefined : momentAt(`${where}/to`, to),
})

export const changeOf = (principal: Principal, reason: string, call: CallContext): Change => ({
  ...authorOf(principal),
  reason,
  call,
})

export function addQuarantineRoutes(
  app: HttpServer,
  deps: QuarantineRouteDeps,
  { path, read, release, operation, whose, tenantOf }: QuarantineRouteOptions,
): void {
  const tags = ['quarantine']
  const mayRead = { access: { permission: read } }
  const mayRelease = { access: { permission: release } }

  app.get(
    path,
    {
      config: mayRead,
      schema: {
        operationId: `list${operation}`,
        tags,
        summary: `Refused webhooks in the quarantine of ${whose}, newest first`,
        querystring: QuarantineQuery,
        response: { 200: QuarantinePage },
      },
    },
    async ({ principal, query }) => {
      const { cursor, limit = 50, state, reason } = query
      const rows = await listQuarantine(deps.db, {
        tenantId: tenantOf(principal),
        ...filterOf(query, '/query'),
        ...{ state, reason },
        beforeId: cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0],
        limit: limit + 1,
      })
      return pageOf(rows, limit, ({ id }) => [id], entryView)
    },
  )

  app.get(
    `${path}/:id`,
    {
      config: mayRead,
      schema: {
        operationId: `get${operation}Entry`,
        tags,
        summary: 'One refused webhook with its payload and headers',
        params: QuarantineParams,
        response: { 200: QuarantineDetail },
      },
    },
    async ({ principal, params }) =>
      detailView(await getQuarantined(deps.db, { tenantId: tenantOf(principal), id: params.id })),
  )

  app.post(
    `${path}/:id/verify`,
    {
      config: mayRelease,
      schema: {
        operationId: `verify${operation}Entry`,
        tags,
        summary: 'Verify it again, and release it when exactly one route takes it',
        params: QuarantineParams,
        body: ReasonBody,
        response: { 200: Verified },
      },
    },
    async ({ principal, params, body, call }) => {
      const key = { tenantId: tenantOf(principal), id: params.id }
      const outcome = await verifyQuarantined(deps, key, changeOf(principal, body.reason, call))
      return {
        released: outcome.released,
        reason: outcome.released ? null : outcome.cause,
        judged_at: 'receipt' as const,
        released_to: outcome.released ? whereTo(key.tenantId, outcome.targets) : [],
      }
    },
  )

  app.post(
    `${path}/verify`,
    {
      config: mayRelease,
      schema: {
        operationId: `verifyMany${operation}`,
        tags,
        summary: 'Verify what fits the filter again, newest first: for after a secret or a route was mended',
        description:
          'Looks at what is kept, for a few seconds at most; `next_cursor` says where to go on. The filter on the reason of the refusal is `refused_for`.',
        body: VerifyManyBody,
        response: { 200: ManyVerifiedView },
      },
    },
    async ({ principal, body, call }) => {
      const { cursor, limit = MANY } = body
      const filter = {
        tenantId: tenantOf(principal),
        ...filterOf(body, '/body'),
        ...{ reason: body.refused_for, state: 'kept' as const },
        beforeId: cursor === undefined ? undefined : decodeCursor(cursor, isKey, '/body/cursor')[0],
        limit,
      }
      const many = await verifyMany(deps, filter, changeOf(principal, body.reason, call))
      return {
        ...{ examined: many.examined, released: many.released, refused: { ...many.refused } },
        judged_at: 'receipt' as const,
        next_cursor: many.next === null ? null : encodeCursor([many.next]),
      }
    },
  )

  app.post(
    `${path}/discard`,
    {
      config: mayRelease,
      schema: {
        operationId: `discardMany${operation}`,
        tags,
        summary: 'Remove the bytes of what is kept and fits the filter for good, oldest first',
        description: 'All or none of them. The filter on the reason of the refusal is `refused_for`.',
        body: DiscardManyBody,
        response: { 200: ManyDiscarded },
      },
    },
    async ({ principal, body, call }) => {
      const filter = {
        tenantId: tenantOf(principal),
        ...filterOf(body, '/body'),
        ...{ reason: body.refused_for, limit: body.limit ?? MANY_DISCARDED },
      }
      return { discarded: await discardMany(deps, filter, changeOf(principal, body.reason, call)) }
    },
  )

  app.post(
    `${path}/:id/discard`,
    {
      config: mayRelease,
      schema: {
        operationId: `discard${operation}Entry`,
        tags,
        summary: 'Remove its bytes for good',
        params: QuarantineParams,
        body: ReasonBody,
        response: { 204: Discarded },
      },
    },
    async ({ principal, params, body, call }, reply) => {
      const key = { tenantId: tenantOf(principal), id: params.id }
      await discardQuarantined(deps, key, changeOf(principal, body.reason, call))
      return reply.code(204).send(null)
    },
  )
}
