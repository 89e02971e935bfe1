import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { type GithubDelivery, githubDeliveries } from '../../../../testing/event-lists.ts'
import { type GapHub, gapHub } from '../../../../testing/gap-hub.ts'
import { json } from '../../../../testing/upstream.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import type { GapDetector } from '../gap-detector.ts'

let gaps: GapHub
let detector: GapDetector
let github: ReturnType<typeof githubDeliveries>
const going = new AbortController().signal

beforeAll(async () => {
  gaps = await gapHub()
})
afterAll(() => gaps.close())
beforeEach(() => {
  detector = gaps.detector()
  github = githubDeliveries()
  gaps.hub.upstream.reset((...args) => github.answer(...args))
})
afterEach(async () => {
  await gaps.hub.query('delete from webhook_route')
})

const routeOf = (account: string | null = null, settings: object = {}): Promise<WebhookRoute> =>
  gaps.route(
    { provider: 'github', account },
    {
      ...{ connector: 'github', pull: 'automatic' },
      settings: { input: { owner: 'octo', repo: 'shop', hook_id: 42 }, ...settings },
    },
  )
const ago = (seconds: number) => new Date(Date.now() - seconds * 1_000).toISOString()
const guidOf = (number: number) => `0b989ba4-242f-11e5-81e1-c7b6966d${String(number).padStart(4, '0')}`
/** The `number`-th delivery: rises with the time. */
const delivery = (number: number, more: Partial<GithubDelivery> = {}): GithubDelivery => ({
  id: 12_345_000 + number,
  guid: guidOf(number),
  deliveredAt: ago(10_000 - number),
  ...more,
})
const checkAll = async (): Promise<void> => {
  while (await detector.checkNext(going));
}
const pullAll = async (): Promise<void> => {
  while (await detector.pullSome());
}
const known = () =>
  gaps.hub.query<{ event_id: string; state: string; why: string | null }>(
    'select event_id, state, why from webhook_gap order by event_id',
  )
const failure = async () =>
  (await gaps.hub.query<{ last_error: string | null }>('select last_error from webhook_gap_check'))[0]
    ?.last_error

describe('the deliveries of a webhook of GitHub', () => {
  it('are read page by page, and what failed is pulled in with its headers', async () => {
    github = githubDeliveries(2)
    const route = await routeOf()
    github.deliveries.push(
      ...[delivery(1), delivery(2), delivery(3, { statusCode: 200 })],
      ...[delivery(4), delivery(5, { deliveredAt: ago(5) })],
    )
    await checkAll()
    const paths = gaps.hub.upstream.requests.map(({ url }) => new URL(url, 'http://github'))
    expect(paths.map(({ pathname }) => pathname)).toEqual(
      Array.from({ length: 3 }, () => '/repos/octo/shop/hooks/42/deliveries'),
    )
    expect(paths.map(({ searchParams }) => searchParams.get('cursor'))).toEqual([
      null,
      'v1_12345003',
      'v1_12345001',
    ])
    await pullAll()
    expect(await known()).toMatchObject([1, 2, 4].map((at) => ({ event_id: guidOf(at), state: 'pulled' })))
    const rows = await gaps.hub.query<Record<string, unknown>>(
      `select i.event_type, i.source, i.occurred_at, p.headers, convert_from(p.body, 'UTF8')::json as body
       from webhook_inbox i join webhook_payload p on p.tenant_id = i.tenant_id and p.id = i.id
       where i.route_id = $1 and i.event_id = $2`,
      [route.id, guidOf(1)],
    )
    expect(rows).toMatchObject([
      {
        ...{ event_type: 'issues.opened', source: 'pulled' },
        occurred_at: new Date(github.deliveries[0]?.deliveredAt ?? ''),
        headers: { 'x-github-event': 'issues', 'x-github-delivery': guidOf(1) },
        body: { action: 'opened', issue: { title: 'Käse ☕' } },
      },
    ])
  })

  it('of an event that was delivered again are no gap', async () => {
    await routeOf()
    github.deliveries.push(delivery(1), delivery(2, { guid: guidOf(1), redelivery: true, statusCode: 202 }))
    github.deliveries.push(delivery(3), delivery(4, { guid: guidOf(3), redelivery: true }))
    await checkAll()
    expect(await known()).toMatchObject([{ event_id: guidOf(3) }])
  })

  it('are read back to where the last check has been, no further', async () => {
    github = githubDeliveries(2)
    await routeOf()
    for (let at = 1; at <= 6; at += 1)
      github.deliveries.push(delivery(at, { deliveredAt: ago(86_400 * 11 - at) }))
    github.deliveries.push(delivery(7))
    await checkAll()
    expect(gaps.hub.upstream.requests).toHaveLength(1)
    expect(await known()).toMatchObject([{ event_id: guidOf(7) }])
  })

  it('also those that GitHub believes delivered are found when all are asked for', async () => {
    await routeOf(null, { list: 'all' })
    github.deliveries.push(delivery(1, { statusCode: 200 }))
    await checkAll()
    expect(await known()).toMatchObject([{ event_id: guidOf(1) }])
  })

  it('of an app belong to the installation of the route', async () => {
    await routeOf('77')
    github.deliveries.push(delivery(1, { installation: 77 }), delivery(2, { installation: 78 }))
    await checkAll()
    await pullAll()
    expect(await known()).toMatchObject([{ event_id: guidOf(1), state: 'pulled' }])
  })

  it('of an account that another route has go to nobody through this one', async () => {
    await routeOf()
    await gaps.hub.query(
      `insert into webhook_route (tenant_id, id, provider, account, livemode, connector, secret_refs, queue, event_types,
         created_by)
       values ($1, gen_random_uuid(), 'github', 'octo/shop', false, 'product', '{signing}', 'webhook', '{*}', 'svc:test')`,
      [gaps.hub.otherId],
    )
    github.deliveries.push(delivery(91))
    await checkAll()
    await pullAll()
    expect(await known()).toMatchObject([{ state: 'dismissed', why: expect.stringContaining('route') }])
    expect(await gaps.hub.query('select from webhook_inbox where event_id = $1', [guidOf(91)])).toHaveLength(
      0,
    )
  })

  it.each([
    [
      'an id that JSON cannot carry',
      json(200, [{ ...{ id: 2 ** 60, guid: 'g', event: 'push' }, delivered_at: ago(600) }]),
    ],
    ['no guid', json(200, [{ id: 1, event: 'push', delivered_at: ago(600) }])],
    ['no time', json(200, [{ id: 1, guid: 'g', event: 'push' }])],
    ['no list', json(200, { message: 'no' })],
    ['a limit', json(429, { message: 'API rate limit exceeded' }, { 'retry-after': '1' })],
  ])('with %s are a failure that is shown', async (_what, answer) => {
    await routeOf()
    gaps.hub.upstream.reset(answer)
    await detector.checkNext(going)
    expect(await failure()).toMatch(/\w+/)
    expect(await known()).toEqual([])
  })

  it('cannot be asked for with settings that are none', async () => {
    await routeOf(null, { list: 'some' })
    await detector.checkNext(going)
    expect(await failure()).toContain('/gap_check/settings/list')
    expect(gaps.hub.upstream.requests).toEqual([])
  })
})
