import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest'
import { type StripeEvents, stripeEvent, stripeEvents } from '../../../testing/event-lists.ts'
import { type GapHub, gapHub } from '../../../testing/gap-hub.ts'
import { type Answer, json } from '../../../testing/upstream.ts'
import { callForCheck } from './webhook-gaps.ts'

let gaps: GapHub
let stripe: StripeEvents
const going = new AbortController().signal
const NOW = Math.floor(Date.now() / 1_000)
const FAILING = json(503, { error: { type: 'api_error', message: 'later' } })

beforeAll(async () => {
  gaps = await gapHub()
})
afterAll(() => gaps.close())
beforeEach(() => {
  stripe = stripeEvents(1)
  gaps.hub.upstream.reset((...args) => stripe.answer(...args))
})
afterEach(async () => {
  await gaps.hub.query('delete from webhook_route')
})

interface Row {
  last_error: string | null
  failures: number
  restarts: number
  position: { after: string | null } | null
  due_in: number
  leased_for: number | null
}
const checkRow = async (): Promise<Row> => {
  const [row] = await gaps.hub.query<Row>(
    `select *, extract(epoch from due_at - now())::float8 as due_in,
            extract(epoch from lease_until - now())::float8 as leased_for
     from webhook_gap_check`,
  )
  if (!row) throw new Error('there is no check')
  return row
}
const known = async () =>
  (await gaps.hub.query<{ event_id: string }>('select event_id from webhook_gap order by event_id')).map(
    ({ event_id }) => event_id,
  )
const asked = () => gaps.hub.upstream.requests.length
const page = (from: number, to: number): Answer =>
  json(200, {
    object: 'list',
    data: Array.from({ length: to - from }, (_, at) =>
      stripeEvent(`evt_${from + at}`, NOW - 600 - from - at),
    ),
    has_more: true,
  })

describe('a list', () => {
  it('that repeats a page for ever is asked a few times, and the check says so', async () => {
    await gaps.route({}, {})
    gaps.hub.upstream.reset(page(0, 3))
    for (let turn = 0; turn < 5; turn += 1) await gaps.detector().checkNext(going)
    expect(asked()).toBe(2)
    const failed = await checkRow()
    expect(failed).toMatchObject({ failures: 1, last_error: expect.stringContaining('given already') })
    expect(failed.due_in).toBeGreaterThan(20)
  })

  it('that goes round in a circle of pages is not followed', async () => {
    await gaps.route({}, {})
    gaps.hub.upstream.reset((response, request, number) =>
      page((number % 3) * 3, (number % 3) * 3 + 3)(response, request, number),
    )
    for (let turn = 0; turn < 5; turn += 1) await gaps.detector().checkNext(going)
    expect(asked()).toBeLessThan(10)
    expect((await checkRow()).last_error).toMatch(/cannot be read/)
  })

  it('that brings the same time for ever under new names is not followed', async () => {
    await gaps.route({}, {})
    gaps.hub.upstream.reset((response, request, number) =>
      json(200, { object: 'list', data: [stripeEvent(`evt_${number}`, NOW - 600)], has_more: true })(
        ...[response, request, number],
      ),
    )
    for (let turn = 0; turn < 3; turn += 1) {
      await gaps.detector().checkNext(going)
      await gaps.allDue()
    }
    expect(asked()).toBeLessThan(60)
    expect((await checkRow()).last_error).toMatch(/no further back/)
  })

  it('with several pages of one second is read to its end', async () => {
    await gaps.route({}, {})
    for (let at = 0; at < 8; at += 1) stripe.events.push(stripeEvent(`evt_${at}`, NOW - 600))
    await gaps.detector().checkNext(going)
    expect(await known()).toHaveLength(8)
    expect(await checkRow()).toMatchObject({ position: null, last_error: null })
  })

  it('that is long is read in turns with a rest between them', async () => {
    await gaps.route({}, {})
    for (let at = 0; at < 5; at += 1) stripe.events.push(stripeEvent(`evt_${at}`, NOW - 600 - at))
    const worker = gaps.detector({ maxPages: 2 })
    while (await worker.checkNext(going));
    expect(asked()).toBe(2)
    expect((await checkRow()).due_in).toBeGreaterThan(1)
    for (let turn = 0; turn < 2; turn += 1) {
      await gaps.allDue()
      await worker.checkNext(going)
    }
    expect(await known()).toHaveLength(5)
    expect(await checkRow()).toMatchObject({ position: null, last_error: null })
  })

  it('that has no end within reason fails in words', async () => {
    await gaps.route({}, {})
    for (let at = 0; at < 9; at += 1) stripe.events.push(stripeEvent(`evt_${at}`, NOW - 600 - at))
    const worker = gaps.detector({ maxPages: 2, maxPagesOfCheck: 5 })
    for (let turn = 0; turn < 4; turn += 1) {
      await worker.checkNext(going)
      await gaps.allDue()
    }
    expect((await checkRow()).last_error).toContain('more than 5 pages')
    expect(asked()).toBeLessThan(10)
  })

  it('that fails now and then is read to its end: what counts is the page, not the check', async () => {
    await gaps.route({}, {})
    for (let at = 0; at < 6; at += 1) stripe.events.push(stripeEvent(`evt_${at}`, NOW - 600 - at))
    const worker = gaps.detector()
    let turn = 0
    const failed = new Map<string, number>()
    gaps.hub.upstream.reset((response, request, number) => {
      const after = new URL(request.url, 'http://stripe').searchParams.get('starting_after')
      // Every page but the first fails in the turn that comes to it, whatever the connector tries again.
      if (after !== null && !failed.has(after)) failed.set(after, turn)
      const answer = after !== null && failed.get(after) === turn ? FAILING : stripe.answer
      answer(response, request, number)
    })
    for (; turn < 6; turn += 1) {
      await worker.checkNext(going)
      await gaps.allDue()
    }
    expect(await known()).toHaveLength(6)
    expect(await checkRow()).toMatchObject({ position: null, failures: 0, last_error: null })
    const first = gaps.hub.upstream.requests.filter(({ url }) => !url.includes('starting_after'))
    expect(first).toHaveLength(1)
  })

  it('whose page fails again and again begins anew, not sooner than a check is due, then later', async () => {
    await gaps.route({}, { everySeconds: 600 })
    gaps.hub.upstream.reset(page(0, 2))
    const due: number[] = []
    for (let round = 0; round < 6; round += 1) {
      await gaps.detector().checkNext(going)
      due.push((await checkRow()).due_in)
      await gaps.allDue()
    }
    // Three tries of the page that repeats; then from the first page, and three more.
    expect(await checkRow()).toMatchObject({ restarts: 2, position: null })
    expect(due[2]).toBeGreaterThan(590)
    expect(due[5]).toBeGreaterThan(1_190)
    // A first page that works again is no reason to be silent about it.
    await gaps.detector({ maxPages: 1 }).checkNext(going)
    expect(await checkRow()).toMatchObject({
      ...{ failures: 0, position: { after: 'evt_1' } },
      last_error: expect.stringContaining('given already'),
    })
  })
})

describe('the lease of a check', () => {
  it('is short, and goes on while its worker waits for a page', async () => {
    await gaps.route({}, {})
    let answer = (): void => undefined
    gaps.hub.upstream.reset((...args) => {
      answer = () => stripe.answer(...args)
    })
    const leaseMs = 1_500
    const working = gaps.detector({ leaseMs }).checkNext(going)
    await vi.waitFor(() => expect(asked()).toBe(1))
    const [{ ends } = { ends: new Date(0) }] = await gaps.hub.query<{ ends: Date }>(
      `select now() + make_interval(secs => ${leaseMs / 1_000}) as ends`,
    )
    await expect
      .poll(() => gaps.hub.query('select where now() > $1', [ends]), { timeout: 10_000 })
      .toHaveLength(1)
    expect(await gaps.detector().checkNext(going)).toBe(false)
    answer()
    expect(await working).toBe(true)
    expect(await checkRow()).toMatchObject({ last_error: null, leased_for: null })
  })

  it('of a worker that has died ends within half a minute, and what it still writes counts for nothing', async () => {
    const route = await gaps.route({}, {})
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    let answer = (): void => undefined
    gaps.hub.upstream.reset((...args) => {
      answer = () => stripe.answer(...args)
    })
    const late = gaps.detector().checkNext(going)
    await vi.waitFor(() => expect(asked()).toBe(1))
    expect((await checkRow()).leased_for).toBeLessThanOrEqual(30)
    await gaps.hub.query(`update webhook_gap_check set lease_until = now() where route_id = $1`, [route.id])
    const stale = answer
    const second = gaps.detector().checkNext(going)
    await vi.waitFor(() => expect(asked()).toBe(2))
    stale()
    expect(await late).toBe(true)
    expect(await known()).toEqual([])
    expect((await checkRow()).leased_for).toBeGreaterThan(0)
    answer()
    expect(await second).toBe(true)
    expect(await known()).toEqual(['evt_1'])
  })
})

describe('a fault of the hub itself', () => {
  it('is a failure of the check, not a route that has gone', async () => {
    const route = await gaps.route({}, {})
    await gaps.detector({}, 'webhook_routes.find').checkNext(going)
    expect(await checkRow()).toMatchObject({ failures: 1 })
    expect(asked()).toBe(0)
    await callForCheck(
      gaps.hub.database.db,
      { tenantId: gaps.hub.tenantId, routeId: route.id },
      {
        ...{ actor: 'operator:ann@example.com', reason: 'it works again' },
        call: { requestId: 'r', correlationId: 'c', traceId: 'd'.repeat(32), traceparent: '' },
      },
    )
    await gaps.detector().checkNext(going)
    expect(await checkRow()).toMatchObject({ failures: 0, last_error: null })
  })

  it.each([
    ['a workspace that is suspended', `update workspace set status = 'suspended' where id = $1`, /workspace/],
    [
      'a check that was taken away',
      'update webhook_route set gap_check = null where tenant_id = $1',
      /gap check/,
    ],
  ])('is told from %s, which is said in words', async (_what, change, words) => {
    await gaps.route({}, { pull: 'automatic' })
    stripe.events.push(stripeEvent('evt_1', NOW - 600))
    await gaps.detector().checkNext(going)
    await gaps.hub.query(change, [gaps.hub.tenantId])
    const status = async () => (await gaps.hub.directory.find(gaps.hub.tenantId))?.status
    if (change.includes('suspended')) await expect.poll(status, { timeout: 20_000 }).toBe('suspended')
    await gaps.detector().pullSome()
    const [gap] = await gaps.hub.query<{ pull_error: string }>('select pull_error from webhook_gap')
    expect(gap?.pull_error).toMatch(words)
    await gaps.hub.query(`update workspace set status = 'active' where id = $1`, [gaps.hub.tenantId])
    await expect.poll(status, { timeout: 20_000 }).toBe('active')
  })
})
