import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { authorOf } from '../audit/audit.ts'
import {
  CheckCalled,
  CheckNowBody,
  CheckPage,
  ChecksQuery,
  type CheckView,
  DismissBody,
  GapPage,
  GapParams,
  GapsQuery,
  GapView,
  PullBody,
  PullCalled,
} from './webhook-gaps.schema.ts'
import {
  type CheckRow,
  callForCheck,
  dismissGap,
  type GapRow,
  listChecks,
  listGaps,
  wantPulled,
} from './webhook-gaps.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const textOf = (date: Date | null): string | null => date?.toISOString() ?? null

const gapView = ({ tenant_id: _, handle: __, ...gap }: GapRow): GapView => ({
  ...gap,
  occurred_at: gap.occurred_at.toISOString(),
  first_seen_at: gap.first_seen_at.toISOString(),
  pull_at: textOf(gap.pull_at),
  changed_at: textOf(gap.changed_at),
})

const checkView = (check: CheckRow): CheckView => ({
  ...check,
  due_at: textOf(check.due_at),
  looked_until: textOf(check.looked_until),
  last_checked_at: textOf(check.last_checked_at),
  last_failed_at: textOf(check.last_failed_at),
})

/** `/webhook-gaps` of the control plane. The work itself is done by workers. */
export function webhookGapsControl(app: HttpServer, { db }: { readonly db: Db }): void {
  const read = { access: { permission: 'webhook_gaps.read' } }
  const control = { access: { permission: 'webhook_gaps.control' } }
  const tags = ['webhook gaps']

  app.get(
    '/webhook-gaps',
    {
      config: read,
      schema: {
        operationId: 'listWebhookGaps',
        tags,
        summary: 'Events that a provider lists and that never arrived, newest first',
        querystring: GapsQuery,
        response: { 200: GapPage },
      },
    },
    async ({ principal, query: { cursor, limit = 50, route_id, state } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const { tenantId } = principal
      const gaps = await listGaps(db, { tenantId, routeId: route_id, state, beforeId, limit: limit + 1 })
      return pageOf(gaps, limit, ({ id }) => [id], gapView)
    },
  )

  app.get(
    '/webhook-gaps/checks',
    {
      config: read,
      schema: {
        operationId: 'listWebhookGapChecks',
        tags,
        summary: 'Webhook routes that are held against the list of their provider, and how that goes',
        querystring: ChecksQuery,
        response: { 200: CheckPage },
      },
    },
    async ({ principal, query: { cursor, limit = 50 } }) => {
      const beforeId = cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0]
      const checks = await listChecks(db, { tenantId: principal.tenantId, beforeId, limit: limit + 1 })
      return pageOf(checks, limit, ({ route_id }) => [route_id], checkView)
    },
  )

  app.post(
    '/webhook-gaps/check',
    {
      config: control,
      schema: {
        operationId: 'checkWebhookGaps',
        tags,
        summary: 'Check a webhook route now',
        body: CheckNowBody,
        response: { 202: CheckCalled },
      },
    },
    async ({ principal, body: { route_id: routeId, reason }, call }, reply) => {
      const { tenantId } = principal
      await callForCheck(db, { tenantId, routeId }, { ...authorOf(principal), reason, call })
      return reply.code(202).send({ route_id: routeId })
    },
  )

  app.post(
    '/webhook-gaps/pull',
    {
      config: control,
      schema: {
        operationId: 'pullWebhookGaps',
        tags,
        summary: 'Pull missing events in as if they had arrived',
        body: PullBody,
        response: { 202: PullCalled },
      },
    },
    async ({ principal, body: { ids, route_id: routeId, reason }, call }, reply) => {
      if ((ids === undefined) === (routeId === undefined))
        throw new Problem('validation_error', 'Say which: either ids or route_id.', {
          details: [{ path: '/body', message: 'must have exactly one of ids and route_id' }],
        })
      const { tenantId } = principal
      const change = { ...authorOf(principal), reason, call }
      return reply.code(202).send({ requested: await wantPulled(db, { tenantId, ids, routeId }, change) })
    },
  )

  app.post(
    '/webhook-gaps/:id/dismiss',
    {
      config: control,
      schema: {
        operationId: 'dismissWebhookGap',
        tags,
        summary: 'Say that a missing event is not wanted',
        params: GapParams,
        body: DismissBody,
        response: { 200: GapView },
      },
    },
    async ({ principal, params: { id }, body: { reason }, call }) => {
      const { tenantId } = principal
      return gapView(await dismissGap(db, { tenantId, id }, { ...authorOf(principal), reason, call }))
    },
  )
}
