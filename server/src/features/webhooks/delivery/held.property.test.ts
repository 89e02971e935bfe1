/** Whatever happens in whatever order: an event has a delivery under way or is held, never both and never neither. */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { freshRoute, setPaused, takeEvents } from '../../../../testing/held-deliveries.ts'
import {
  claimLane,
  type QueueFixture,
  queueFixture,
  registerNode,
} from '../../../../testing/queue-fixture.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { systemClock } from '../../../platform/clock.ts'
import { createMetrics } from '../../../platform/metrics.ts'
import type { Outcome } from '../../../queue/job.ts'
import { createSettler } from '../../../queue/settler.ts'
import { CallFailure } from '../../../resilience/failure.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { followDeliveries } from './follow-deliveries.ts'
import { createDeliveryGate, type DeliveryGate } from './held.ts'
import { createRelease } from './release.ts'

let database: QueueFixture
let hub: WebhookHub
let gate: DeliveryGate
let release: () => Promise<void>
let node: string

beforeAll(async () => {
  database = await queueFixture()
  hub = webhookHub(database.platform)
  const platform = { ...database.platform, metrics: createMetrics('test', false) }
  gate = createDeliveryGate({ platform, routes: hub.routes })
  const round = createRelease({
    ...{ platform, workspaces: hub.workspaces, wakeUp: { hint: () => undefined } },
    activeConnector: async (tenantId, name) => hub.connectors.get(`${tenantId}/${name}`),
  })
  release = async () => void (await round(new AbortController().signal))
})
afterAll(async () => {
  await hub.close()
  await database.drop()
})

const GONE = new CallFailure({ class: 'permanent', kind: 'http_4xx', message: 'HTTP 410.', httpStatus: 410 })
const DONE: Outcome = { kind: 'done', result: null, why: 'Done.' }
const DEAD: Outcome = { kind: 'dead', reason: 'permanent', error: { class: 'x', message: 'x' }, why: 'Dead.' }

/** Runs what is ready, as a worker does; `gone` says what the receiver answers. */
async function work(route: WebhookRoute, gone: boolean): Promise<number> {
  const { tenantId, queue } = route
  const { jobs } = await claimLane(database.claimDb, node, { tenantId, queue, lane: 7 }, 2)
  const settler = createSettler({
    ...{ db: database.claimDb, clock: systemClock, random: () => 0, log: database.platform.log },
    ...{ followUps: followDeliveries, settled: () => undefined },
  })
  await Promise.all(
    jobs.map(async ({ job }) => {
      const outcome = (await gate.before(job)) ?? (gone ? ((await gate.after(job, GONE)) ?? DEAD) : DONE)
      await settler.settle({ job, outcome })
    }),
  )
  return jobs.length
}

const STEPS = {
  take: (route: WebhookRoute) => takeEvents(hub, route, 2),
  pause: (route: WebhookRoute) => setPaused(hub, route, true),
  resume: (route: WebhookRoute) => setPaused(hub, route, false),
  release: () => release(),
  deliver: (route: WebhookRoute) => work(route, false),
  refuse: (route: WebhookRoute) => work(route, true),
} as const
const step = fc.constantFrom(...(Object.keys(STEPS) as (keyof typeof STEPS)[]))

/** Events of which the promise is broken. */
const broken = ({ tenantId }: WebhookRoute) =>
  hub.query(
    `select i.state, i.held_why, j.state as job, o.open
     from webhook_inbox i
     left join job j on j.tenant_id = i.tenant_id and j.id = i.job_id
     cross join lateral (
       select count(*)::int as open from job x where x.tenant_id = i.tenant_id and x.inbox_id = i.id and x.state = 'queued'
     ) as o
     where i.tenant_id = $1 and (
       o.open > 1 or (i.state <> 'accepted' and o.open > 0)
       or (i.state = 'accepted' and j.state not in ('queued', 'done')) or (i.state = 'accepted' and j.id is null)
     )`,
    [tenantId],
  )

test('an event is under way, delivered or held, and in the end all of them are delivered', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.array(step, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 8 }),
      async (moments) => {
        // A node that has not been heard of for ten seconds gets nothing.
        node = await registerNode(database.db)
        const route = await freshRoute(hub)
        await takeEvents(hub, route, 1)
        for (const together of moments) {
          await Promise.all(together.map((name) => STEPS[name](route)))
          expect(await broken(route)).toEqual([])
        }
        await setPaused(hub, route, false)
        await hub.routes.refresh()
        await release()
        while ((await work(route, false)) > 0);
        const left = await hub.query(
          `select i.state, j.state as job from webhook_inbox i left join job j on j.id = i.job_id
         where i.tenant_id = $1 and (i.state <> 'accepted' or j.state is distinct from 'done')`,
          [route.tenantId],
        )
        expect(left).toEqual([])
      },
    ),
    { numRuns: 60 },
  )
}, 60_000)
