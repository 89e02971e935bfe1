import type { RouteSettings, WebhookRoute } from '../src/features/webhook-routes/webhook-routes.ts'
import { newId } from '../src/platform/ids.ts'
import type { WebhookHub } from './webhook-hub.ts'

export const CALL = {
  ...{ requestId: 'request-1', correlationId: 'correlation-1', traceId: 'a'.repeat(32) },
  traceparent: '',
}

/** Takes so many events of a route as ingress would, in the order of their ids; gives their inbox ids. */
export async function takeEvents(hub: WebhookHub, route: WebhookRoute, count: number): Promise<string[]> {
  const bytes = Buffer.from('{"id":"evt","amount":500}')
  const ids: string[] = []
  for (let at = 0; at < count; at += 1) {
    const [taken] = await hub.acceptEvents([
      {
        ...{ route, call: CALL, evidence: null, source: 'received', bytes, headers: {} },
        payload: JSON.parse(bytes.toString()),
        event: {
          ...{ eventId: `evt_${newId()}`, type: 'invoice.paid', accounts: [], livemode: false },
          occurredAt: new Date(1_700_000_000_000),
        },
      },
    ])
    if (!taken) throw new Error('the route is gone')
    ids.push(taken.inboxId)
  }
  return ids
}

/** Pauses or resumes a route as its feature does, without audit. */
export const setPaused = (hub: WebhookHub, { id }: Pick<WebhookRoute, 'id'>, paused: boolean) =>
  hub.query(
    `update webhook_route
     set paused_at = case when $2 then now() end, paused_by = case when $2 then 'svc:test' end,
         paused_why = case when $2 then 'maintenance' end
     where id = $1`,
    [id, paused],
  )

/** A route of a workspace of its own. */
export async function freshRoute(
  hub: WebhookHub,
  settings: Partial<RouteSettings> = {},
): Promise<WebhookRoute> {
  const tenantId = await hub.workspace(`shop-${newId().slice(-12)}-dev`)
  return hub.route(tenantId, { secret: `whsec_${newId()}`, ...settings })
}

/** What the inbox says of events, in the given order. */
export async function inboxOf(hub: WebhookHub, ids: readonly string[]) {
  const rows = await hub.query<{ id: string; state: string; held_why: string | null; job_id: string | null }>(
    'select id, state, held_why, job_id from webhook_inbox where id = any($1) order by id',
    [ids],
  )
  return rows.map(({ id: _id, ...row }) => row)
}

/** Inbox ids of the jobs that are ready, in the order in which they are claimed. */
export const readyOf = async (hub: WebhookHub, { tenantId }: Pick<WebhookRoute, 'tenantId'>) =>
  (
    await hub.query<{ inbox_id: string }>(
      `select j.inbox_id from job_ready r join job j on j.tenant_id = r.tenant_id and j.id = r.job_id
       where r.tenant_id = $1 order by r.seq`,
      [tenantId],
    )
  ).map(({ inbox_id }) => inbox_id)
