import { afterAll, beforeAll, expect, test } from 'vitest'
import { type TestDatabase, testDatabase } from '../../../../testing/database.ts'
import { type WatchedPlans, watchPlans } from '../../../../testing/watched-plans.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import type { Queryable } from '../../../platform/db/statement.ts'
import { countHeld, countWaiting, FIRST_GROUP, listHeldGroups, oldestHeld } from './held.sql.ts'

/**
 * What workers do every other second about events that are held: it must not grow with their number. Counted in pages
 * and by the plans, with what Postgres knows of the table and without.
 */
let database: TestDatabase
let hub: WebhookHub
let watched: WatchedPlans
let tenantId: string
let routeId: string

const HELD = 300_000
/** A route that is gone, with events for several connectors. */
const GONE = '00000000-0000-7000-8000-000000000001'

beforeAll(async () => {
  database = await testDatabase()
  hub = webhookHub(database.platform)
  watched = await watchPlans(database.url, {})
  tenantId = await hub.workspace('a-dev')
  routeId = (await hub.route(tenantId, { secret: 'whsec_a' })).id
})
afterAll(async () => {
  await watched.close()
  await hub.close()
  await database.drop()
})

const fill = (route: string, rows: number, seed: string, state: 'held' | 'waiting' = 'held') =>
  hub.query(
    `insert into webhook_inbox (tenant_id, id, route_id, provider, livemode, event_id, event_type, occurred_at, state,
                                held_why, connector, size, request_id, correlation_id, trace_id)
     select $1, (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '7' || substr(md5($4 || n::text), 1, 3)
                 || 'a' || substr(md5($4), 1, 5) || lpad(to_hex(n), 10, '0'))::uuid,
            $2, 'stripe', false, 'evt', 'paid', now(), $5, case when $5 = 'held' then 'route_paused' end,
            'product' || n % 3, 1, 'r', 'c', md5(n::text)
     from generate_series(1, $3::int) as n`,
    [tenantId, route, rows, seed, state],
  )

const looks: Record<string, (on: Queryable) => Promise<unknown>> = {
  list: (on) => listHeldGroups(on, { after: FIRST_GROUP, limit: 1_000 }),
  oldest: (on) =>
    oldestHeld(on, { tenantId, routeId, connector: null, limit: 200, afterId: FIRST_GROUP.route_id }),
  'oldest of a connector': (on) =>
    oldestHeld(on, {
      ...{ tenantId, routeId: GONE, connector: 'product1', limit: 200 },
      afterId: FIRST_GROUP.route_id,
    }),
  'what waits for its turn': (on) => countWaiting(on, undefined),
}

async function pagesOfLooks(): Promise<Record<string, number>> {
  const pages: Record<string, number> = {}
  for (const [name, look] of Object.entries(looks)) {
    await look(watched.db)
    pages[name] = watched.pages()
  }
  return pages
}

test('300,000 held events of a route, and of one that is gone: a look at them costs what it costs with a thousand', async () => {
  await fill(routeId, 1_000, 'a')
  await fill(GONE, 1_000, 'b')
  await hub.query('analyze webhook_inbox')
  const few = await pagesOfLooks()
  await fill(routeId, HELD, 'c')
  await fill(GONE, HELD, 'd')
  const limitsOf = async () => {
    for (const [name, pages] of Object.entries(await pagesOfLooks()))
      expect(pages, name).toBeLessThan(200 + 2 * (few[name] ?? 0))
  }
  await limitsOf()
  await hub.query('analyze webhook_inbox')
  await limitsOf()
}, 120_000)

test('measuring reads so many of a route and no more', async () => {
  const of = [
    { tenant_id: tenantId, route_id: routeId, connector: null },
    { tenant_id: tenantId, route_id: GONE, connector: 'product1' },
  ]
  for (const mode of ['force_custom_plan', 'force_generic_plan']) {
    await watched.db.execute({ name: '', text: `set plan_cache_mode = ${mode}` }, [])
    const counted = await countHeld(watched.db, { of })
    expect(counted.map(({ events }) => events)).toEqual([10_000, 10_000])
    const read = watched.plans().matchAll(/"Actual Rows": ([\d.]+)/g)
    expect(Math.max(...[...read].map(([, rows]) => Number(rows)))).toBeLessThan(20_001)
  }
}, 60_000)
