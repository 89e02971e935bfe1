import type { Config } from '../../config.ts'
import type { Hub } from '../../processes/all.ts'
import { type Api, ApiError } from '../api.ts'
import { print } from '../command.ts'
import { controlApi, execApi, type WorkspaceSummary } from '../control-api.ts'
import { shown } from './expect.ts'
import { repeatedAndGone } from './outage.ts'
import { type DemoProduct, startDemoProduct } from './product.ts'
import { sendStripeEvent, signedStripeEvent } from './stripe-event.ts'
import { type HubEvent, printTimeline, waitForEvents } from './timeline.ts'
import {
  callbackConnector,
  ensureSecretFile,
  ensureWorkspace,
  putSecretRef,
  SIGNING_SECRET,
  STRIPE_SECRET,
  stripeRoute,
} from './workspace-setup.ts'

interface Stage {
  readonly config: Config
  readonly urls: Hub['urls']
  readonly control: Api
  readonly exec: Api
  readonly product: DemoProduct
  readonly stripeSecret: string
}

const SLUG = 'buildos-dev'
const REASON = 'demo'
const traceOf = (events: readonly HubEvent[], type: string): HubEvent | undefined =>
  events.find((event) => event.type === type)

/** Plays the whole flow over the hub's public API. Throws when something that was promised did not happen. */
export async function playDemo(config: Config, urls: Hub['urls']): Promise<void> {
  const platformAdmin = await controlApi(config, urls.control)
  const workspace = await ensureWorkspace(platformAdmin, SLUG, 'BuildOS')
  const neighbour = await ensureWorkspace(platformAdmin, 'beauty-dev', 'Beauty')
  const signingSecret = await ensureSecretFile(config, SLUG, SIGNING_SECRET)
  const stripeSecret = await ensureSecretFile(config, SLUG, STRIPE_SECRET)
  const product = await startDemoProduct({ port: 0, signingSecret })
  try {
    const control = await controlApi(config, urls.control, workspace.id)
    const exec = await execApi(config, urls.exec, workspace.id)
    const stage = { config, urls, control, exec, product, stripeSecret }
    await configure(stage)
    await executeNow(stage)
    const jobId = await webhookToCallback(stage)
    await retriedUntilDone(stage)
    await deadAndReplayed(stage)
    await jobWithCallback(stage)
    await repeatedAndGone(stage)
    await neighbourSeesNothing(stage, neighbour, jobId)
  } finally {
    await product.stop()
  }
}

async function configure({ control, product }: Stage): Promise<void> {
  print('\n1. Policy, connectors, secrets, routes')
  for (const secret of [SIGNING_SECRET, STRIPE_SECRET]) await putSecretRef(control, secret)
  await control.put('/policies/default', {
    policy: { timeouts: { attempt_ms: 2_000, total_ms: 5_000 } },
    reason: REASON,
  })
  const quick = { job_retry: { max_attempts: 4, base_ms: 100, factor: 2, cap_ms: 400 } }
  await control.put('/policies/quick', { policy: quick, reason: REASON })
  const connectors = {
    quotes: {
      kind: 'http',
      settings: {
        base_url: product.url,
        operations: {
          'get-quote': {
            title: 'Price in a currency',
            method: 'GET',
            path: '/quotes/{currency}',
            input: {
              type: 'object',
              properties: { currency: { type: 'string', pattern: '^[A-Z]{3}$' } },
              required: ['currency'],
              additionalProperties: false,
            },
            output: { type: 'object', properties: { price: { type: 'number' } }, required: ['price'] },
          },
        },
      },
    },
    product: callbackConnector(`${product.url}/callbacks/ok`),
    'flaky-product': callbackConnector(`${product.url}/callbacks/flaky`, 'quick'),
    'broken-product': callbackConnector(`${product.url}/callbacks/down`, 'quick'),
  }
  let version = 0
  for (const [name, connector] of Object.entries(connectors)) {
    const changed = await control.put<{ config_version: number }>(`/connectors/${name}`, {
      connector,
      reason: REASON,
    })
    version = changed.config_version
  }
  shown(
    `config version ${version} is active: the first came from the template, then every write was one of its own`,
    version === 7,
    version,
  )
  await control.post('/webhook-routes', stripeRoute('product'))
  await control.post('/webhook-routes', { ...stripeRoute('flaky-product'), account: 'acct_flaky' })
  await control.post('/webhook-routes', { ...stripeRoute('broken-product'), account: 'acct_broken' })
  shown('three Stripe routes: the own account and two connected ones', true)
}

async function executeNow({ exec }: Stage): Promise<void> {
  print('\n2. Execute now')
  const result = await exec.post<{ output: { price?: number }; attempts: number; trace_id: string }>(
    '/execute',
    {
      connector: 'quotes',
      operation: 'get-quote',
      input: { currency: 'EUR' },
    },
  )
  shown('the upstream answered through the hub', result.output.price === 42 && result.attempts === 1, result)
  const events = await waitForEvents(exec, result.trace_id, (types) => types.has('execution.succeeded'))
  shown(
    'the event log tells it under the same trace',
    traceOf(events, 'execution.succeeded') !== undefined,
    events,
  )
  printTimeline('Timeline of the execution', result.trace_id, events)
}

async function webhookToCallback({ urls, exec, product, stripeSecret }: Stage): Promise<string> {
  print('\n3. Stripe webhook → inbox → job → signed callback → billing_state_updated')
  const event = await signedStripeEvent({ type: 'invoice.paid', secret: stripeSecret })
  const first = await sendStripeEvent(urls.ingress, event)
  shown('a signed event is accepted', first.status === 200 && first.body.duplicate === false, first)
  const events = await waitForEvents(exec, first.traceId, (types) => types.has('billing_state_updated'))
  const updated = traceOf(events, 'billing_state_updated')
  shown('the hub says billing_state_updated', updated?.data.event_id === event.id, events)
  const [callback] = product.received
  shown(
    'the product got it once, with a valid signature',
    product.received.length === 1 && callback?.verified === true,
    product.received,
  )
  shown(
    'the callback continues the trace of the webhook',
    callback?.traceparent?.includes(first.traceId) === true,
    callback,
  )
  printTimeline('Timeline of the webhook', first.traceId, events)

  const again = await sendStripeEvent(urls.ingress, event)
  shown(
    'the same event again is a duplicate',
    again.body.duplicate === true && again.body.inbox_id === first.body.inbox_id,
    again,
  )
  const ended = await waitForEvents(exec, again.traceId, (types) => types.has('webhook.duplicate'))
  shown(
    'it made no second job and no second callback',
    product.received.length === 1 && !traceOf(ended, 'job.queued'),
    ended,
  )
  const tampered = await sendStripeEvent(urls.ingress, {
    ...event,
    payload: event.payload.replace('4200', '4201'),
  })
  shown('a tampered copy is refused', tampered.status === 401, tampered)
  return updated?.job_id ?? ''
}

async function retriedUntilDone({ urls, exec, product, stripeSecret }: Stage): Promise<void> {
  print('\n4. A product that answers 503 twice')
  const event = await signedStripeEvent({
    type: 'customer.subscription.updated',
    secret: stripeSecret,
    account: 'acct_flaky',
  })
  const { traceId } = await sendStripeEvent(urls.ingress, event)
  const events = await waitForEvents(exec, traceId, (types) => types.has('billing_state_updated'))
  const retries = events.filter(({ type }) => type === 'job.retry_scheduled').length
  shown(
    'it was retried twice and then done',
    retries === 2 && traceOf(events, 'job.succeeded') !== undefined,
    events,
  )
  const attempts = product.received.filter(({ id }) => id === product.received.at(-1)?.id)
  shown(
    'all three attempts carried the same webhook-id',
    attempts.map(({ answered }) => answered).join() === '503,503,200',
    product.received,
  )
  printTimeline('Timeline of the flaky product', traceId, events)
}

async function deadAndReplayed(stage: Stage): Promise<void> {
  const { urls, exec, control, product, stripeSecret } = stage
  print('\n5. A product that is down for too long')
  const event = await signedStripeEvent({
    type: 'invoice.payment_failed',
    secret: stripeSecret,
    account: 'acct_broken',
  })
  const { traceId } = await sendStripeEvent(urls.ingress, event)
  const events = await waitForEvents(exec, traceId, (types) => types.has('job.dead_lettered'))
  const dead = traceOf(events, 'job.dead_lettered')
  shown('it became a dead letter', dead !== undefined, events)
  const detail = await control.get<{ job: { state: string; dead_reason: string }; attempts: unknown[] }>(
    `/jobs/${dead?.job_id}`,
  )
  shown(
    `after ${detail.attempts.length} attempts, reason ${detail.job.dead_reason}`,
    detail.job.state === 'dead' && detail.attempts.length === 4,
    detail,
  )
  shown(
    'and nobody was told that the billing state changed',
    !traceOf(events, 'billing_state_updated'),
    events,
  )
  product.recover()
  const plan = await replayAll(control)
  shown(
    'it has recovered; a plan shows what a replay would do, and is committed with a reason',
    plan.count === 1 && plan.sample[0]?.job_id === dead?.job_id,
    plan,
  )
  const story = await waitForEvents(exec, traceId, (types) => types.has('billing_state_updated'))
  const keys = product.received.filter(({ id }) => id === product.received.at(-1)?.id)
  shown(
    'the dead letter lives again, ends as done and carries the webhook-id that it always had',
    traceOf(story, 'job.succeeded') !== undefined &&
      keys.map(({ answered }) => answered).join() === '503,503,503,503,200',
    { story, received: product.received },
  )
  printTimeline('Timeline of the broken product', traceId, story)
}

interface Plan {
  readonly plan_id: string
  readonly count: number
  readonly sample: readonly { readonly job_id: string }[]
}

/** What an operator does after an outage: see what a replay of all letters of the product would be, then do it. */
async function replayAll(control: Api): Promise<Plan> {
  const filter = { connector: 'broken-product' }
  const plan = await control.post<Plan>('/dlq/webhook/plans', { action: 'replay', filter })
  await control.post(`/dlq/plans/${plan.plan_id}/commit`, { reason: 'the product is up again' })
  return plan
}

async function jobWithCallback({ exec, product }: Stage): Promise<void> {
  print('\n6. A job with a completion callback')
  const job = await exec.post<{ job_id: string; trace_id: string }>(
    '/jobs',
    {
      connector: 'quotes',
      operation: 'get-quote',
      input: { currency: 'USD' },
      callback: { connector: 'product' },
    },
    { 'idempotency-key': 'demo-1' },
  )
  const told = () => product.received.find(({ type }) => type === 'job.done')
  const events = await waitForEvents(exec, job.trace_id, () => told() !== undefined)
  shown('the product was told job.done, signed', told()?.verified === true, product.received)
  printTimeline('Timeline of the job', job.trace_id, events)
}

async function neighbourSeesNothing(
  { config, urls }: Stage,
  neighbour: WorkspaceSummary,
  jobId: string,
): Promise<void> {
  print('\n8. The other workspace')
  const exec = await execApi(config, urls.exec, neighbour.id)
  const { data } = await exec.get<{ data: HubEvent[] }>('/events')
  shown(
    'sees none of these events',
    data.every(({ type }) => type === 'config.activated'),
    data,
  )
  const status = await exec.get(`/jobs/${jobId}`).then(
    () => 200,
    (error: unknown) => (error instanceof ApiError ? error.status : 0),
  )
  shown('and gets 404 for the job', status === 404, status)
}
