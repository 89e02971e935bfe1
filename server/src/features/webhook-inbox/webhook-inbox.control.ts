import type { Db } from '../../platform/db/db.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { momentAt } from '../../platform/http/moment.ts'
import { decodeCursor, encodeCursor, pageOf } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import { authorOf } from '../audit/audit.ts'
import { compareSides } from './compare.ts'
import { findInbox, findPayloads } from './inbox.sql.ts'
import { type DetailDeps, getInboxDetail, inboxNotFound } from './inbox-detail.ts'
import { listInbox } from './list-inbox.ts'
import { planRoutes } from './plan-routes.ts'
import { RetryAnswer, RetryBody } from './plans.schema.ts'
import { retryOne } from './retry.ts'
import { type TimelineKey, timelineOf } from './timeline.ts'
import { comparisonView, detailView, entryView, timelineView } from './views.ts'
import {
  CompareQuery,
  ComparisonView,
  InboxDetail,
  InboxPage,
  InboxParams,
  InboxQuery,
  TimelinePage,
  TimelineQuery,
} from './webhook-inbox.schema.ts'

export interface InboxControlDeps extends DetailDeps {
  readonly db: Db
  readonly wakeUp: Pick<WakeUp, 'hint'>
  /** Of the payload store. Errors: `payload_gone`, `payload_store_unavailable`. */
  readonly readPayload: (tenantId: string, id: string) => Promise<Buffer>
  /** The active config version; 0 when there is none. */
  readonly configVersion: (tenantId: string) => Promise<number>
}

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined
const isTimelineKey = (parts: readonly unknown[]): parts is TimelineKey =>
  parts.length === 3 && parts.every(Number.isSafeInteger) && (parts[1] === 0 || parts[1] === 1)

/** `/webhook-inbox` of the control plane. */
export function webhookInboxControl(app: HttpServer, deps: InboxControlDeps): void {
  const { db, wakeUp } = deps
  const config = { access: { permission: 'webhook_inbox.read' } }
  const tags = ['webhook inbox']

  app.get(
    '/webhook-inbox',
    {
      config,
      schema: {
        operationId: 'listWebhookInbox',
        tags,
        summary: 'Accepted webhooks of this workspace, newest first',
        description:
          'A page looks at 2,000 rows at most: with a filter it may be short, even empty, and still have a `next_cursor`. Held, waiting, running, scheduled, retrying and dead events are found at once however rare they are; the last four come in the order of their deliveries.',
        querystring: InboxQuery,
        response: { 200: InboxPage },
      },
    },
    async ({ principal, query }) => {
      const { cursor, limit = 50, received_after: from, received_before: to } = query
      const { items, next } = await listInbox(db, {
        tenantId: principal.tenantId,
        provider: query.provider,
        type: query.type,
        account: query.account,
        routeId: query.route_id,
        status: query.status,
        receivedAfter: from === undefined ? undefined : momentAt('/query/received_after', from),
        receivedBefore: to === undefined ? undefined : momentAt('/query/received_before', to),
        eventId: query.event_id,
        traceId: query.trace_id,
        before: cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0],
        limit,
      })
      return { data: items.map(entryView), next_cursor: next === null ? null : encodeCursor([next]) }
    },
  )

  app.get(
    '/webhook-inbox/compare',
    {
      config,
      schema: {
        operationId: 'compareWebhooks',
        tags,
        summary: 'What two webhooks of the inbox differ in',
        querystring: CompareQuery,
        response: { 200: ComparisonView },
      },
    },
    async ({ principal: { tenantId }, query }) => {
      const side = async (id: string) => {
        if (!(await findInbox(db, { tenantId, id }))) throw inboxNotFound()
        const [payload] = await findPayloads(db, { tenantId, ids: [id] })
        const body =
          payload?.body ??
          (payload?.payload_id ? await deps.readPayload(tenantId, payload.payload_id) : undefined)
        return { body, headers: payload?.headers ?? {} }
      }
      return comparisonView(compareSides(await side(query.left), await side(query.right)))
    },
  )

  app.get(
    '/webhook-inbox/:id',
    {
      config,
      schema: {
        operationId: 'getWebhookInboxEntry',
        tags,
        summary: 'One accepted webhook with its payload, its evidence and what it waits for',
        params: InboxParams,
        response: { 200: InboxDetail },
      },
    },
    async ({ principal, params }) =>
      detailView(await getInboxDetail(db, deps, principal.tenantId, params.id)),
  )

  app.get(
    '/webhook-inbox/:id/timeline',
    {
      config,
      schema: {
        operationId: 'getWebhookTimeline',
        tags,
        summary: 'Everything that happened to a webhook, from its receipt to its last callback, oldest first',
        params: InboxParams,
        querystring: TimelineQuery,
        response: { 200: TimelinePage },
      },
    },
    async ({ principal, params, query: { cursor, limit = 50 } }) => {
      const after = cursor === undefined ? {} : { after: decodeCursor(cursor, isTimelineKey) }
      const of = { tenantId: principal.tenantId, id: params.id, limit: limit + 1, ...after }
      return pageOf(await timelineOf(db, of), limit, ({ key }) => key, timelineView)
    },
  )

  app.post(
    '/webhook-inbox/:id/retry',
    {
      config: { access: { permission: 'webhook_inbox.retry' } },
      schema: {
        operationId: 'retryWebhook',
        tags,
        summary: 'Deliver a webhook once more',
        description:
          'A dead letter is replayed; what waits for its next attempt (retrying, scheduled) has it now; what is done, cancelled, ignored or archived gets a new delivery of the same event. What goes on by itself answers 409, which says why.',
        params: InboxParams,
        body: RetryBody,
        response: { 202: RetryAnswer },
      },
    },
    async ({ principal, params, body, call }, reply) => {
      const change = { ...authorOf(principal), reason: body.reason, call }
      const { tenantId } = principal
      const of = { tenantId, id: params.id, newMessageId: body.new_message_id ?? null }
      const retried = await retryOne(db, deps, of, change)
      wakeUp.hint([retried])
      const { jobId: job_id, inboxId: inbox_id, newMessageId: new_message_id } = retried
      return reply.code(202).header('location', `/jobs/${job_id}`).send({ inbox_id, job_id, new_message_id })
    },
  )

  planRoutes(app, deps)
}
