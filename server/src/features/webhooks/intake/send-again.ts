import type { Db } from '../../../platform/db/db.ts'
import type { Tx } from '../../../platform/db/statement.ts'
import { appendEvents } from '../../../platform/event-log.ts'
import { pickNamedLetters, replayLetters, whereaboutsOf } from '../../../queue/dead-letters.ts'
import type { LaneKey } from '../../../queue/job.ts'
import { deliverKeptEvents, lineOf } from './lines.ts'
import { type CopyRow, findErased, holdIgnored } from './take.sql.ts'
import type { AcceptedWebhook, VerifiedWebhook } from './verified-webhook.ts'

export { findErased } from './take.sql.ts'

/** A copy of an event that was taken before, and the event as it is now. */
export interface Copy extends AcceptedWebhook {
  readonly copyOf: CopyRow
  readonly webhook: VerifiedWebhook
}

/**
 * A provider that sends an event again asks for it to be delivered. So one whose delivery is a dead letter, one that is
 * held though nothing holds it any more, and one that was ignored by a filter that takes it now, goes on its way again.
 * What is done, under way, cancelled, erased, aborted by its receiver or put into the bin stays as it is: the first two
 * need nothing, the others are the decision of a person or of the product. So does an event whose inbox row is no longer kept: retention keeps those that are not
 * delivered. A delivery that was dead has lost its place in its line and runs at once. Gives the lanes to be woken.
 */
export async function sendAgain(db: Db, { copyOf, webhook }: Copy): Promise<readonly LaneKey[]> {
  const { inbox_id: inboxId, state, job_id: jobId, dead } = copyOf
  if (!dead && state !== 'held' && state !== 'ignored') return []
  const [payload] = await findErased(db, { tenantId: webhook.route.tenantId, ids: [inboxId] })
  if (payload?.erased) return []
  if (state === 'accepted' && dead && jobId !== null)
    return db.transaction((tx) => replay(tx, webhook, inboxId, jobId))
  if (state === 'held' || state === 'ignored')
    return db.transaction((tx) => deliver(tx, webhook, inboxId, state))
  return []
}

/** As in `take_webhooks`, which saves this step; the letter may have changed since. */
const ABORTED = 'aborted_by_receiver'
const AGAIN = 'The provider sent the event again'

async function replay(
  tx: Tx,
  webhook: VerifiedWebhook,
  inboxId: string,
  jobId: string,
): Promise<readonly LaneKey[]> {
  const { tenantId } = webhook.route
  const where = (await whereaboutsOf(tx, tenantId, [jobId])).get(jobId)
  if (where?.place !== 'dead_letter') return []
  const scope = { tenantId, queue: where.queue, binned: false, ids: [jobId] }
  const [letter] = await pickNamedLetters(tx, scope)
  if (!letter?.kept || letter.reason === ABORTED) return []
  await tell(tx, webhook, inboxId, `${AGAIN}: its delivery, a dead letter, is replayed.`, 'dead')
  const actor = `the provider ${webhook.route.provider}`
  return replayLetters(tx, {
    tenantId,
    ids: [jobId],
    actor,
    why: `${AGAIN}.`,
    planId: null,
    newEffect: false,
  })
}

async function deliver(
  tx: Tx,
  webhook: VerifiedWebhook,
  inboxId: string,
  was: 'held' | 'ignored',
): Promise<readonly LaneKey[]> {
  const { route, payload, delivery, reception } = webhook
  const job = delivery?.(inboxId)
  if (job) {
    const why = `${AGAIN}, and nothing is in its way now.`
    const { moved, lanes } = await deliverKeptEvents(tx, [
      { job, routeId: route.id, line: lineOf(route, payload), why },
    ])
    if (moved.length > 0)
      await tell(tx, webhook, inboxId, `${AGAIN}: it was ${was} and is delivered now.`, was)
    return lanes
  }
  if (was !== 'ignored' || reception.state !== 'held') return []
  const held = await holdIgnored(tx, { tenantId: route.tenantId, id: inboxId, why: reception.why })
  if (held > 0) await tell(tx, webhook, inboxId, `${AGAIN}: it was ignored and is held now.`, was)
  return []
}

const tell = (
  tx: Tx,
  { call, event, route, source }: VerifiedWebhook,
  inboxId: string,
  message: string,
  was: 'dead' | 'held' | 'ignored',
) =>
  appendEvents(tx, {
    events: [
      {
        tenant_id: route.tenantId,
        type: 'webhook.rearmed',
        message,
        connector: route.connector,
        inbox_id: inboxId,
        request_id: call.requestId,
        correlation_id: call.correlationId,
        trace_id: call.traceId,
        data: {
          provider: route.provider,
          route_id: route.id,
          event_id: event.eventId,
          event_type: event.type,
          source,
          was,
        },
      },
    ],
  })
