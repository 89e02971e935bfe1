import type { DetailDeps } from '../src/features/webhook-inbox/webhook-inbox.ts'
import { findWebhookProvider, followDeliveries } from '../src/features/webhooks/webhooks.ts'
import { newId } from '../src/platform/ids.ts'
import { cancelJob } from '../src/queue/cancel.ts'
import type { ClaimedJob, Outcome } from '../src/queue/job.ts'
import { endedBy, settleJobs } from '../src/queue/settle.ts'
import { SHOP_DOWN } from './dead-letters.ts'
import { planWork } from './inbox-plans.ts'
import { claimLane, type QueueFixture, queueFixture, registerNode } from './queue-fixture.ts'
import { type WebhookHub, webhookHub } from './webhook-hub.ts'
import { stripeSignature } from './webhook-samples/stripe.ts'

export interface ReceivedEvent {
  readonly id?: string
  readonly type?: string
  /** `data.object` of the event. */
  readonly object?: object
  readonly traceId?: string
  /** Of the signing secret. */
  readonly secret?: string
}

/** An inbox with what is around it: ingress that takes real requests of Stripe, the queue, and the work on plans. */
export interface InboxFixture extends QueueFixture {
  readonly hub: WebhookHub
  readonly work: ReturnType<typeof planWork>
  readonly detailDeps: DetailDeps
  /** Sends an event; gives its inbox id. */
  receive(event?: ReceivedEvent): Promise<string>
  /** Ends the delivery that waits longest in the lane of the workspace's connector. */
  end(tenantId: string, outcome: Outcome): Promise<ClaimedJob>
  /** Gives the delivery of an event up. */
  bury(tenantId: string): Promise<ClaimedJob>
  deliver(tenantId: string): Promise<ClaimedJob>
  cancel(tenantId: string, inboxId: string): Promise<void>
  jobOf(inboxId: string): Promise<string>
}

export const SECRET = 'whsec_of_the_inbox'

export async function inboxFixture(): Promise<InboxFixture> {
  const fixture = await queueFixture()
  const hub = webhookHub(fixture.platform)
  const nodeId = await registerNode(fixture.db)
  const target = async (tenantId: string, name: string) => hub.connectors.get(`${tenantId}/${name}`)
  const end: InboxFixture['end'] = async (tenantId, outcome) => {
    // A node that has not beaten for a while gets nothing, and a test may take its time.
    await registerNode(fixture.db, nodeId)
    const claim = () => claimLane(fixture.claimDb, nodeId, { tenantId, queue: 'webhook', lane: 7 }, 1)
    let { jobs } = await claim()
    // A claim drops what was cancelled.
    for (let again = 0; jobs.length === 0 && again < 5; again += 1) ({ jobs } = await claim())
    await fixture.db.transaction(async (tx) => {
      const settled = await settleJobs(
        tx,
        jobs.map(({ job }) => ({ job, outcome })),
      )
      await followDeliveries(
        tx,
        settled.flatMap((each) => endedBy(each) ?? []),
      )
    })
    const [held] = jobs
    if (!held) throw new Error('no delivery waits')
    return held.job
  }
  const jobOf: InboxFixture['jobOf'] = async (inboxId) => {
    const rows = await hub.query<{ job_id: string }>('select job_id from webhook_inbox where id = $1', [
      inboxId,
    ])
    return rows[0]?.job_id ?? ''
  }
  return {
    ...fixture,
    hub,
    work: planWork(fixture.platform, {
      target,
      readPayload: hub.payloads.read,
      erasePayloads: hub.payloads.erase,
    }),
    detailDeps: { target, workspaces: hub.workspaces },
    receive: async ({ id = `evt_${newId()}`, type = 'invoice.paid', object = {}, ...how } = {}) => {
      const provider = findWebhookProvider('stripe')
      if (!provider) throw new Error('there is no Stripe')
      const raw = Buffer.from(
        JSON.stringify({
          id,
          object: 'event',
          created: 1_795_262_400,
          type,
          livemode: false,
          data: { object },
        }),
      )
      const answer = await hub.accept({
        ...{ provider, routeId: undefined, url: undefined, raw },
        headers: {
          'content-type': ['application/json'],
          'stripe-signature': [stripeSignature(raw, [how.secret ?? SECRET], Date.now())],
        },
        call: {
          ...{ requestId: newId(), correlationId: newId(), traceparent: '' },
          traceId: how.traceId ?? newId().replaceAll('-', ''),
        },
      })
      const [taken] = answer.kind === 'taken' ? answer.events : []
      if (!taken) throw new Error(`it was not taken: ${answer.kind}`)
      return taken.inboxId
    },
    end,
    jobOf,
    bury: (tenantId) =>
      end(tenantId, { kind: 'dead', reason: 'attempts_spent', error: SHOP_DOWN, why: 'It was given up.' }),
    deliver: (tenantId) =>
      end(tenantId, { kind: 'done', result: { http_status: 200 }, httpStatus: 200, why: 'It was taken.' }),
    cancel: async (tenantId, inboxId) => {
      await cancelJob(fixture.db, { tenantId, id: await jobOf(inboxId), actor: 'svc:test' })
    },
    drop: async () => {
      await hub.close()
      await fixture.drop()
    },
  }
}
