import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { type GapHub, gapHub } from '../../../testing/gap-hub.ts'
import { newId } from '../../platform/ids.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { gapCheckFaults } from './check-settings.ts'
import { webhookGapsControl } from './webhook-gaps.control.ts'

let gaps: GapHub
let call: CallServer
let route: WebhookRoute
let unchecked: WebhookRoute
let [reader, writer, stranger] = ['', '', '']
const reason = 'they are needed'

beforeAll(async () => {
  gaps = await gapHub()
  const { access, tenantId, otherId, database } = gaps.hub
  call = await gaps.hub.serve((app) => webhookGapsControl(app, { db: database.db }))
  reader = await access.bearer(tenantId, { scopes: ['orchestrator.control.read'] })
  writer = await access.bearer(tenantId)
  stranger = await access.bearer(otherId)
  route = await gaps.route({}, {})
  unchecked = await gaps.route({ account: 'acct_2' }, {})
  await gaps.hub.query('update webhook_route set gap_check = null where id = $1', [unchecked.id])
})
afterAll(() => gaps.close())

const send = (
  method: 'GET' | 'POST',
  url: string,
  { as = writer, body }: { as?: string; body?: object } = {},
  // biome-ignore lint/suspicious/noExplicitAny: answers of many kinds.
) => call<any>(method, url, as, body ? { body } : {})

/** Missing events of the route, the oldest first; gives their ids. */
async function missing(...names: string[]): Promise<string[]> {
  const ids = names.map(() => newId())
  for (const [at, name] of names.entries())
    await gaps.hub.query(
      `insert into webhook_gap (tenant_id, id, route_id, event_id, event_type, handle, occurred_at)
       values ($1, $2, $3, $4, 'plan.created', $4, now())`,
      [gaps.hub.tenantId, ids[at], route.id, name],
    )
  return ids
}
const audited = async (action: string) =>
  (
    await gaps.hub.query<{ reason: string; object: string; actor: string }>(
      `select reason, object, actor from audit_entry where action = $1 order by seq desc limit 1`,
      [action],
    )
  )[0]

describe('/webhook-gaps', () => {
  it('lists what is missing, newest first, page by page and by filter', async () => {
    const ids = await missing('evt_a', 'evt_b', 'evt_c')
    const first = await send('GET', '/webhook-gaps?limit=2', { as: reader })
    expect(first.body.data.map(({ id }: { id: string }) => id)).toEqual([ids[2], ids[1]])
    const next = await send('GET', `/webhook-gaps?limit=2&cursor=${first.body.next_cursor}`, { as: reader })
    expect(next.body).toMatchObject({
      data: [{ id: ids[0], event_id: 'evt_a', state: 'missing' }],
      next_cursor: null,
    })
    const none = await send('GET', `/webhook-gaps?state=pulled&route_id=${route.id}`, { as: reader })
    expect(none.body.data).toEqual([])
    expect((await send('GET', '/webhook-gaps', { as: stranger })).body.data).toEqual([])
  })

  it('shows every route that is checked and how that goes, also before its first check', async () => {
    const { body } = await send('GET', '/webhook-gaps/checks', { as: reader })
    expect(body.data).toMatchObject([
      {
        route_id: route.id,
        connector: 'stripe',
        pull: 'manual',
        every_seconds: 3_600,
        due_at: null,
        running: false,
      },
    ])
    expect((await send('GET', '/webhook-gaps/checks', { as: stranger })).body.data).toEqual([])
  })

  it('makes a check due, with its reason in the audit log', async () => {
    await gaps.hub.query(
      `insert into webhook_gap_check (tenant_id, route_id, due_at) values ($1, $2, now() + interval '1 hour')`,
      [gaps.hub.tenantId, route.id],
    )
    const answer = await send('POST', '/webhook-gaps/check', { body: { route_id: route.id, reason } })
    expect(answer).toMatchObject({ status: 202, body: { route_id: route.id } })
    const [{ due } = { due: false }] = await gaps.hub.query<{ due: boolean }>(
      'select due_at <= now() as due from webhook_gap_check where route_id = $1',
      [route.id],
    )
    expect(due).toBe(true)
    expect(await audited('webhook_gap.check_requested')).toMatchObject({
      reason,
      object: `webhook_route:${route.id}`,
    })
  })

  it('has no check for a route that is not there, not ours, or not checked', async () => {
    for (const [id, as, status] of [
      [newId(), writer, 404],
      [route.id, stranger, 404],
      [unchecked.id, writer, 409],
    ] as const)
      expect((await send('POST', '/webhook-gaps/check', { as, body: { route_id: id, reason } })).status).toBe(
        status,
      )
  })

  it('has missing events pulled in by their ids or by their route, of this workspace only', async () => {
    const [one, two] = await missing('evt_d', 'evt_e')
    const foreign = await send('POST', '/webhook-gaps/pull', { as: stranger, body: { ids: [one], reason } })
    expect(foreign).toMatchObject({ status: 404, body: { code: 'not_found' } })
    expect((await send('POST', '/webhook-gaps/pull', { body: { ids: [one, newId()], reason } })).status).toBe(
      404,
    )
    const byId = await send('POST', '/webhook-gaps/pull', { body: { ids: [one], reason } })
    expect(byId.body).toEqual({ requested: 1 })
    const wanted = await gaps.hub.query('select id, why from webhook_gap where pull_at is not null')
    expect(wanted).toEqual([{ id: one, why: reason }])
    const byRoute = await send('POST', '/webhook-gaps/pull', { body: { route_id: route.id, reason } })
    expect(byRoute.body.requested).toBeGreaterThanOrEqual(2)
    expect(
      await gaps.hub.query('select from webhook_gap where id = $1 and pull_at is not null', [two]),
    ).toHaveLength(1)
    expect(await audited('webhook_gap.pull_requested')).toMatchObject({ reason })
    const body = { route_id: route.id, reason }
    expect((await send('POST', '/webhook-gaps/pull', { as: stranger, body })).status).toBe(404)
  })

  it('wants to know which events, in one way', async () => {
    for (const body of [{ reason }, { ids: [newId()], route_id: route.id, reason }])
      expect((await send('POST', '/webhook-gaps/pull', { body })).body).toMatchObject({
        code: 'validation_error',
      })
  })

  it('dismisses an event once', async () => {
    const [id] = await missing('evt_f')
    const url = `/webhook-gaps/${id}/dismiss`
    expect((await send('POST', url, { as: stranger, body: { reason } })).status).toBe(404)
    expect((await send('POST', url, { as: reader, body: { reason } })).status).toBe(403)
    const { status, body } = await send('POST', url, { body: { reason } })
    expect(status).toBe(200)
    expect(body).toMatchObject({ id, state: 'dismissed', why: reason, pull_at: null })
    expect(await audited('webhook_gap.dismissed')).toMatchObject({ reason, object: `webhook_gap:${id}` })
    expect((await send('POST', url, { body: { reason } })).status).toBe(409)
    const again = await send('POST', '/webhook-gaps/pull', { body: { ids: [id], reason } })
    expect(again.body).toEqual({ requested: 0 })
  })
})

describe('the gap check of a route', () => {
  it.each([
    ['stripe', 'stripe', { types: ['invoice.*'], list: 'all' }, []],
    ['stripe', 'stripe', { lists: 'all' }, ['/gap_check/settings/lists']],
    ['stripe', 'smtp', {}, ['/gap_check/connector']],
    ['github', 'http', { input: { owner: 'octo', hook_id: 7 } }, []],
    ['github', 'http', { input: { owner: ['octo'] } }, ['/gap_check/settings/input/owner']],
    ['github', 'stripe', {}, ['/gap_check/connector']],
    ['slack', 'http', {}, ['/gap_check']],
  ])('of %s through %s with %j has the faults %j', (provider, kind, settings, paths) => {
    const found = new Set(gapCheckFaults(provider, kind, settings).map(({ path }) => path))
    expect([...found]).toEqual(paths)
  })
})
