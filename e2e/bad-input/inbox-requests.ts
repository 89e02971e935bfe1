/** One good request for each operation of the webhook inbox. */
import { REASON, type World } from './world.ts'

const reason = { reason: REASON }

const filter = (world: World) => ({
  provider: 'stripe',
  type: 'a.*',
  account: 'acct_1',
  route_id: world.routeId,
  received_after: '2026-01-01T00:00:00Z',
  received_before: '2036-01-01T00:00:00Z',
})

export function inboxRequests(world: World) {
  const { inbox, inboxId } = world
  const plans = (name: string, [commit = '', abort = '']: readonly string[]) => ({
    [`listWebhook${name}Plans`]: { query: { limit: '10', state: 'planned' } },
    [`getWebhook${name}Plan`]: { params: { id: commit } },
    [`abortWebhook${name}Plan`]: { params: { id: abort }, body: reason },
    [`commitWebhook${name}Plan`]: { params: { id: commit }, body: reason },
  })
  return {
    listWebhookInbox: {
      query: {
        ...{ limit: '10', event_id: 'evt_1', trace_id: 'a'.repeat(32), status: 'done' },
        ...filter(world),
      },
    },
    getWebhookInboxEntry: { params: { id: inboxId } },
    getWebhookTimeline: { params: { id: inboxId }, query: { limit: '10' } },
    compareWebhooks: { query: { left: inboxId, right: inbox.cancelledId } },
    planWebhookRetry: {
      body: { ids: [inboxId], rate_per_second: 5, new_message_id: true },
      otherBody: { filter: { statuses: ['done'], ...filter(world) } },
    },
    planWebhookErase: {
      body: { subject: { pointer: '/data/object/customer', equals: 'cus_of_nobody', contains: 'cus_of' } },
      otherBody: { event_id: 'evt_of_nobody' },
    },
    retryWebhook: { params: { id: inbox.cancelledId }, body: { new_message_id: false, ...reason } },
    ...plans('Retry', inbox.retryPlans),
    ...plans('Erase', inbox.erasePlans),
  }
}
