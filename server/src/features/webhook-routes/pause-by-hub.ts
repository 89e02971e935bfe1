import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { recordAudit } from '../audit/audit.ts'
import { pauseIfItDelivers } from './pause-by-hub.sql.ts'

/** Who pauses a route of which the receiver says that it is gone. */
export const HUB = 'hub'

/** A delivery whose receiver is gone. */
export interface GoneReceiver {
  readonly tenantId: string
  readonly routeId: string
  /** The connector that the delivery went to. */
  readonly connector: string
  readonly why: string
  readonly jobId: string
  readonly inboxId: string | null
  readonly call: CallContext
}

/**
 * Pauses the route of a delivery whose receiver is gone for good, with its audit entry and the event that alarms,
 * once however many deliveries hear the same. `paused`: by this call; `known`: it was paused before; `elsewhere`: the
 * route delivers to another connector by now; undefined: the route is gone.
 */
export const pauseRouteByHub = (
  db: Db,
  gone: GoneReceiver,
): Promise<'paused' | 'known' | 'elsewhere' | undefined> =>
  db.transaction(async (tx) => {
    const { tenantId, routeId, connector, why, call } = gone
    const route = await pauseIfItDelivers(tx, { tenantId, id: routeId, connector, by: HUB, why })
    if (!route) return undefined
    if (route.connector !== connector) return 'elsewhere'
    if (!route.paused_now) return 'known'
    await appendEvents(tx, {
      events: [
        {
          tenant_id: tenantId,
          type: 'webhook_route.paused',
          severity: 'error',
          message: why,
          connector,
          job_id: gone.jobId,
          inbox_id: gone.inboxId ?? undefined,
          request_id: call.requestId,
          correlation_id: call.correlationId,
          trace_id: call.traceId,
          data: { route_id: routeId, provider: route.provider, by: HUB, reason: why },
        },
      ],
    })
    await recordAudit(tx, {
      actor: HUB,
      reason: why,
      call,
      tenantId,
      action: 'webhook_route.paused',
      object: `webhook_route:${routeId}`,
      diff: [{ path: '/paused', before: null, after: { by: HUB, why } }],
    })
    return 'paused'
  })
