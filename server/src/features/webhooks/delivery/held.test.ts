import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { capturedLog } from '../../../../testing/captured-log.ts'
import { sampleClaimed } from '../../../../testing/claimed-job.ts'
import { freshRoute, inboxOf, setPaused, takeEvents } from '../../../../testing/held-deliveries.ts'
import {
  claimLane,
  type QueueFixture,
  queueFixture,
  registerNode,
} from '../../../../testing/queue-fixture.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { systemClock } from '../../../platform/clock.ts'
import { createMetrics, type Metrics } from '../../../platform/metrics.ts'
import { Problem } from '../../../problems.ts'
import type { ClaimedJob, Outcome } from '../../../queue/job.ts'
import { createSettler } from '../../../queue/settler.ts'
import { CallFailure } from '../../../resilience/failure.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { followDeliveries } from './follow-deliveries.ts'
import { createDeliveryGate, type DeliveryGate } from './held.ts'

let database: QueueFixture
let hub: WebhookHub
let gate: DeliveryGate
let metrics: Metrics
const captured = capturedLog()

beforeAll(async () => {
  database = await queueFixture()
  hub = webhookHub(database.platform)
  metrics = createMetrics('test', false)
  const platform = { ...database.platform, metrics, log: captured.log }
  gate = createDeliveryGate({ platform, routes: hub.routes })
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})

/** The deliveries of a route as a worker holds them. */
async function claim(route: WebhookRoute, count: number): Promise<ClaimedJob[]> {
  await takeEvents(hub, route, count)
  const node = await registerNode(database.db)
  const { tenantId, queue } = route
  const { jobs } = await claimLane(database.claimDb, node, { tenantId, queue, lane: 7 }, count)
  expect(jobs).toHaveLength(count)
  return jobs.map(({ job }) => job)
}

async function settle(job: ClaimedJob, outcome: Outcome | undefined): Promise<void> {
  if (!outcome) throw new Error('the job goes its way')
  const settler = createSettler({
    ...{ db: database.claimDb, clock: systemClock, random: () => 0, log: captured.log },
    ...{ followUps: followDeliveries, settled: () => undefined },
  })
  await settler.settle({ job, outcome })
}

const answer = (httpStatus: number, kind = 'http_4xx') =>
  new CallFailure({ class: 'permanent', kind, message: `HTTP ${httpStatus}.`, httpStatus })

const jobState = async ({ id }: ClaimedJob) =>
  (await hub.query<{ state: string }>('select state from job where id = $1', [id]))[0]?.state

const eventsOf = ({ tenantId }: WebhookRoute, type: string) =>
  hub.query<{ severity: string; message: string; data: Record<string, unknown> }>(
    'select severity, message, data from event where tenant_id = $1 and type = $2 order by seq',
    [tenantId, type],
  )

describe('a delivery whose route is paused', () => {
  test('ends without an attempt, and in the same commit its event is held', async () => {
    const route = await freshRoute(hub)
    const [job] = await claim(route, 1)
    if (!job) throw new Error('no job')
    expect(await gate.before(job)).toBeUndefined()
    await setPaused(hub, route, true)
    await hub.routes.refresh()
    const outcome = await gate.before(job)
    expect(outcome).toEqual({
      kind: 'cancelled',
      held: 'route_paused',
      why: 'The webhook route is paused by svc:test: maintenance. The event is held.',
    })
    await settle(job, outcome)
    expect(await jobState(job)).toBe('cancelled')
    expect(await inboxOf(hub, [job.inboxId ?? ''])).toEqual([
      { state: 'held', held_why: 'route_paused', job_id: job.id },
    ])
    expect(await eventsOf(route, 'webhook.held')).toMatchObject([
      {
        message: outcome?.why,
        data: { held_why: 'route_paused', job_id: job.id, route_id: route.id },
      },
    ])
  })

  test('goes on when the pause has ended and only the memory does not know yet', async () => {
    const route = await freshRoute(hub)
    const [job] = await claim(route, 1)
    await setPaused(hub, route, true)
    await hub.routes.refresh()
    const stale = await hub.routes.current()
    await setPaused(hub, route, false)
    const late = createDeliveryGate({
      platform: { ...database.platform, metrics: createMetrics('test', false) },
      routes: { current: async () => stale, refresh: hub.routes.refresh },
    })
    expect(job && (await late.before(job))).toBeUndefined()
  })

  test('that has got a newer delivery meanwhile does not take that one back', async () => {
    const route = await freshRoute(hub)
    const [job] = await claim(route, 1)
    if (!job) throw new Error('no job')
    const newer = '01930000-0000-7000-8000-000000000001'
    await hub.query('update webhook_inbox set job_id = $2 where id = $1', [job.inboxId, newer])
    await settle(job, { kind: 'cancelled', held: 'route_paused', why: 'Held.' })
    expect(await inboxOf(hub, [job.inboxId ?? ''])).toEqual([
      { state: 'accepted', held_why: null, job_id: newer },
    ])
  })
})

test('when its event cannot be held the delivery does not end either, but becomes a dead letter', async () => {
  const route = await freshRoute(hub)
  const [job] = await claim(route, 1)
  if (!job) throw new Error('no job')
  await hub.query(
    `create function keep_as_it_is() returns trigger language plpgsql as 'begin return null; end'`,
  )
  await hub.query(
    `create trigger stuck before update on webhook_inbox for each row
     when (old.id = '${job.inboxId}') execute function keep_as_it_is()`,
  )
  await settle(job, { kind: 'cancelled', held: 'route_paused', why: 'Held.' })
  expect(await jobState(job)).toBe('dead')
  expect(await eventsOf(route, 'webhook.held')).toEqual([])
})

describe('a receiver that is gone (410)', () => {
  test('pauses the route and alarms once, however many deliveries hear it; all of them are held', async () => {
    const route = await freshRoute(hub)
    const jobs = await claim(route, 5)
    const outcomes = await Promise.all(jobs.map((job) => gate.after(job, answer(410))))
    await Promise.all(jobs.map((job, at) => settle(job, outcomes[at])))

    const why = 'The receiver at product answered with HTTP 410: it is gone and wants no more events.'
    expect(
      await hub.query('select paused_by, paused_why from webhook_route where id = $1', [route.id]),
    ).toEqual([{ paused_by: 'hub', paused_why: why }])
    expect(await eventsOf(route, 'webhook_route.paused')).toMatchObject([
      { severity: 'error', message: why, data: { route_id: route.id, by: 'hub' } },
    ])
    expect(
      await hub.query('select actor, reason, object from audit_entry where tenant_id = $1 and action = $2', [
        route.tenantId,
        'webhook_route.paused',
      ]),
    ).toEqual([{ actor: 'hub', reason: why, object: `webhook_route:${route.id}` }])
    expect(captured.lines().filter(({ route_id }) => route_id === route.id)).toHaveLength(1)
    expect(
      await metrics.registry.getSingleMetricAsString('orchestrator_webhook_routes_paused_total'),
    ).toMatch(/cause="receiver_gone".* 1$/m)
    const held = await inboxOf(
      hub,
      jobs.map(({ inboxId }) => inboxId ?? ''),
    )
    expect(held.map(({ held_why }) => held_why)).toEqual(Array(5).fill('route_paused'))
    expect(await Promise.all(jobs.map(jobState))).toEqual(Array(5).fill('cancelled'))
    expect(
      await hub.query('select outcome, http_status from job_attempt where tenant_id = $1', [route.tenantId]),
    ).toEqual(Array(5).fill({ outcome: 'cancelled', http_status: 410 }))
    // Every process hears of it: the next delivery is not even tried.
    await vi.waitFor(async () =>
      expect((await hub.routes.current()).byId('stripe', route.id)?.paused?.by).toBe('hub'),
    )
  })

  test('pauses no route that delivers elsewhere by now: the event goes there', async () => {
    const route = await freshRoute(hub)
    const [job] = await claim(route, 1)
    await hub.query(`update webhook_route set connector = 'other' where id = $1`, [route.id])
    expect(job && (await gate.after(job, answer(410)))).toMatchObject({ held: 'connector_missing' })
    expect(await eventsOf(route, 'webhook_route.paused')).toEqual([])
  })

  test('of a route that has gone leaves a dead letter: there is nothing to pause', async () => {
    const route = await freshRoute(hub)
    const [job] = await claim(route, 1)
    await hub.query('delete from webhook_route where id = $1', [route.id])
    expect(job && (await gate.after(job, answer(410)))).toBeUndefined()
  })

  test('that only aborts the message goes on with the others', async () => {
    const route = await freshRoute(hub)
    const [job] = await claim(route, 1)
    expect(job && (await gate.after(job, answer(410, 'aborted_by_receiver')))).toBeUndefined()
  })
})

test('a delivery whose connector has left the config is held', async () => {
  const [job] = await claim(await freshRoute(hub), 1)
  const absent = new Problem('connector_not_found', 'The active config has no such connector.')
  expect(job && (await gate.after(job, absent))).toEqual({
    kind: 'cancelled',
    held: 'connector_missing',
    why: 'The active config has no connector product. The event is held.',
  })
})

test.each([
  ['an answer that may be another one soon', answer(404)],
  ['what is wrong with the input', new Problem('input_invalid', 'No.')],
])('%s is none of its business', async (_what, error) => {
  const [job] = await claim(await freshRoute(hub), 1)
  expect(job && (await gate.after(job, error))).toBeUndefined()
})

test('jobs that are no deliveries go their way', async () => {
  const job = sampleClaimed({ leaseId: 1 })
  expect(await gate.before(job)).toBeUndefined()
  expect(await gate.after(job, answer(410))).toBeUndefined()
})

test('the line is locked before the row of the inbox: who holds the line can have the row', async () => {
  const route = await freshRoute(hub, { ordering: { key: '/id', limitMs: 600_000 } })
  const [job] = await claim(route, 1)
  if (!job) throw new Error('no job')
  const { tenantId, inboxId } = job
  let settling: Promise<void> | undefined
  await database.db.transaction(async (tx) => {
    const ask = (text: string, values: unknown[]) => tx.execute({ name: '', text }, values)
    await ask(
      'select lock_webhook_lines(json_agg(l)) from (select tenant_id, route_id, key from webhook_line where tenant_id = $1) as l',
      [tenantId],
    )
    settling = settle(job, { kind: 'cancelled', held: 'route_paused', why: 'Paused.' })
    await vi.waitFor(async () =>
      expect(
        await hub.query(
          "select from pg_locks where locktype = 'advisory' and classid = 7128 and not granted",
        ),
      ).toHaveLength(1),
    )
    const free = 'select id from webhook_inbox where tenant_id = $1 and id = $2 for update skip locked'
    expect((await ask(free, [tenantId, inboxId])).rows).toHaveLength(1)
  })
  await settling
  expect(await inboxOf(hub, [inboxId ?? ''])).toMatchObject([{ state: 'held' }])
})
