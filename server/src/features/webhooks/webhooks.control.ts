import type { HttpServer } from '../../platform/http/http-server.ts'
import { decodeCursor, encodeCursor } from '../../platform/http/page.ts'
import { timeOfId } from '../../platform/ids.ts'
import { getInboxItem, type InboxDeps, type InboxItem, listInboxItems } from './inbox.ts'
import { InboxDetail, type InboxEntry, InboxPage, InboxParams, InboxQuery } from './webhooks.schema.ts'

const isKey = (parts: readonly unknown[]): parts is readonly [string] =>
  parts.length === 1 && typeof parts[0] === 'string' && timeOfId(parts[0]) !== undefined

const view = ({ row, status }: InboxItem): InboxEntry => ({
  id: row.id,
  status,
  route_id: row.route_id,
  provider: row.provider,
  account: row.account,
  livemode: row.livemode,
  event_id: row.event_id,
  event_type: row.event_type,
  occurred_at: row.occurred_at.toISOString(),
  received_at: row.received_at.toISOString(),
  connector: row.connector,
  duplicates: row.duplicates,
  size: row.size,
  job_ids: row.job_id === null ? [] : [row.job_id],
  request_id: row.request_id,
  correlation_id: row.correlation_id,
  trace_id: row.trace_id,
})

/** `/webhook-inbox` of the control plane: reading only. */
export function webhooksControl(app: HttpServer, deps: InboxDeps): void {
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
          'With a filter on provider or type a page looks at 2,000 rows at most: it may be short and still have a `next_cursor`.',
        querystring: InboxQuery,
        response: { 200: InboxPage },
      },
    },
    async ({ principal, query }) => {
      const { cursor, limit = 50 } = query
      const { items, next } = await listInboxItems(deps, {
        tenantId: principal.tenantId,
        provider: query.provider,
        type: query.type,
        eventId: query.event_id,
        traceId: query.trace_id,
        beforeId: cursor === undefined ? undefined : decodeCursor(cursor, isKey)[0],
        limit,
      })
      return { data: items.map(view), next_cursor: next === null ? null : encodeCursor([next]) }
    },
  )

  app.get(
    '/webhook-inbox/:id',
    {
      config,
      schema: {
        operationId: 'getWebhookInboxEntry',
        tags,
        summary: 'One accepted webhook with its payload',
        params: InboxParams,
        response: { 200: InboxDetail },
      },
    },
    async ({ principal, params }) => {
      const { payload, ...item } = await getInboxItem(deps, principal.tenantId, params.id)
      return {
        ...view(item),
        secret_ref: item.row.secret_ref,
        headers: { ...payload?.headers },
        payload: payload?.text ?? null,
        payload_sha256: payload?.sha256 ?? null,
      }
    },
  )
}
