/** The webhook inbox of a world, and one good request for each of its operations. */
import { stripe } from '../../server/testing/webhook-samples/stripe.ts'
import type { BadInputHub } from './hub.ts'
import type { GoodRequest } from './requests.ts'
import { json, REASON, signedEvent, type World } from './world.ts'

export interface InboxWorld {
  /** Its delivery is cancelled, so that it can be delivered once more. */
  readonly cancelledId: string
  /** Planned: one to commit and one to abort. */
  readonly retryPlans: readonly string[]
  readonly erasePlans: readonly string[]
}

const reason = { reason: REASON }

export async function makeInbox(
  hub: BadInputHub,
  of: Pick<World, 'slug' | 'routeId' | 'stripeSecret'> & { readonly token: string },
): Promise<InboxWorld> {
  const ask = async <T>(path: string, body?: unknown): Promise<T> => {
    const { status, text } = await hub.send('control', json(body ? 'POST' : 'GET', path, of.token, body))
    if (status > 299) throw new Error(`${path} answered ${status}: ${text}`)
    return JSON.parse(text) as T
  }
  const eventId = `evt_again_${of.slug}`
  const { bytes, headers } = signedEvent(stripe.body({ id: eventId }), of.stripeSecret)
  const path = `/webhooks/stripe/${of.routeId}`
  const taken = await hub.send('ingress', { method: 'POST', path, headers, body: bytes })
  const { inbox_id: cancelledId } = JSON.parse(taken.text) as { inbox_id: string }
  const { job_ids } = await ask<{ job_ids: string[] }>(`/webhook-inbox/${cancelledId}`)
  await ask(`/jobs/${job_ids[0]}/cancel`, reason)
  const plansOf = async (action: 'retry' | 'erase', body: object): Promise<string[]> => {
    const plans: string[] = []
    for (let count = 0; count < 2; count += 1)
      plans.push((await ask<{ plan_id: string }>(`/webhook-inbox/${action}/plans`, body)).plan_id)
    return plans
  }
  const retryPlans = await plansOf('retry', { ids: [cancelledId] })
  const erasePlans = await plansOf('erase', { event_id: eventId })
  await hub.searchInboxPlans()
  return { cancelledId, retryPlans, erasePlans }
}

const filter = (world: World) => ({
  provider: 'stripe',
  type: 'a.*',
  account: 'acct_1',
  route_id: world.routeId,
  received_after: '2026-01-01T00:00:00Z',
  received_before: '2036-01-01T00:00:00Z',
})

export function inboxRequests(world: World): Readonly<Record<string, GoodRequest>> {
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
      body: { subject: { pointer: '/data/object/customer', equals: 'cus_of_nobody' } },
      otherBody: { event_id: 'evt_of_nobody' },
    },
    retryWebhook: { params: { id: inbox.cancelledId }, body: { new_message_id: false, ...reason } },
    ...plans('Retry', inbox.retryPlans),
    ...plans('Erase', inbox.erasePlans),
  }
}
