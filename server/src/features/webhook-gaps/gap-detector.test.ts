import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type StripeEvents, stripeEvent, stripeEvents } from '../../../testing/event-lists.ts'
import { type GapHub, gapHub } from '../../../testing/gap-hub.ts'
import { json, oneAfterTheOther } from '../../../testing/upstream.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import type { GapDetector } from './gap-detector.ts'
import { wantPulled } from './webhook-gaps.ts'

let gaps: GapHub
let detector: GapDetector
let stripe: StripeEvents
const going = new AbortController().signal
const NOW = Math.floor(Date.now() / 1_000)

beforeAll(async () => {
  gaps = await gapHub()
})
afterAll(() => gaps.close())
beforeEach(() => {
  detector = gaps.detector()
  stripe = stripeEvents()
  gaps.hub.upstream.reset((...args) => stripe.answer(...args))
})
/** The next test begins with its own routes. */
afterEach(async () => {
  await gaps.hub.query('delete from webhook_route')
})

const checkAll = async (by = detector): Promise<void> => {
  while (await by.checkNext(going));
}
const pullAll = async (): Promise<void> => {
  while (await detector.pullSome());
}
const known = () =>
  gaps.hub.query<{
    event_id: string
    state: string
    inbox_id: string | null
    pull_error: string | null
    why: string
  }>('select event_id, state, inbox_id, pull_error, why, handle from webhook_gap order by event_id')
const states = async () => Object.fromEntries((await known()).map(({ event_id, state }) => [event_id, state]))
const inbox = (route: WebhookRoute) =>
  gaps.hub.query<{
    event_id: string
    source: string
    secret_ref: string | null
    job_id: string | null
    body: string
  }>(
    `select i.event_id, i.source, i.secret_ref, i.job_id, convert_from(p.body, 'UTF8') as body
     from webhook_inbox i join webhook_payload p on p.tenant_id = i.tenant_id and p.id = i.id
     where i.route_id = $1 order by i.id`,
    [route.id],
  )
const checkRow = async (route: WebhookRoute) => {
  const [row] = await gaps.hub.query<{
    looked_until: Date
    position: { until: string; after: string | null } | null
    last_error: string | null
    failures: number
    due_in: number
  }>(
    `select *, extract(epoch from due_at - now())::float8 as due_in from webhook_gap_check where route_id = $1`,
    [route.id],
  )
  if (!row) throw new Error('there is no check')
  return row
}
const lists = () =>
  gaps.hub.upstream.requests
    .map(({ url }) => new URL(url, 'http://stripe'))
    .filter(({ pathname }) => pathname === '/v1/events')
const wantAll = (route: WebhookRoute) =>
  wantPulled(
    gaps.hub.database.db,
    { tenantId: gaps.hub.tenantId, routeId: route.id },
    {
      ...{ actor: 'operator:ann@example.com', reason: 'they are needed' },
      call: { requestId: 'r', correlationId: 'c', traceId: 'd'.repeat(32), traceparent: '' },
    },
  )

describe('a check', () => {
  it('finds what Stripe could not deliver and the inbox never had, over several pages', async () => {
    stripe = stripeEvents(3)
    const route = await gaps.route({}, {})
    for (let at = 0; at < 8; at += 1) stripe.events.push(stripeEvent(`evt_${at}`, NOW - 1_000 - at))
    stripe.events.push({ ...stripeEvent('evt_delivered', NOW - 1_000), delivered: true })
    stripe.events.push(stripeEvent('evt_too_young', NOW - 10))
    stripe.events.push(stripeEvent('evt_before_the_route', NOW - 11 * 86_400))
    stripe.events.push(stripeEvent('evt_of_live', NOW - 1_000, { livemode: true }))
    await gaps.arrive(route, stripeEvent('evt_3', NOW - 1_003))
    await checkAll()
    expect(Object.keys(await states())).toEqual([0, 1, 2, 4, 5, 6, 7].map((at) => `evt_${at}`))
    expect(lists()).toHaveLength(3)
    expect(await checkRow(route)).toMatchObject({ position: null, last_error: null, failures: 0 })
    const events = await gaps.hub.query<{ severity: string; data: { count: number } }>(
      `select severity, data from event where type = 'webhook.gap_found' and data->>'route_id' = $1`,
      [route.id],
    )
    expect(events.map(({ severity }) => severity)).toEqual(events.map(() => 'warning'))
    expect(events.reduce((sum, { data }) => sum + data.count, 0)).toBe(7)
  })

  it('looks at no moment twice and at none never', async () => {
    const route = await gaps.route({}, {})
    await checkAll()
    const first = await checkRow(route)
    await gaps.allDue()
    await checkAll()
    const [one, two] = lists()
    expect(two?.searchParams.get('created[gte]')).toBe(one?.searchParams.get('created[lte]'))
    expect((await checkRow(route)).looked_until.getTime()).toBeGreaterThan(first.looked_until.getTime())
    expect((await checkRow(route)).due_in).toBeGreaterThan(3_500)
  })

  it('asks for the types and the account of the route, and counts only what the route delivers', async () => {
    await gaps.route(
      { account: 'acct_7', eventTypes: ['invoice.*', 'plan.created'] },
      { settings: { types: ['plan.created', 'charge.failed'] } },
    )
    stripe.events.push(
      stripeEvent('evt_1', NOW - 600),
      stripeEvent('evt_2', NOW - 600, { type: 'charge.failed' }),
    )
    await checkAll()
    expect(await states()).toEqual({ evt_1: 'missing' })
    expect(lists()[0]?.searchParams.getAll('types[1]')).toEqual(['charge.failed'])
    expect(gaps.hub.upstream.requests[0]?.headers['stripe-account']).toBe('acct_7')
  })

  it('of all events finds also those that Stripe believes delivered', async () => {
    const route = await gaps.route({}, { settings: { list: 'all' } })
    stripe.events.push({ ...stripeEvent('evt_lost', NOW - 600), delivered: true })
    stripe.events.push({ ...stripeEvent('evt_here', NOW - 600), delivered: true })
    await gaps.arrive(route, stripeEvent('evt_here', NOW - 600))
    await checkAll()
    expect(await states()).toEqual({ evt_lost: 'missing' })
  })

  it('that fails keeps its place: another worker goes on with the page that failed', async () => {
    stripe = stripeEvents(2)
    const route = await gaps.route({}, {})
    for (let at = 0; at < 6; at += 1) stripe.events.push(stripeEvent(`evt_${at}`, NOW - 1_000 - at))
    const failing = json(503, { error: { type: 'api_error', message: 'later' } })
    gaps.hub.upstream.reset((response, request, number) =>
      number === 1 ? stripe.answer(response, request, number) : failing(response, request, number),
    )
    await detector.checkNext(going)
    expect(Object.keys(await states())).toEqual(['evt_0', 'evt_1'])
    const failed = await checkRow(route)
    expect(failed).toMatchObject({ failures: 1, position: { after: 'evt_1' }, looked_until: null })
    expect(failed.last_error).toMatch(/503|upstream|later/i)
    expect(failed.due_in).toBeLessThan(61)
    // An event that comes in between is for the next check: the window stays what it was.
    stripe.events.push(stripeEvent('evt_new', NOW - 30))
    gaps.hub.upstream.reset((...args) => stripe.answer(...args))
    await gaps.allDue()
    await checkAll(gaps.detector())
    expect(Object.keys(await states())).toEqual([0, 1, 2, 3, 4, 5].map((at) => `evt_${at}`))
    expect(lists().map((url) => url.searchParams.get('starting_after'))).toEqual(['evt_1', 'evt_3'])
    expect(await checkRow(route)).toMatchObject({ failures: 0, last_error: null, position: null })
    expect((await checkRow(route)).looked_until.toISOString()).toBe(failed.position?.until)
  })

  it('that is stopped goes on with the next page after the restart', async () => {
    stripe = stripeEvents(2)
    const route = await gaps.route({}, {})
    for (let at = 0; at < 4; at += 1) stripe.events.push(stripeEvent(`evt_${at}`, NOW - 1_000 - at))
    const stopping = new AbortController()
    gaps.hub.upstream.reset((response, request, number) => {
      stopping.abort()
      stripe.answer(response, request, number)
    })
    await detector.checkNext(stopping.signal)
    expect(await checkRow(route)).toMatchObject({ failures: 0, position: { after: 'evt_1' } })
    gaps.hub.upstream.reset((...args) => stripe.answer(...args))
    await checkAll(gaps.detector())
    expect(lists().map((url) => url.searchParams.get('starting_after'))).toEqual(['evt_1'])
    expect(Object.keys(await states())).toHaveLength(4)
  })

  it('is repeated from its first page when the page it has come to is gone', async () => {
    stripe = stripeEvents(2)
    const route = await gaps.route({}, {})
    for (let at = 0; at < 4; at += 1) stripe.events.push(stripeEvent(`evt_${at}`, NOW - 1_000 - at))
    const stopping = new AbortController()
    gaps.hub.upstream.reset((response, request, number) => {
      stopping.abort()
      stripe.answer(response, request, number)
    })
    await detector.checkNext(stopping.signal)
    gaps.hub.upstream.reset((...args) => stripe.answer(...args))
    stripe.events.splice(1, 1)
    for (let at = 0; at < 3; at += 1) {
      await gaps.allDue()
      await detector.checkNext(going)
    }
    expect(await checkRow(route)).toMatchObject({ failures: 3, position: null })
    await gaps.allDue()
    await checkAll()
    expect(Object.keys(await states())).toEqual(['evt_0', 'evt_1', 'evt_2', 'evt_3'])
    expect(await checkRow(route)).toMatchObject({ failures: 0 })
  })

  it.each([
    ['429', json(429, { error: { type: 'rate_limit_error', message: 'slow down' } })],
    ['401', json(401, { error: { type: 'invalid_request_error', message: 'bad key' } })],
    ['no JSON', json(200, 'text')],
    ['no list', json(200, { object: 'list', data: 'no', has_more: false })],
    ['an event without an id', json(200, { object: 'list', data: [{}], has_more: false })],
    ['a page without end', json(200, { object: 'list', data: [], has_more: true })],
  ])('that is answered with %s says so and finds nothing', async (_what, answer) => {
    const route = await gaps.route({}, {})
    gaps.hub.upstream.reset(answer)
    await detector.checkNext(going)
    const row = await checkRow(route)
    expect(row).toMatchObject({ failures: 1, looked_until: null })
    expect(row.last_error).toMatch(/\w+/)
    expect(await known()).toEqual([])
  })

  it('through a connector that is not there says so', async () => {
    const route = await gaps.route({}, { connector: 'nowhere' })
    await detector.checkNext(going)
    expect((await checkRow(route)).last_error).toMatch(/connector/)
  })

  it('is made by one of several workers', async () => {
    for (let at = 0; at < 6; at += 1) await gaps.route({ account: `acct_${at}` }, {})
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    const workers = [detector, gaps.detector(), gaps.detector()]
    for (let round = 0; round < 4; round += 1)
      await Promise.all(workers.map((worker) => worker.checkNext(going)))
    await checkAll()
    expect(lists()).toHaveLength(6)
    expect(await known()).toHaveLength(6)
  })

  it('counts as arrived what comes in while it runs', async () => {
    const route = await gaps.route({}, {})
    stripe.events.push(stripeEvent('evt_1', NOW - 600), stripeEvent('evt_2', NOW - 600))
    gaps.hub.upstream.reset((response, request, number) => {
      // Stripe has listed it, and sends it before the hub reads the list.
      void gaps
        .arrive(route, stripeEvent('evt_1', NOW - 600))
        .then(() => stripe.answer(response, request, number))
    })
    await checkAll()
    expect(await states()).toEqual({ evt_2: 'missing' })
  })
})

describe('what is missing', () => {
  it('is pulled in at once where the route says so, as if it had arrived', async () => {
    const route = await gaps.route({}, { pull: 'automatic' })
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await checkAll()
    await pullAll()
    expect(await states()).toEqual({ evt_1: 'pulled' })
    const [row, ...more] = await inbox(route)
    expect(more).toEqual([])
    expect(row).toMatchObject({ event_id: 'evt_1', source: 'pulled', secret_ref: null })
    expect(row?.job_id).toMatch(/^[0-9a-f-]{36}$/)
    expect(JSON.parse(row?.body ?? '')).toEqual(stripeEvent('evt_1', NOW - 600))
    const [job] = await gaps.hub.query<{ connector: string }>('select connector from job where id = $1', [
      row?.job_id,
    ])
    expect(job).toEqual({ connector: 'product' })
    const events = await gaps.hub.query<{ type: string }>(
      `select type from event where inbox_id = (select inbox_id from webhook_gap) order by seq`,
    )
    expect(events.map(({ type }) => type)).toEqual(
      expect.arrayContaining(['webhook.received', 'webhook.gap_pulled']),
    )
  })

  it('waits for somebody to want it where the route says so', async () => {
    const route = await gaps.route({}, {})
    stripe.events.push(stripeEvent('evt_1', NOW - 600), stripeEvent('evt_2', NOW - 601))
    await checkAll()
    await pullAll()
    expect(await inbox(route)).toEqual([])
    expect(await wantAll(route)).toBe(2)
    await pullAll()
    expect((await inbox(route)).map(({ event_id }) => event_id).sort()).toEqual(['evt_1', 'evt_2'])
    expect(await known()).toMatchObject([{ why: 'they are needed' }, { why: 'they are needed' }])
    expect(await wantAll(route)).toBe(0)
  })

  it('is taken once when it arrives before it is pulled', async () => {
    const route = await gaps.route({}, {})
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await checkAll()
    await wantAll(route)
    await gaps.arrive(route, stripeEvent('evt_1', NOW - 600))
    await pullAll()
    expect(await states()).toEqual({ evt_1: 'arrived' })
    expect(await inbox(route)).toMatchObject([{ source: 'received' }])
  })

  it('is taken once when it arrives after it was pulled', async () => {
    const route = await gaps.route({}, { pull: 'automatic' })
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await checkAll()
    await pullAll()
    await gaps.arrive(route, stripeEvent('evt_1', NOW - 600))
    await detector.sweep()
    expect(await states()).toEqual({ evt_1: 'pulled' })
    expect(await inbox(route)).toMatchObject([{ source: 'pulled' }])
  })

  it('is told from what has arrived by itself, and from what was pulled when the worker died', async () => {
    const route = await gaps.route({}, {})
    stripe.events.push(
      stripeEvent('evt_1', NOW - 600),
      stripeEvent('evt_2', NOW - 600),
      stripeEvent('evt_3', NOW - 600),
    )
    await checkAll()
    await gaps.arrive(route, stripeEvent('evt_1', NOW - 600))
    await wantPulled(
      gaps.hub.database.db,
      {
        tenantId: gaps.hub.tenantId,
        ids: (
          await gaps.hub.query<{ id: string }>(`select id from webhook_gap where event_id = 'evt_2'`)
        ).map(({ id }) => id),
      },
      {
        ...{ actor: 'svc:test', reason: 'this one' },
        call: { requestId: 'r', correlationId: 'c', traceId: 'd'.repeat(32), traceparent: '' },
      },
    )
    await pullAll()
    await gaps.hub.query(
      `update webhook_gap set state = 'missing', inbox_id = null, pull_at = now() where event_id = 'evt_2'`,
    )
    await detector.sweep()
    expect(await states()).toEqual({ evt_1: 'arrived', evt_2: 'pulled', evt_3: 'missing' })
  })

  it('that cannot be fetched stays missing, says why and is tried again', async () => {
    const route = await gaps.route({}, { pull: 'automatic' })
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await checkAll()
    gaps.hub.upstream.reset(json(500, { error: { type: 'api_error', message: 'no' } }))
    await pullAll()
    const [failed] = await gaps.hub.query<{ pull_error: string; again_in: number; pulls: number }>(
      'select pull_error, pulls, extract(epoch from pull_at - now())::float8 as again_in from webhook_gap',
    )
    expect(failed).toMatchObject({ pulls: 1, pull_error: expect.stringMatching(/\w/) })
    expect(failed?.again_in).toBeGreaterThan(0)
    gaps.hub.upstream.reset((...args) => stripe.answer(...args))
    await gaps.hub.query('update webhook_gap set pull_at = now()')
    await pullAll()
    expect(await inbox(route)).toHaveLength(1)
  })

  it('is not tried for ever, and again when somebody wants it', async () => {
    const route = await gaps.route({}, { pull: 'automatic' })
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await checkAll()
    await gaps.hub.query('update webhook_gap set pulls = 11')
    gaps.hub.upstream.reset(oneAfterTheOther(json(404, { error: { message: 'gone' } })))
    await pullAll()
    expect(await gaps.hub.query('select state, pull_at from webhook_gap')).toEqual([
      { state: 'missing', pull_at: null },
    ])
    gaps.hub.upstream.reset((...args) => stripe.answer(...args))
    expect(await wantAll(route)).toBe(1)
    await pullAll()
    expect(await states()).toEqual({ evt_1: 'pulled' })
  })

  it.each([
    ['of the other mode', { livemode: true }, 'mode'],
    ['of another account', { account: 'acct_8' }, 'account'],
  ])('and turns out to be %s goes to nobody', async (_what, change, why) => {
    const route = await gaps.route({ account: 'acct_7' }, { pull: 'automatic' })
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await checkAll()
    stripe.events.splice(0, 1, stripeEvent('evt_1', NOW - 600, change))
    await pullAll()
    expect(await known()).toMatchObject([{ state: 'dismissed', why: expect.stringContaining(why) }])
    expect(await inbox(route)).toEqual([])
  })

  it('is another event than the listed one: nothing is taken', async () => {
    const route = await gaps.route({}, { pull: 'automatic' })
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await checkAll()
    gaps.hub.upstream.reset(json(200, stripeEvent('evt_2', NOW - 600)))
    await pullAll()
    expect(await known()).toMatchObject([
      { state: 'missing', pull_error: expect.stringContaining('another event') },
    ])
    expect(await inbox(route)).toEqual([])
  })

  it('waits while its workspace is suspended', async () => {
    const route = await gaps.route({}, { pull: 'automatic' })
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await gaps.hub.query(`update workspace set status = 'suspended' where id = $1`, [gaps.hub.tenantId])
    await expect
      .poll(async () => (await gaps.hub.directory.find(gaps.hub.tenantId))?.status, { timeout: 20_000 })
      .toBe('suspended')
    await checkAll()
    expect(gaps.hub.upstream.requests).toEqual([])
    await gaps.hub.query(`update workspace set status = 'active' where id = $1`, [gaps.hub.tenantId])
    await expect
      .poll(async () => (await gaps.hub.directory.find(gaps.hub.tenantId))?.status, { timeout: 20_000 })
      .toBe('active')
    await gaps.allDue()
    await checkAll()
    await pullAll()
    expect(await inbox(route)).toHaveLength(1)
  })
})
