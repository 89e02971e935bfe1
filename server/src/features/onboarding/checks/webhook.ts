import { createHmac, randomUUID } from 'node:crypto'
import { verifyCallback } from '@orchestrator/sdk/callbacks'
import type { Check } from '../check.ts'
import { eventually } from '../eventually.ts'
import { told } from '../plane-client.ts'
import { part, type Stage } from '../stage.ts'
import { EMITTED } from '../stage-objects.ts'
import { mustBe, passed } from '../verdict.ts'

interface Taken {
  readonly inbox_id: string
  readonly duplicate: boolean
  readonly quarantined?: boolean
}

const WITHIN_MS = 30_000
/** From the webhook to the event that the route asked for; attempts in between may be more. */
const PATH = ['webhook.received', 'job.succeeded', EMITTED]

const eventOf = (stage: Stage, account: string): string =>
  JSON.stringify({
    id: `evt_verify_${randomUUID().replaceAll('-', '')}`,
    object: 'event',
    created: Math.floor(stage.clock.now() / 1_000),
    type: 'onboarding.verified',
    livemode: stage.subject.environment === 'prod',
    account,
    data: { object: { id: stage.runId, object: 'onboarding' } },
  })

/** Signed as the provider signs (docs.stripe.com/webhooks/signature), with the secret of the run's own route. */
async function send(stage: Stage, payload: string) {
  const seconds = Math.floor(stage.clock.now() / 1_000)
  const { webhook: secret } = part(stage, 'secrets')
  const signature = createHmac('sha256', secret).update(`${seconds}.${payload}`).digest('hex')
  const answer = await stage.ingress.call<Taken>('/webhooks/stripe', {
    method: 'POST',
    body: payload,
    headers: { 'stripe-signature': `t=${seconds},v1=${signature}` },
  })
  return { ...answer, traceId: answer.headers.get('traceparent')?.split('-')[1] ?? '' }
}

/** Types of the events of a trace, oldest first. */
async function typesOf(stage: Stage, traceId: string): Promise<string[]> {
  const { data } = await stage.control.want<{ data: { type: string }[] }>(
    `/events?trace_id=${traceId}&limit=200`,
  )
  return data.map(({ type }) => type)
}

export const webhook: Check = {
  name: 'webhook-to-callback',
  proves:
    'A signed webhook becomes an inbox entry, a job and a signed callback, all told under one trace id.',
  mend: 'See the trace in GET /events; ingress and worker must reach the database, the worker the target.',
  needs: ['ingress', 'worker', 'stage'],
  gives: 'webhook',
  run: async (stage) => {
    const { clock, signal } = stage
    const { account, signing } = part(stage, 'secrets')
    const payload = eventOf(stage, account)
    // Ingress may hear of a new route a moment after control has written it.
    const taken = await eventually(
      { clock, signal, withinMs: WITHIN_MS },
      'Ingress did not take a signed webhook',
      async () => {
        const answer = await send(stage, payload)
        return answer.status === 200 ? { found: answer } : { seen: `${answer.status} ${told(answer.body)}` }
      },
    )
    mustBe(!taken.body.duplicate, 'A webhook that was sent once is called a duplicate.')
    const types = await eventually(
      { clock, signal, withinMs: WITHIN_MS },
      `The trace ${taken.traceId} did not go all the way (${PATH.join(' → ')})`,
      async () => {
        const seen = await typesOf(stage, taken.traceId)
        return PATH.every((type) => seen.includes(type))
          ? { found: seen }
          : { seen: seen.join(', ') || 'no event' }
      },
    )
    const callbacks = await part(stage, 'target').seen('callback')
    const [callback] = callbacks
    mustBe(callbacks.length === 1 && callback !== undefined, `The target got ${callbacks.length} callbacks.`)
    try {
      verifyCallback(Buffer.from(callback.body), callback.headers, [signing], { now: clock.now() })
    } catch (error) {
      mustBe(false, `The signature of the callback does not verify: ${String(error)}`)
    }
    mustBe(
      callback.headers.traceparent?.includes(taken.traceId) === true,
      'The callback does not carry the trace of the webhook.',
    )
    stage.trail.webhook = { payload, inboxId: taken.body.inbox_id }
    stage.trail.traceId = taken.traceId
    return passed(`trace ${taken.traceId}: ${types.join(' → ')}`)
  },
}

export const duplicate: Check = {
  name: 'webhook-duplicate',
  proves: 'The same webhook again is acknowledged and has no second effect.',
  mend: 'See GET /webhook-inbox for the entry that it should have met.',
  needs: ['ingress', 'stage', 'webhook'],
  run: async (stage) => {
    const first = stage.trail.webhook
    mustBe(first !== undefined, 'There is no first webhook.')
    const again = await send(stage, first.payload)
    mustBe(
      again.status === 200 && again.body.duplicate && again.body.inbox_id === first.inboxId,
      `The second copy was answered ${again.status}, duplicate: ${again.body.duplicate}.`,
    )
    const types = await eventually(
      { clock: stage.clock, signal: stage.signal, withinMs: WITHIN_MS },
      'No event told of the duplicate',
      async () => {
        const seen = await typesOf(stage, again.traceId)
        return seen.includes('webhook.duplicate') ? { found: seen } : { seen: seen.join(', ') || 'none' }
      },
    )
    const callbacks = (await part(stage, 'target').seen('callback')).length
    mustBe(
      !types.includes('job.queued') && callbacks === 1,
      `The second copy made a job or a callback (${callbacks} callbacks).`,
    )
    return passed(`duplicate: true, the entry of the first copy, still ${callbacks} callback`)
  },
}

export const routing: Check = {
  name: 'routing',
  proves: 'A webhook of an account that no route is for is delivered to nobody.',
  mend: 'See GET /webhook-routes: a route without an account takes only events without one.',
  needs: ['ingress', 'stage', 'webhook'],
  run: async (stage) => {
    const { account } = part(stage, 'secrets')
    const stranger = await send(stage, eventOf(stage, `${account}stranger`))
    // It is from the provider, as the secret of the run proves, and nobody's: sending it again could not help.
    const kept = stranger.status === 202 && stranger.body.quarantined === true
    mustBe(
      kept || stranger.status === 401 || stranger.status === 404,
      `A webhook of an unknown account was answered ${stranger.status} and not put into quarantine.`,
    )
    const types = await typesOf(stage, stranger.traceId)
    const entries = await stage.control.want<{ data: { id: string; account?: string | null }[] }>(
      '/webhook-inbox?limit=50',
    )
    const strange = entries.data.filter((entry) => entry.account === `${account}stranger`)
    const own = entries.data.some(({ id }) => id === stage.trail.webhook?.inboxId)
    mustBe(
      strange.length === 0 && !types.includes('webhook.received'),
      'A webhook of an unknown account stands in the inbox.',
    )
    mustBe(own, 'The webhook of the run’s account does not stand in the inbox of this workspace.')
    return passed(`the run’s account reached this workspace; an unknown one was answered ${stranger.status}`)
  },
}
