import { ownCall } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { Problem } from '../../problems.ts'
import type { RouteIndex } from '../webhook-routes/webhook-routes.ts'
import { type AcceptEvents, eventToTake, findWebhookProvider, readWebhook } from '../webhooks/webhooks.ts'
import type { AskedRoute } from './asking.ts'
import { unreadable } from './gap-source.ts'
import { endGap, type GapRow } from './webhook-gaps.sql.ts'

export interface PullDeps {
  readonly db: Db
  readonly acceptEvents: AcceptEvents
}

export type Pulled = 'pulled' | 'arrived' | 'dismissed'

/**
 * Fetches an event and takes it as if it had arrived: the same reception, intake and dedupe key, so that a copy that
 * comes by itself meanwhile is a duplicate. Errors: those of the source and of the intake.
 */
export async function pullGap(
  { db, acceptEvents }: PullDeps,
  routes: RouteIndex,
  { source, asking }: AskedRoute,
  gap: GapRow,
): Promise<Pulled> {
  const { route } = asking
  const { tenant_id: tenantId, id } = gap
  const by = gap.changed_by ?? 'hub'
  const provider = findWebhookProvider(route.provider)
  if (!provider) throw new Problem('upstream_error', 'This hub does not know the provider any more.')
  const { headers, bytes } = await source.fetch(asking, gap.handle)
  // Nothing is verified here, so the time says only when it happened.
  const request = readWebhook(
    { provider, routeId: route.id, raw: bytes, headers, url: undefined },
    gap.occurred_at.getTime(),
  )
  const [event, ...more] = provider.events(request.parsed, request.signed, route.settings)
  if (event?.eventId !== gap.event_id || more.length > 0)
    throw unreadable('it is another event than the one that was listed')
  const misplaced = whyNotOf(routes, route, provider.accounts, event)
  if (misplaced) {
    await endGap(db, { tenantId, id, state: 'dismissed', inboxId: null, by: 'hub', why: misplaced })
    return 'dismissed'
  }
  const call = ownCall()
  const [taken] = await acceptEvents([
    eventToTake(request, { event, route, evidence: null }, { call, source: 'pulled' }),
  ])
  if (!taken) throw new Problem('not_found', 'The webhook route is gone.')
  const state = taken.duplicate ? 'arrived' : 'pulled'
  await db.transaction(async (tx) => {
    const why = gap.why ?? 'Pulled in at once, as the route says.'
    const inboxId = taken.inboxId
    if ((await endGap(tx, { tenantId, id, state, inboxId, by, why })) === 0 || taken.duplicate) return
    await appendEvents(tx, {
      events: [
        {
          tenant_id: tenantId,
          type: 'webhook.gap_pulled',
          message: 'An event that never arrived was pulled out of the list of its provider.',
          connector: route.connector,
          inbox_id: inboxId,
          request_id: call.requestId,
          correlation_id: call.correlationId,
          trace_id: call.traceId,
          data: {
            provider: route.provider,
            route_id: route.id,
            event_id: gap.event_id,
            event_type: gap.event_type,
            // Its API gives a value, and the hub has written that down.
            bytes_as_sent: false,
            by,
          },
        },
      ],
    })
  })
  return state
}

type TheirEvent = ReturnType<NonNullable<ReturnType<typeof findWebhookProvider>>['events']>[number]

/** Why an event is not the route's: by the rules that hold for one that is received; undefined when it is. */
function whyNotOf(
  routes: RouteIndex,
  route: AskedRoute['asking']['route'],
  taken: 'claimed' | 'any',
  { accounts, livemode }: TheirEvent,
): string | undefined {
  if (livemode !== null && livemode !== route.livemode) return 'It is of the other mode than the route.'
  if (route.account !== null)
    // Asked for one account, a provider may leave its name out of the answer.
    return accounts.length > 0 && !accounts.includes(route.account)
      ? 'It is of another account than the route.'
      : undefined
  if (accounts.length > 0 && taken === 'claimed') return 'It is of another account than the route.'
  const claimed = accounts.some((account) => routes.claimedBy(route.provider, account, route.livemode))
  return claimed ? 'Another route has its account.' : undefined
}
