import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import type { OutgoingHttpHeaders } from 'node:http'
import { gzipSync } from 'node:zlib'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../testing/database.ts'
import { type WebhookHub, webhookHub } from '../../../testing/webhook-hub.ts'
import { type IngressAnswer, type WebhookIngress, webhookIngress } from '../../../testing/webhook-ingress.ts'
import type { SampleEvent } from '../../../testing/webhook-sample.ts'
import { stripe, stripeSignature } from '../../../testing/webhook-samples/stripe.ts'
import { newId } from '../../platform/ids.ts'
import { Secret } from '../../platform/secret.ts'
import { webhooksIngress } from './webhooks.ingress.ts'

const BODY_LIMIT = 100_000
const A_SECRET = 'whsec_of_workspace_a'
const B_SECRET = 'whsec_of_workspace_b'
const CONNECT_SECRET = 'whsec_of_connect_of_a'

let database: TestDatabase
let hub: WebhookHub
let ingress: WebhookIngress
let a: string
let b: string

beforeAll(async () => {
  database = await testDatabase()
  hub = webhookHub(database.platform)
  const { accept } = hub
  ingress = await webhookIngress(database.platform, (app) =>
    webhooksIngress(app, { accept, bodyLimitBytes: BODY_LIMIT, publicUrl: undefined }),
  )
  a = await hub.workspace('a-dev')
  b = await hub.workspace('b-dev')
  await hub.route(a, { secret: A_SECRET })
  await hub.route(b, { secret: B_SECRET })
  await hub.route(a, { secret: CONNECT_SECRET, account: 'acct_of_a' })
})

afterAll(async () => {
  await ingress.close()
  await hub.close()
  await database.drop()
})

const post: WebhookIngress['post'] = (...sent) => ingress.post(...sent)

const JSON_TYPE = { 'content-type': 'application/json; charset=utf-8' }

const signed = (body: Buffer, secrets: readonly string[], atMs = Date.now()): OutgoingHttpHeaders => ({
  ...JSON_TYPE,
  'stripe-signature': stripeSignature(body, secrets, atMs),
})

let number = 0
const newEvent = (change: SampleEvent = {}): { id: string; body: Buffer } => {
  number += 1
  const id = `evt_${number}`
  return { id, body: stripe.body({ id, ...change }) }
}

const send = (body: Buffer, secret: string, path = '/webhooks/stripe', headers: OutgoingHttpHeaders = {}) =>
  post(path, body, { ...signed(body, [secret]), ...headers })

const accepted = (answer: IngressAnswer): { inbox_id: string; duplicate: boolean } => {
  expect(answer).toMatchObject({ status: 200 })
  return JSON.parse(answer.text)
}

const inboxOf = async (id: string) =>
  (await hub.query<Record<string, unknown>>('select * from webhook_inbox where id = $1', [id]))[0]

describe('an event that belongs somewhere', () => {
  it('is stored with its bytes, its event and one delivery job, and wakes the worker', async () => {
    const route = await hub.route(a, {
      secret: 'whsec_all_settings',
      account: 'acct_all_settings',
      queue: 'critical',
      emitOnDelivery: [{ eventTypes: ['invoice.*'], event: 'billing_state_updated' }],
    })
    const { id, body } = newEvent({ account: 'acct_all_settings' })
    const answer = await send(body, 'whsec_all_settings', undefined, {
      'user-agent': 'Stripe/1.0',
      cookie: 'secret=1',
      'x-correlation-id': 'corr-1',
    })
    const { inbox_id: inboxId, ...rest } = accepted(answer)
    expect(rest).toEqual({ received: true, duplicate: false })

    const inbox = await inboxOf(inboxId)
    expect(inbox).toMatchObject({
      tenant_id: a,
      route_id: route.id,
      provider: 'stripe',
      account: 'acct_all_settings',
      livemode: false,
      event_id: id,
      event_type: 'invoice.paid',
      occurred_at: new Date('2026-11-21T12:00:00Z'),
      state: 'accepted',
      secret_ref: route.secretRefs[0],
      size: body.length,
      correlation_id: 'corr-1',
    })
    const [payload] = await hub.query<{ body: Buffer; sha256: Buffer; headers: object }>(
      'select * from webhook_payload where tenant_id = $1 and id = $2',
      [a, inboxId],
    )
    expect(payload?.body.equals(body)).toBe(true)
    expect(payload?.sha256.equals(createHash('sha256').update(body).digest())).toBe(true)
    expect(Object.keys(payload?.headers ?? {}).sort()).toEqual([
      'content-type',
      'stripe-signature',
      'user-agent',
    ])

    const jobs = await hub.query<Record<string, unknown>>(
      'select * from job join job_payload p on p.job_id = job.id where inbox_id = $1',
      [inboxId],
    )
    const identity = {
      provider: 'stripe',
      event_id: id,
      account: 'acct_all_settings',
      livemode: false,
      inbox_id: inboxId,
    }
    expect(jobs).toMatchObject([
      {
        tenant_id: a,
        id: inbox?.job_id,
        queue: 0,
        lane: 7,
        connector: 'product',
        operation: 'deliver',
        config_version: 3,
        idempotency_key: `inbox-${inboxId}`,
        correlation_id: 'corr-1',
        trace_id: inbox?.trace_id,
        input: {
          type: 'stripe.invoice.paid',
          timestamp: '2026-11-21T12:00:00.000Z',
          data: identity,
        },
        completion: {
          event: { type: 'billing_state_updated', data: { ...identity, event_type: 'invoice.paid' } },
        },
      },
    ])
    const events = await hub.query<Record<string, unknown>>(
      `select tenant_id, job_id, trace_id from event where inbox_id = $1 and type = 'webhook.received'`,
      [inboxId],
    )
    expect(events).toEqual([{ tenant_id: a, job_id: inbox?.job_id, trace_id: inbox?.trace_id }])
    expect(hub.hints.at(-1)).toMatchObject({ tenantId: a, lane: 7, queue: 'critical' })
  })

  it('finds its workspace by whose secret verifies when the sender names no account', async () => {
    const [forA, forB] = [newEvent(), newEvent()]
    const toA = accepted(await send(forA.body, A_SECRET))
    const toB = accepted(await send(forB.body, B_SECRET))
    expect(await inboxOf(toA.inbox_id)).toMatchObject({ tenant_id: a, event_id: forA.id })
    expect(await inboxOf(toB.inbox_id)).toMatchObject({ tenant_id: b, event_id: forB.id })
  })

  it('is one event per route: the same id from two senders is two events', async () => {
    const { body } = newEvent()
    const toA = accepted(await send(body, A_SECRET))
    const toB = accepted(await send(body, B_SECRET))
    expect([toA.duplicate, toB.duplicate]).toEqual([false, false])
    expect(toA.inbox_id).not.toBe(toB.inbox_id)
  })

  it('can be sent to the path of its route', async () => {
    const route = await hub.route(b, { secret: 'whsec_by_id', account: 'acct_by_id' })
    const { body } = newEvent({ account: 'acct_by_id' })
    const { inbox_id } = accepted(await send(body, 'whsec_by_id', `/webhooks/stripe/${route.id}`))
    expect(await inboxOf(inbox_id)).toMatchObject({ tenant_id: b, route_id: route.id })
  })

  it('is verified by the old and by the new secret during a rotation', async () => {
    const route = await hub.route(a, { secret: 'whsec_new', account: 'acct_rotating', secretRefs: ['old'] })
    hub.secrets.set(`${a}/old`, 'whsec_old')
    const [first, second] = [newEvent({ account: 'acct_rotating' }), newEvent({ account: 'acct_rotating' })]
    const byOld = accepted(await send(first.body, 'whsec_old'))
    const byNew = accepted(await send(second.body, 'whsec_new'))
    expect(await inboxOf(byOld.inbox_id)).toMatchObject({ secret_ref: 'old' })
    expect(await inboxOf(byNew.inbox_id)).toMatchObject({ secret_ref: route.secretRefs[0] })
  })

  it('is verified by every value that is in force of one secret', async () => {
    const route = await hub.route(a, { secret: 'whsec_x', account: 'acct_overlap' })
    const rotating = new Secret('whsec_fresh', [new Secret('whsec_before')])
    hub.secrets.set(`${a}/${route.secretRefs[0]}`, rotating)
    for (const value of ['whsec_fresh', 'whsec_before']) {
      const { inbox_id } = accepted(await send(newEvent({ account: 'acct_overlap' }).body, value))
      expect(await inboxOf(inbox_id)).toMatchObject({ secret_ref: route.secretRefs[0] })
    }
    hub.secrets.set(`${a}/${route.secretRefs[0]}`, 'whsec_fresh')
    const late = await send(newEvent({ account: 'acct_overlap' }).body, 'whsec_before')
    expect(late.status).toBe(401)
  })

  it('reaches its route by the id in whatever case, and the plain address with a slash at its end', async () => {
    const route = await hub.route(a, { secret: 'whsec_path', account: 'acct_path' })
    const path = `/webhooks/stripe/${route.id.toUpperCase()}`
    const { inbox_id } = accepted(await send(newEvent({ account: 'acct_path' }).body, 'whsec_path', path))
    expect(await inboxOf(inbox_id)).toMatchObject({ route_id: route.id })
    accepted(await send(newEvent({ account: 'acct_path' }).body, 'whsec_path', '/webhooks/stripe/'))
  })

  it('is taken although another secret of the route does not resolve', async () => {
    await hub.route(a, { secret: 'whsec_left', account: 'acct_half', secretRefs: ['gone'] })
    accepted(await send(newEvent({ account: 'acct_half' }).body, 'whsec_left'))
  })

  it('is kept and not delivered when its type fits no filter', async () => {
    await hub.route(a, { secret: 'whsec_f', account: 'acct_filter', eventTypes: ['customer.*', '*.deleted'] })
    const { body } = newEvent({ account: 'acct_filter' })
    const { inbox_id } = accepted(await send(body, 'whsec_f'))
    expect(await inboxOf(inbox_id)).toMatchObject({ state: 'ignored', job_id: null })
    expect(await hub.query('select type from event where inbox_id = $1', [inbox_id])).toEqual([
      { type: 'webhook.ignored' },
    ])
    expect(await hub.query('select 1 from job where inbox_id = $1', [inbox_id])).toEqual([])
    expect(accepted(await send(body, 'whsec_f'))).toMatchObject({ inbox_id, duplicate: true })
  })

  it.each(['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data', undefined])(
    'is taken with the content type %s: only the bytes count',
    async (type) => {
      const { body } = newEvent()
      const { 'content-type': _, ...headers } = signed(body, [A_SECRET])
      accepted(await post('/webhooks/stripe', body, { ...headers, ...(type && { 'content-type': type }) }))
    },
  )

  it('keeps what Postgres text and jsonb could not: NUL, half surrogates, key order, long numbers', async () => {
    const { id } = newEvent()
    const body = Buffer.from(
      `{"z":1.10,"a":12345678901234567890,"text":"\\u0000 \\ud800 é",${stripe.body({ id }).toString().slice(1)}`,
    )
    const { inbox_id } = accepted(await send(body, A_SECRET))
    const [row] = await hub.query<{ body: Buffer }>('select body from webhook_payload where id = $1', [
      inbox_id,
    ])
    expect(row?.body.equals(body)).toBe(true)
  })
})

describe('a repeated event', () => {
  it('is stored and queued once, however many copies come at the same time', async () => {
    const { body } = newEvent()
    const before = await hub.stored()
    const answers = await Promise.all(Array.from({ length: 100 }, () => send(body, A_SECRET)))
    const bodies = answers.map(accepted)
    expect(new Set(bodies.map(({ inbox_id }) => inbox_id)).size).toBe(1)
    expect(bodies.filter(({ duplicate }) => duplicate)).toHaveLength(99)
    const after = await hub.stored()
    const grown = Object.fromEntries(
      Object.entries(after).map(([name, count]) => [name, count - (before[name] ?? 0)]),
    )
    expect(grown).toMatchObject({
      webhook_inbox: 1,
      webhook_payload: 1,
      webhook_dedupe: 1,
      job: 1,
      job_ready: 1,
    })
    const [dedupe] = await hub.query<{ duplicates: number; days: number }>(
      `select duplicates, extract(day from expires_at - now())::int as days from webhook_dedupe where inbox_id = $1`,
      [bodies[0]?.inbox_id],
    )
    expect(dedupe?.duplicates).toBe(99)
    expect(dedupe?.days).toBeGreaterThanOrEqual(35)
    expect(
      await hub.query(
        'select type, count(*)::int from event where inbox_id = $1 group by type order by type',
        [bodies[0]?.inbox_id],
      ),
    ).toEqual([
      { type: 'job.queued', count: 1 },
      { type: 'webhook.duplicate', count: 1 },
      { type: 'webhook.received', count: 1 },
    ])
  })

  it('is the same event under a new signature and with other bytes', async () => {
    const { id, body } = newEvent()
    const first = accepted(await send(body, A_SECRET))
    const resent = Buffer.from(JSON.stringify(JSON.parse(stripe.body({ id }).toString('utf8'))))
    const answer = await post('/webhooks/stripe', resent, signed(resent, [A_SECRET], Date.now() - 60_000))
    expect(accepted(answer)).toEqual({ received: true, inbox_id: first.inbox_id, duplicate: true })
  })
})

describe('a refused request', () => {
  const otherRoute = () =>
    hub.query<{ id: string }>('select id from webhook_route where account = $1', ['acct_of_a'])
  const IDS = { 'x-request-id': 'same-request', 'x-correlation-id': 'same-correlation' }

  /** A route that the API refuses to make: its livemode is not that of its workspace. */
  const impossibleRoute = async (tenantId: string, account: string, livemode: boolean): Promise<string> => {
    const id = newId()
    hub.secrets.set(`${tenantId}/s`, 'whsec_impossible')
    await hub.query(
      `insert into webhook_route (tenant_id, id, provider, account, livemode, connector, secret_refs, queue,
                                  event_types, created_by)
       values ($1, $2, 'stripe', $3, $4, 'product', '{s}', 'webhook', '{*}', 'test')`,
      [tenantId, id, account, livemode],
    )
    return id
  }

  const CASES: Record<string, () => Promise<IngressAnswer>> = {
    'a wrong secret': () => send(newEvent().body, 'whsec_wrong', undefined, IDS),
    'no signature': () => post('/webhooks/stripe', newEvent().body, { ...JSON_TYPE, ...IDS }),
    'an empty signature': () =>
      post('/webhooks/stripe', newEvent().body, { ...JSON_TYPE, ...IDS, 'stripe-signature': '' }),
    'two signature headers': () => {
      const { body } = newEvent()
      const header = stripeSignature(body, [A_SECRET], Date.now())
      return post('/webhooks/stripe', body, { ...IDS, 'stripe-signature': [header, header] as never })
    },
    'an old timestamp': () => {
      const { body } = newEvent()
      return post('/webhooks/stripe', body, { ...signed(body, [A_SECRET], Date.now() - 400_000), ...IDS })
    },
    'a timestamp in the future': () => {
      const { body } = newEvent()
      return post('/webhooks/stripe', body, { ...signed(body, [A_SECRET], Date.now() + 400_000), ...IDS })
    },
    'an unknown account': () => send(newEvent({ account: 'acct_x' }).body, A_SECRET, undefined, IDS),
    'the account of another workspace': () =>
      send(newEvent({ account: 'acct_of_a' }).body, B_SECRET, undefined, IDS),
    'a live event of the own account': () =>
      send(newEvent({ livemode: true }).body, A_SECRET, undefined, IDS),
    'a live event of a known account': () =>
      send(newEvent({ account: 'acct_of_a', livemode: true }).body, CONNECT_SECRET, undefined, IDS),
    'the route of another account': async () => {
      const [route] = await otherRoute()
      const { body } = newEvent({ account: 'acct_y' })
      return send(body, CONNECT_SECRET, `/webhooks/stripe/${route?.id}`, IDS)
    },
    'an own event on the route of an account': async () => {
      const [route] = await otherRoute()
      return send(newEvent().body, CONNECT_SECRET, `/webhooks/stripe/${route?.id}`, IDS)
    },
    'a live event on a test route': async () => {
      const [route] = await otherRoute()
      const { body } = newEvent({ account: 'acct_of_a', livemode: true })
      return send(body, CONNECT_SECRET, `/webhooks/stripe/${route?.id}`, IDS)
    },
    'an unknown route': () => send(newEvent().body, A_SECRET, `/webhooks/stripe/${newId()}`, IDS),
    'a route id that is none': () =>
      send(newEvent().body, A_SECRET, '/webhooks/stripe/nonsense%20%C3%BC', IDS),
    'a route id that is empty': () => send(newEvent().body, 'whsec_wrong', '/webhooks/stripe/', IDS),
    'a secret that two workspaces have': async () => {
      await hub.route(a, { secret: 'whsec_shared' })
      await hub.route(b, { secret: 'whsec_shared' })
      // A refusal looks at the database first: from here on the memory knows both.
      await send(newEvent().body, 'whsec_wrong')
      return send(newEvent().body, 'whsec_shared', undefined, IDS)
    },
    'a route whose only secret does not resolve': async () => {
      const route = await hub.route(a, { secret: 'whsec_lost', account: 'acct_lost' })
      hub.secrets.delete(`${a}/${route.secretRefs[0]}`)
      return send(newEvent({ account: 'acct_lost' }).body, 'whsec_lost', undefined, IDS)
    },
    'a workspace of another environment': async () => {
      const prod = await hub.workspace(`c${newId().slice(-6)}-prod`)
      await impossibleRoute(prod, 'acct_of_prod', false)
      return send(newEvent({ account: 'acct_of_prod' }).body, 'whsec_impossible', undefined, IDS)
    },
    'a live event for a dev workspace with a live route': async () => {
      await impossibleRoute(a, 'acct_live_in_dev', true)
      const { body } = newEvent({ account: 'acct_live_in_dev', livemode: true })
      return send(body, 'whsec_impossible', undefined, IDS)
    },
    'a test event on the live route of a dev workspace': async () => {
      const id = await impossibleRoute(a, 'acct_live_in_dev_2', true)
      const { body } = newEvent({ account: 'acct_live_in_dev_2' })
      return send(body, 'whsec_impossible', `/webhooks/stripe/${id}`, IDS)
    },
  }

  /** From the provider, but nobody's: to send it again cannot help. */
  const NOBODYS = new Set([
    'an unknown account',
    'the account of another workspace',
    'the route of another account',
    'an own event on the route of an account',
    'a secret that two workspaces have',
  ])

  it('always gets the same bytes, and no workspace sees anything of it', async () => {
    const before = await hub.stored()
    const answers: [string, string][] = []
    for (const [name, refused] of Object.entries(CASES)) {
      const kept = hub.quarantined.length
      const { status, text, headers } = await refused()
      const { date: _, traceparent: __, ...comparable } = headers
      answers.push([name, JSON.stringify({ status, text, headers: Object.entries(comparable) })])
      expect(hub.quarantined.length, name).toBeGreaterThan(kept)
    }
    const ofNobody = answers.filter(([name]) => NOBODYS.has(name))
    const refusals = answers.filter(([name]) => !NOBODYS.has(name))
    const [[, kept = ''] = [], [, refusal = ''] = []] = [ofNobody[0], refusals[0]]
    expect(JSON.parse(refusal)).toMatchObject({ status: 401 })
    expect(JSON.parse(JSON.parse(refusal).text)).toMatchObject({
      code: 'signature_invalid',
      retryable: false,
    })
    expect(JSON.parse(kept)).toMatchObject({ status: 202, text: '{"received":true,"quarantined":true}' })
    expect(refusals.filter(([, answer]) => answer !== refusal)).toEqual([])
    expect(ofNobody.filter(([, answer]) => answer !== kept)).toEqual([])
    expect(await hub.stored()).toEqual(before)
  })

  it('is told apart only in the metrics', async () => {
    const metrics = await database.platform.metrics.registry.metrics()
    for (const cause of [
      'signature_mismatch',
      'signature_missing',
      'signature_malformed',
      'timestamp_outside_tolerance',
      'unknown_account',
      'unknown_route',
      'account_mismatch',
      'livemode_mismatch',
      'environment_mismatch',
      'ambiguous',
      'no_usable_secret',
    ])
      expect(metrics).toMatch(new RegExp(`webhooks_refused_total\\{.*cause="${cause}"`))
  })
})

describe('a body that no provider sends', () => {
  const good = stripe.body({ id: 'evt_never_stored' })
  const withSignature = (body: Buffer, headers: OutgoingHttpHeaders = {}) =>
    post('/webhooks/stripe', body, { ...signed(body, [A_SECRET]), ...headers })

  it.each<[string, number, string, () => Promise<IngressAnswer>]>([
    [
      'gzip',
      415,
      'unsupported_media_type',
      () => withSignature(gzipSync(good), { 'content-encoding': 'gzip' }),
    ],
    [
      'too large by its length',
      413,
      'body_too_large',
      () => withSignature(Buffer.alloc(BODY_LIMIT + 1, 0x20)),
    ],
    [
      'too large in chunks',
      413,
      'body_too_large',
      () =>
        post(
          '/webhooks/stripe',
          { chunks: Array.from({ length: 30 }, () => Buffer.alloc(4_000, 0x20)) },
          JSON_TYPE,
        ),
    ],
    ['invalid UTF-8', 400, 'malformed_body', () => withSignature(Buffer.concat([good, Buffer.from([0xff])]))],
    [
      'of a content type that is none',
      415,
      'unsupported_media_type',
      () => withSignature(good, { 'content-type': ';;;' }),
    ],
    ['empty', 400, 'malformed_body', () => withSignature(Buffer.alloc(0))],
    ['not JSON', 400, 'malformed_body', () => withSignature(Buffer.from('id=evt_1&type=invoice.paid'))],
    ['JSON cut in half', 400, 'malformed_body', () => withSignature(good.subarray(0, good.length / 2))],
    [
      '1,000 deep',
      400,
      'malformed_body',
      () => withSignature(Buffer.from(`${'['.repeat(1e3)}${']'.repeat(1e3)}`)),
    ],
    [
      'a poisoned prototype',
      400,
      'malformed_body',
      () => withSignature(Buffer.from(`{"__proto__":{},${good.toString().slice(1)}`)),
    ],
    [
      'not an event',
      400,
      'validation_error',
      () => withSignature(Buffer.from('{"id":"evt_1","object":"charge"}')),
    ],
    ['an event id with NUL', 400, 'validation_error', () => withSignature(stripe.body({ id: 'evt\u0000' }))],
    [
      'ten thousand signatures',
      431,
      'headers_too_large',
      () =>
        withSignature(good, {
          'stripe-signature': Array.from({ length: 10_000 }, () => `v1=${'a'.repeat(64)}`).join(','),
        }),
    ],
    ['an unknown provider', 404, 'route_not_found', () => post('/webhooks/acme', good, JSON_TYPE)],
    [
      'a provider named constructor',
      404,
      'route_not_found',
      () => post('/webhooks/constructor', good, JSON_TYPE),
    ],
    [
      'an unknown provider with a route',
      404,
      'route_not_found',
      () => post('/webhooks/acme/1', good, JSON_TYPE),
    ],
  ])('%s is answered with %i %s and not stored', async (_what, status, code, refused) => {
    const before = await hub.stored()
    const answer = await refused()
    expect(answer.status).toBe(status)
    expect(JSON.parse(answer.text)).toMatchObject({ status, code })
    expect(await hub.stored()).toEqual(before)
  })
})

const fixtures = new URL('../../../../../shared/fixtures/stripe/fixtures3.json', import.meta.url)

it.runIf(existsSync(fixtures))('takes events about every resource of Stripe’s own fixtures', async () => {
  const { resources } = JSON.parse(readFileSync(fixtures, 'utf8')) as { resources: Record<string, object> }
  for (const [name, object] of Object.entries(resources)) {
    const event = JSON.parse(newEvent({ type: `${name}.updated` }).body.toString('utf8'))
    const body = Buffer.from(JSON.stringify({ ...event, data: { object } }, null, 2))
    const { inbox_id } = accepted(await send(body, A_SECRET))
    const [row] = await hub.query<{ body: Buffer }>('select body from webhook_payload where id = $1', [
      inbox_id,
    ])
    expect(row?.body.equals(body)).toBe(true)
  }
})
