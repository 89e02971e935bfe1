import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { accessAs } from '../../../testing/access-as.ts'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../testing/webhook-hub.ts'
import type { SampleEvent } from '../../../testing/webhook-sample.ts'
import { stripe, stripeSignature } from '../../../testing/webhook-samples/stripe.ts'
import type { HttpServer } from '../../platform/http/http-server.ts'
import { createHttpServer } from '../../platform/http/server.ts'
import { newId } from '../../platform/ids.ts'
import type { LaneKey } from '../../queue/job.ts'
import { findWebhookProvider } from '../webhooks/webhooks.ts'
import type { InboxStatus } from './status.ts'
import { webhookInboxControl } from './webhook-inbox.control.ts'

let database: TestDatabase
let hub: WebhookHub
let app: HttpServer
let a: string
let b: string
const hints: LaneKey[] = []

beforeAll(async () => {
  database = await testDatabase()
  hub = webhookHub(database.platform)
  a = await hub.workspace('a-dev')
  b = await hub.workspace('b-dev')
  await hub.route(a, { secret: 'whsec_a' })
  await hub.route(b, { secret: 'whsec_b', eventTypes: ['customer.*'] })
  const { log, metrics } = database.platform
  app = await createHttpServer({
    log,
    metrics,
    trustedProxies: [],
    bodyLimitBytes: 100_000,
    handlerTimeoutMs: 20_000,
    checks: [],
    access: accessAs((authorization) => ({
      tenantId: authorization ?? '',
      scopes: new Set(['orchestrator.control.read']),
    })),
  })
  webhookInboxControl(app, {
    db: database.platform.requestDb,
    wakeUp: { hint: (lanes) => void hints.push(...lanes) },
    readPayload: hub.payloads.read,
    target: async (tenantId, name) => hub.connectors.get(`${tenantId}/${name}`),
    workspaces: hub.workspaces,
    configVersion: async () => 3,
  })
  await app.ready()
})

afterAll(async () => {
  await app.close()
  await hub.close()
  await database.drop()
})

const send = async (tenant: 'a' | 'b', event: SampleEvent, traceId = '0'.repeat(32)) => {
  const raw = stripe.body(event)
  const provider = findWebhookProvider('stripe')
  if (!provider) throw new Error('there is no Stripe')
  const answer = await hub.accept({
    provider,
    routeId: undefined,
    url: undefined,
    raw,
    headers: {
      'stripe-signature': [stripeSignature(raw, [`whsec_${tenant}`], Date.now())],
      'user-agent': ['Stripe/1.0'],
      authorization: ['Bearer not-for-keeping'],
    },
    call: { requestId: 'r1', correlationId: 'c1', traceId, traceparent: '' },
  })
  const [taken] = answer.kind === 'taken' ? answer.events : []
  return { inboxId: taken?.inboxId ?? expect.unreachable('it was not taken'), raw }
}

interface Entry {
  readonly id: string
  readonly status: InboxStatus
  readonly duplicates: number
  readonly job_ids: string[]
}

const get = async (url: string, tenantId = a) => {
  const answer = await app.inject({ url, headers: { authorization: tenantId, 'x-request-id': 'same' } })
  return { status: answer.statusCode, text: answer.body, json: answer.json() }
}
const list = async (query = '', tenantId = a): Promise<Entry[]> =>
  (await get(`/webhook-inbox${query}`, tenantId)).json.data

describe('the inbox', () => {
  it('shows one event with its bytes, its evidence and its job', async () => {
    const { inboxId, raw } = await send('a', { id: 'evt_one' }, 'b'.repeat(32))
    await send('a', { id: 'evt_one' })
    const { status, json } = await get(`/webhook-inbox/${inboxId}`)
    expect(status).toBe(200)
    expect(json).toMatchObject({
      id: inboxId,
      status: 'queued',
      provider: 'stripe',
      account: null,
      livemode: false,
      event_id: 'evt_one',
      event_type: 'invoice.paid',
      occurred_at: '2026-11-21T12:00:00.000Z',
      duplicates: 1,
      size: raw.length,
      connector: 'product',
      request_id: 'r1',
      correlation_id: 'c1',
      trace_id: 'b'.repeat(32),
      payload: raw.toString('utf8'),
      secret_ref: expect.stringMatching(/^secret-/),
    })
    expect(Object.keys(json.headers).sort()).toEqual(['stripe-signature', 'user-agent'])
    expect(json.job_ids).toEqual(
      (await hub.query<{ id: string }>('select id from job where inbox_id = $1', [inboxId])).map(
        ({ id }) => id,
      ),
    )
  })

  it('tells the state of the delivery from its job', async () => {
    const { inboxId } = await send('a', { id: 'evt_state' })
    const statusNow = async () => (await get(`/webhook-inbox/${inboxId}`)).json.status
    expect(await statusNow()).toBe('queued')
    await hub.query(`update job set state = 'done', finished_at = now() where inbox_id = $1`, [inboxId])
    expect(await statusNow()).toBe('done')
    await hub.query('delete from job where inbox_id = $1', [inboxId])
    expect(await statusNow()).toBe('archived')
    expect((await list('?event_id=evt_state'))[0]?.status).toBe('archived')
    const { inboxId: ignored } = await send('b', { id: 'evt_ignored' })
    expect((await get(`/webhook-inbox/${ignored}`, b)).json).toMatchObject({ status: 'ignored', job_ids: [] })
  })

  it('filters by provider, type, event id and trace', async () => {
    const { inboxId } = await send('b', { id: 'evt_filter', type: 'customer.created' }, 'c'.repeat(32))
    const found = async (query: string) => (await list(query, b)).map(({ id }) => id)
    expect(await found('?provider=stripe&type=customer.created')).toEqual([inboxId])
    expect(await found('?event_id=evt_filter')).toEqual([inboxId])
    expect(await found(`?trace_id=${'c'.repeat(32)}`)).toEqual([inboxId])
    expect(await found('?provider=github')).toEqual([])
    expect(await found('?type=customer.deleted')).toEqual([])
    expect(await found('?event_id=evt_one')).toEqual([])
  })

  it('is paged, newest first, without gap or repetition', async () => {
    const sent: string[] = []
    for (let at = 1; at <= 5; at += 1)
      sent.unshift((await send('a', { id: `evt_page_${at}`, type: 'page.turned' })).inboxId)
    const seen: string[] = []
    let cursor = ''
    do {
      const page = (await get(`/webhook-inbox?type=page.turned&limit=2${cursor && `&cursor=${cursor}`}`)).json
      seen.push(...page.data.map(({ id }: Entry) => id))
      cursor = page.next_cursor ?? ''
    } while (cursor)
    expect(seen).toEqual(sent)
  })

  it('shows nothing of another workspace: its ids look like missing ones', async () => {
    const { inboxId } = await send('a', { id: 'evt_private' }, 'd'.repeat(32))
    const missing = await get(`/webhook-inbox/${newId()}`)
    const foreign = await get(`/webhook-inbox/${inboxId}`, b)
    expect(missing).toMatchObject({ status: 404, json: { code: 'not_found' } })
    expect(foreign.text).toBe(missing.text)
    expect(await list('?event_id=evt_private', b)).toEqual([])
    expect(await list(`?trace_id=${'d'.repeat(32)}`, b)).toEqual([])
  })

  it.each(['cursor=x', 'limit=201', 'trace_id=XYZ', 'event_id=%C3%BC', 'type=', 'tenant_id=1'])(
    'refuses the query %s',
    async (query) => {
      expect(await get(`/webhook-inbox?${query}`)).toMatchObject({
        status: 400,
        json: { code: 'validation_error' },
      })
    },
  )

  it('refuses an id that is none', async () => {
    expect(await get('/webhook-inbox/nonsense')).toMatchObject({ status: 400 })
  })
})
