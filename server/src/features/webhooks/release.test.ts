import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshRoute, inboxOf, readyOf, setPaused, takeEvents } from '../../../testing/held-deliveries.ts'
import { claimLane, type QueueFixture, queueFixture, registerNode } from '../../../testing/queue-fixture.ts'
import { type WebhookHub, webhookHub } from '../../../testing/webhook-hub.ts'
import { systemClock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import { createMetrics } from '../../platform/metrics.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import { createSettler } from '../../queue/settler.ts'
import { followDeliveries } from './follow-deliveries.ts'
import { createHeldSample } from './held-metrics.ts'
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

/** One round of one worker. */
const release = (
  db: Db = database.platform.db,
  activeConnector: ReleaseDeps['activeConnector'] = async (tenantId, name) =>
    hub.connectors.get(`${tenantId}/${name}`),
) =>
  createRelease({
    platform: { ...database.platform, db, metrics: createMetrics('test', false) },
    workspaces: hub.workspaces,
    activeConnector,
    wakeUp: { hint: () => undefined },
  })(going)

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

test('of several causes the last one to go lets the event go, and the inbox says which is left', async () => {
  const route = await freshRoute(hub)
  const { tenantId } = route
  const connector = hub.connectors.get(`${tenantId}/product`)
  if (!connector) throw new Error('no connector')
  await setPaused(hub, route, true)
  hub.connectors.delete(`${tenantId}/product`)
  const ids = await takeEvents(hub, route, 2)
  const now = async () => {
    await release()
    return new Set((await inboxOf(hub, ids)).map(({ state, held_why }) => held_why ?? state))
  }
  expect(await now()).toEqual(new Set(['route_paused']))
  await setPaused(hub, route, false)
  expect(await now()).toEqual(new Set(['connector_missing']))
  hub.connectors.set(`${tenantId}/product`, connector)
  expect(await now()).toEqual(new Set(['accepted']))
  expect(await readyOf(hub, route)).toEqual(ids)
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

test('how many wait, and for how long, is measured by one worker for all', async () => {
  const route = await freshRoute(hub)
  await setPaused(hub, route, true)
  await takeEvents(hub, route, 2)
  const [leading, other] = [createMetrics('test', false), createMetrics('test', false)]
  const [sample, second] = [leading, other].map((metrics) => createHeldSample(database.platform.db, metrics))
  await sample?.()
  await second?.()
  const textOf = (metrics: typeof leading) => metrics.registry.metrics()
  expect(await textOf(leading)).toMatch(/webhooks_held\{why="route_paused",.*\} 2$/m)
  expect(await textOf(leading)).toMatch(/webhooks_held\{why="connector_missing",.*\} 0$/m)
  expect(await textOf(leading)).toMatch(/webhooks_held_oldest_seconds\{why="route_paused",.*\} \d/m)
  expect(await textOf(other)).not.toMatch(/why=/)
})
