import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshRoute, inboxOf, readyOf, setPaused, takeEvents } from '../../../../testing/held-deliveries.ts'
import {
  claimLane,
  type QueueFixture,
  queueFixture,
  registerNode,
} from '../../../../testing/queue-fixture.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { systemClock } from '../../../platform/clock.ts'
import type { Db } from '../../../platform/db/db.ts'
import { createMetrics } from '../../../platform/metrics.ts'
import type { ClaimedJob, Outcome } from '../../../queue/job.ts'
import { createSettler } from '../../../queue/settler.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { followDeliveries } from './follow-deliveries.ts'
import { createHeldSample } from './held-metrics.ts'
import { heldOf } from './held-ways.ts'
import { createRelease, type ReleaseDeps } from './release.ts'

let database: QueueFixture
let hub: WebhookHub

beforeAll(async () => {
  database = await queueFixture()
  hub = webhookHub(database.platform)
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})

const going = new AbortController().signal

const worker = (
  db: Db = database.platform.db,
  activeConnector: ReleaseDeps['activeConnector'] = async (tenantId, name) =>
    hub.connectors.get(`${tenantId}/${name}`),
  groupsPerRound?: number,
) => {
  const round = createRelease(
    {
      platform: { ...database.platform, db, metrics: createMetrics('test', false) },
      workspaces: hub.workspaces,
      activeConnector,
      wakeUp: { hint: () => undefined },
    },
    groupsPerRound,
  )
  return () => round(going)
}
/** One round of one worker. */
const release = (...of: Parameters<typeof worker>) => worker(...of)()

const HELD = { state: 'held', held_why: 'route_paused', job_id: null }
const RELEASED = { state: 'accepted', held_why: null, job_id: expect.any(String) }

test('what a paused route holds gets its jobs in the order of arrival, however many workers release it', async () => {
  const route = await freshRoute(hub)
  await setPaused(hub, route, true)
  await hub.routes.refresh()
  const ids = await takeEvents(hub, route, 450)
  await release()
  expect(new Set((await inboxOf(hub, ids)).map(({ state }) => state))).toEqual(new Set(['held']))
  expect(await readyOf(hub, route)).toEqual([])

  await setPaused(hub, route, false)
  await Promise.all([release(), release(), release()])
  await release()
  expect(await readyOf(hub, route)).toEqual(ids)
  expect(await inboxOf(hub, ids.slice(0, 1))).toEqual([RELEASED])
  const told = await hub.query<{ type: string; count: number }>(
    `select type, count(*)::int as count from event where tenant_id = $1 and type like 'webhook.%' group by type order by type`,
    [route.tenantId],
  )
  expect(told).toEqual([
    { type: 'webhook.held', count: 450 },
    { type: 'webhook.released', count: 450 },
  ])
}, 60_000)

test('a released delivery is the one that it would have been: the same message, in the same trace', async () => {
  const route = await freshRoute(hub, {
    queue: 'critical',
    emitOnDelivery: [{ eventTypes: ['invoice.*'], event: 'paid' }],
  })
  const [direct = ''] = await takeEvents(hub, route, 1)
  await setPaused(hub, route, true)
  const [held = ''] = await takeEvents(hub, route, 1)
  await setPaused(hub, route, false)
  await release()
  const jobOf = async (inboxId: string) => {
    const [row] = await hub.query<Record<string, unknown>>(
      `select j.queue, j.lane, j.connector, j.operation, j.config_version, j.idempotency_key, j.created_by, j.trace_id,
              j.traceparent, p.input, p.input_ref, p.completion
       from job j join job_payload p on p.tenant_id = j.tenant_id and p.job_id = j.id where j.inbox_id = $1`,
      [inboxId],
    )
    // What differs is the event itself.
    return JSON.parse(
      JSON.stringify(row)
        .replaceAll(inboxId, 'inbox')
        .replaceAll(/evt_[0-9a-f-]+/g, 'evt'),
    )
  }
  const [first, second] = [await jobOf(direct), await jobOf(held)]
  expect(second).toEqual({ ...first, traceparent: expect.stringMatching(/^00-a{32}-[0-9a-f]{16}-01$/) })
  expect(second).toMatchObject({
    idempotency_key: 'inbox-inbox',
    input_ref: { kind: 'inbox', route_id: route.id },
  })
})

test('of several causes the last one to go lets the event go; the row goes on saying which held it first', async () => {
  const route = await freshRoute(hub)
  const { tenantId } = route
  const connector = hub.connectors.get(`${tenantId}/product`)
  if (!connector) throw new Error('no connector')
  await setPaused(hub, route, true)
  const ids = await takeEvents(hub, route, 2)
  hub.connectors.delete(`${tenantId}/product`)
  const now = async () => {
    await release()
    return inboxOf(hub, ids)
  }
  expect(await now()).toEqual([HELD, HELD])
  await setPaused(hub, route, false)
  expect(await now()).toEqual([HELD, HELD])
  hub.connectors.set(`${tenantId}/product`, connector)
  expect(await now()).toEqual([RELEASED, RELEASED])
  expect(await readyOf(hub, route)).toEqual(ids)
})

test('routes that cannot be released keep no other from being looked at, however many they are', async () => {
  const routes = []
  for (let at = 0; at < 5; at += 1) routes.push(await freshRoute(hub))
  for (const route of routes) {
    await setPaused(hub, route, true)
    await takeEvents(hub, route, 1)
  }
  const [first, last] = [routes[0], routes.at(-1)]
  if (!first || !last) throw new Error('no routes')
  const round = worker(undefined, undefined, 2)
  const isReleased = async (route: WebhookRoute) => (await readyOf(hub, route)).length === 1
  const groups = await hub.query(
    "select distinct tenant_id, route_id from webhook_inbox where state = 'held'",
  )
  const around = async () => {
    for (let at = 0; at <= groups.length / 2 + 1; at += 1) await round()
  }
  await setPaused(hub, last, false)
  await around()
  expect(await isReleased(last)).toBe(true)
  await setPaused(hub, first, false)
  await around()
  expect(await isReleased(first)).toBe(true)
})

test('a look at many routes that hold events is one statement, whatever holds them', async () => {
  for (let at = 0; at < 6; at += 1) {
    const route = await freshRoute(hub)
    const { tenantId } = route
    await setPaused(hub, route, true)
    await takeEvents(hub, route, 1)
    if (at % 3 === 0) hub.connectors.delete(`${tenantId}/product`)
    if (at % 3 !== 1) await setPaused(hub, route, at % 3 === 2)
    if (at === 3) await hub.query('delete from webhook_route where id = $1', [route.id])
  }
  let statements = 0
  const counting: Db = {
    ...database.platform.db,
    execute: (...of) => {
      statements += 1
      return database.platform.db.execute(...of)
    },
  }
  const round = worker(counting)
  await round()
  statements = 0
  await round()
  expect(statements).toBe(1)
})

test('a worker that dies before the commit leaves its batch held, and the next one releases it once', async () => {
  const route = await freshRoute(hub)
  await setPaused(hub, route, true)
  const ids = await takeEvents(hub, route, 3)
  await setPaused(hub, route, false)
  const { db } = database.platform
  const dying: Db = {
    ...db,
    transaction: (work) =>
      db.transaction(async (tx) => {
        await work(tx)
        throw new Error('killed')
      }),
  }
  await release(dying)
  expect(await inboxOf(hub, ids)).toEqual([HELD, HELD, HELD])
  expect(await readyOf(hub, route)).toEqual([])
  await release()
  await release()
  expect(await readyOf(hub, route)).toEqual(ids)
})

test('a route of which something is wrong keeps no other from its release', async () => {
  const routes = [await freshRoute(hub), await freshRoute(hub), await freshRoute(hub)]
  for (const route of routes) {
    await setPaused(hub, route, true)
    await takeEvents(hub, route, 1)
    await setPaused(hub, route, false)
  }
  const [broken] = routes
  await release(database.platform.db, async (tenantId, name) => {
    if (tenantId === broken?.tenantId) throw new Error('its config cannot be read')
    return hub.connectors.get(`${tenantId}/${name}`)
  })
  const ready = await Promise.all(routes.map((route) => readyOf(hub, route)))
  expect(ready.map(({ length }) => length)).toEqual([0, 1, 1])
})

test('what was accepted is still delivered when its route is gone, to the connector that it came for', async () => {
  const route = await freshRoute(hub)
  await setPaused(hub, route, true)
  const ids = await takeEvents(hub, route, 2)
  await hub.query('delete from webhook_route where id = $1', [route.id])
  await release()
  expect(await inboxOf(hub, ids)).toEqual([RELEASED, RELEASED])
  expect(await readyOf(hub, route)).toEqual(ids)
})

test('held events of an ordered route are released into their line: one at a time, in their order', async () => {
  const route = await freshRoute(hub, { ordering: { key: '/id', limitMs: 600_000 } })
  await setPaused(hub, route, true)
  const ids = await takeEvents(hub, route, 3)
  await setPaused(hub, route, false)
  const states = async () => (await inboxOf(hub, ids)).map(({ state }) => state)
  await release()
  expect(await states()).toEqual(['accepted', 'waiting', 'waiting'])
  expect(await readyOf(hub, route)).toEqual(ids.slice(0, 1))

  // Paused again: what the worker meets goes back to the head of the line, and nobody overtakes it.
  const node = await registerNode(database.db)
  const claimOne = async () => {
    const { tenantId, queue } = route
    const [claimed] = (await claimLane(database.claimDb, node, { tenantId, queue, lane: 7 })).jobs
    if (!claimed) throw new Error('nothing is ready')
    return claimed.job
  }
  const settle = async (job: ClaimedJob, outcome: Outcome) => {
    const settler = createSettler({
      ...{ db: database.claimDb, clock: systemClock, random: () => 0, log: database.platform.log },
      ...{ followUps: followDeliveries, settled: () => undefined },
    })
    await settler.settle({ job, outcome })
  }
  await setPaused(hub, route, true)
  await settle(await claimOne(), { kind: 'cancelled', held: 'route_paused', why: 'Paused.' })
  expect(await states()).toEqual(['held', 'waiting', 'waiting'])
  await setPaused(hub, route, false)
  await release()
  expect(await states()).toEqual(['accepted', 'waiting', 'waiting'])
  for (const id of ids) {
    const job = await claimOne()
    expect(job.inboxId).toBe(id)
    await settle(job, { kind: 'done', result: null, why: 'Done.' })
  }
  expect(await states()).toEqual(['accepted', 'accepted', 'accepted'])
})

test('how many wait, and for how long, is measured by what they wait for now', async () => {
  const [paused, missing] = [await freshRoute(hub), await freshRoute(hub)]
  for (const route of [paused, missing]) await setPaused(hub, route, true)
  await takeEvents(hub, paused, 2)
  await takeEvents(hub, missing, 3)
  await setPaused(hub, missing, false)
  hub.connectors.delete(`${missing.tenantId}/product`)
  const mine = new Set([paused.tenantId, missing.tenantId])
  const metrics = createMetrics('test', false)
  const sample = createHeldSample({
    platform: { ...database.platform, metrics },
    // Other tests leave events behind.
    workspaces: { find: async (id) => (mine.has(id) ? hub.workspaces.find(id) : undefined) },
    activeConnector: async (tenantId, name) => hub.connectors.get(`${tenantId}/${name}`),
  })
  expect(await heldOf(database.platform.db, missing.tenantId, missing.id)).toMatchObject({ events: 3 })
  await sample.measure()
  const text = () => metrics.registry.metrics()
  expect(await text()).toMatch(/webhooks_held\{why="route_paused",.*\} 2$/m)
  expect(await text()).toMatch(/webhooks_held\{why="connector_missing",.*\} 3$/m)
  expect(await text()).toMatch(/webhooks_held_oldest_seconds\{why="route_paused",.*\} \d/m)
  sample.forget()
  expect(await text()).not.toMatch(/why=/)
})
