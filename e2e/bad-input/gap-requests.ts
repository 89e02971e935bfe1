/** One good request for each operation of the webhook gaps. */
import { REASON, type World } from './world.ts'

export function gapRequests({ routeId, gaps }: World) {
  const [dismissed, pulled] = gaps
  const reason = { reason: REASON }
  return {
    listWebhookGaps: { query: { limit: '10', route_id: routeId, state: 'missing' } },
    listWebhookGapChecks: { query: { limit: '10' } },
    checkWebhookGaps: { body: { route_id: routeId, ...reason } },
    pullWebhookGaps: { body: { ids: [pulled], ...reason }, otherBody: { route_id: routeId, ...reason } },
    dismissWebhookGap: { params: { id: dismissed }, body: reason },
  }
}
