import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  claimLane,
  type QueueFixture,
  queueFixture,
  registerNode,
} from '../../../../testing/queue-fixture.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { laneOfRoute, verifiedEvent } from '../../../../testing/webhook-intake.ts'
import { systemClock } from '../../../platform/clock.ts'
import { newId } from '../../../platform/ids.ts'
import { cancelJob } from '../../../queue/cancel.ts'
import type { ClaimedJob } from '../../../queue/job.ts'
import { endedBy, type Settlement, settleJobs } from '../../../queue/settle.ts'
import { createFollowUps } from '../../jobs/jobs.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { careForLines, deliverKeptEvents, lineOf } from './lines.ts'
import { createIntake, type Intake } from './take-webhook.ts'
import type { VerifiedWebhook } from './verified-webhook.ts'

let fixture: QueueFixture
let hub: WebhookHub
let intakes: readonly Intake[]
let tenantId: string
let nodeId: string
beforeAll(async () => {
  fixture = await queueFixture()
  hub = webhookHub(fixture.platform)
  tenantId = await hub.workspace('a-dev')
  const deps = { db: fixture.db, payloads: hub.payloads, wakeUp: { hint: () => undefined } }
  intakes = [createIntake(deps), createIntake(deps)]
})
afterAll(async () => {
  await hub.close()
  await fixture.drop()
})

const LIMIT_MS = 60_000

async function orderedRoute(): Promise<WebhookRoute> {
  const id = newId()
  await hub.query('truncate job, job_payload, job_ready, job_run, job_deferred, job_dead, job_attempt, node')
  nodeId = await registerNode(fixture.db)
  return hub.route(tenantId, {
    secret: `whsec_${id}`,
    account: `acct_${id}`,
    ordering: { key: '/data/object/customer', limitMs: LIMIT_MS },
  })
}

const eventOf = (route: WebhookRoute, customer: unknown): VerifiedWebhook =>
  verifiedEvent(route, { payload: { data: { object: { customer } } } })

async function take(route: WebhookRoute, customer: unknown, intake = intakes[0]): Promise<string> {
  const [answer] = (await intake?.take([eventOf(route, customer)])) ?? []
  return answer?.inboxId ?? expect.unreachable('it was not taken')
}

const stateOf = async (id: string) => {
  const [row] = await hub.query<{ state: string; job: string | null }>(
    `select i.state, j.state as job from webhook_inbox i left join job j on j.id = i.job_id where i.id = $1`,
    [id],
  )
  return row && `${row.state} ${row.job ?? ''}`.trim()
}
const statesOf = (ids: readonly string[]) => Promise.all(ids.map(stateOf))

const error = { class: 'http_5xx', message: 'It answers 503.' }
const ENDS = {
  done: { kind: 'done', result: 1, why: 'done' },
  dead: { kind: 'dead', reason: 'attempts_spent', error, why: 'dead' },
  held: { kind: 'cancelled', held: 'route_paused', why: 'held' },
  cancelled: { kind: 'cancelled', why: 'cancelled' },
} as const satisfies Record<string, Settlement['outcome']>

/** Those of every process that ends jobs; deliveries have no callbacks, so that no config is asked for. */
const followUps = createFollowUps({
  activeConfigs: { get: () => expect.unreachable('a config was asked for') },
  clock: systemClock,
})

/** As a worker ends it: what follows commits with the end. */
const end = (job: ClaimedJob, how: keyof typeof ENDS) =>
  fixture.db.transaction(async (tx) => {
    const settled = await settleJobs(tx, [{ job, outcome: ENDS[how] }])
    const ended = settled.flatMap((each) => endedBy(each) ?? [])
    await followUps(tx, ended)
  })

async function claim(route: WebhookRoute, most = 100): Promise<ClaimedJob[]> {
  await registerNode(fixture.db, nodeId)
  return (await claimLane(fixture.claimDb, nodeId, laneOfRoute(route), most)).jobs.map(({ job }) => job)
}

const deliverNext = async (route: WebhookRoute, how: keyof typeof ENDS = 'done'): Promise<void> => {
  const [job] = await claim(route, 1)
  await end(job ?? expect.unreachable('nothing is to be delivered'), how)
}

const passLimit = (ids: readonly string[]) =>
  hub.query(
    `update webhook_line set started_at = started_at - interval '2 minutes', look_at = now() where inbox_id = any($1)`,
    [ids],
  )

/** As the worker does that releases what was held. */
async function release(route: WebhookRoute): Promise<void> {
  const rows = await hub.query<{ id: string; customer: string }>(
    `select i.id, convert_from(p.body, 'UTF8')::json #>> '{data,object,customer}' as customer
     from webhook_inbox i join webhook_payload p on p.id = i.id
     where i.route_id = $1 and i.state = 'held' order by i.id`,
    [route.id],
  )
  for (const { id, customer } of rows) {
    const webhook = eventOf(route, customer)
    const job = webhook.delivery?.(id) ?? expect.unreachable('the route is paused')
    const line = lineOf(route, webhook.payload)
    await fixture.db.transaction((tx) =>
      deliverKeptEvents(tx, [{ job, routeId: route.id, line, why: 'Nothing holds it.' }]),
    )
  }
}
const setPaused = (route: WebhookRoute, paused: boolean) =>
  hub.query(
    `update webhook_route set paused_at = case when $2 then now() end, paused_by = case when $2 then 'ada' end,
            paused_why = case when $2 then 'a test' end where id = $1`,
    [route.id, paused],
  )

const linesOf = (route: WebhookRoute) =>
  hub.query('select inbox_id from webhook_line where route_id = $1', [route.id])

describe('events of one key', () => {
  it.each(['done', 'dead', 'cancelled'] as const)(
    'go one after the other, also when one ends as %s',
    async (how) => {
      const route = await orderedRoute()
      const ids = [await take(route, 'c1'), await take(route, 'c1'), await take(route, 'c1')]
      expect(await statesOf(ids)).toEqual(['accepted queued', 'waiting', 'waiting'])
      await deliverNext(route, how)
      expect(await statesOf(ids)).toEqual([`accepted ${how}`, 'accepted queued', 'waiting'])
      await deliverNext(route)
      await deliverNext(route)
      expect(await statesOf(ids)).toEqual([`accepted ${how}`, 'accepted done', 'accepted done'])
      expect(await linesOf(route)).toEqual([])
    },
  )

  it('wait also for one that is cancelled before a worker has it', async () => {
    const route = await orderedRoute()
    const [first, second] = [await take(route, 'c1'), await take(route, 'c1')]
    const [row] = await hub.query<{ job_id: string }>('select job_id from webhook_inbox where id = $1', [
      first,
    ])
    const cancelled = await cancelJob(
      fixture.db,
      { tenantId, id: row?.job_id ?? '', actor: 'ada' },
      { followUps },
    )
    expect(cancelled.lanes).toEqual([laneOfRoute(route)])
    expect(await statesOf([first, second])).toEqual(['accepted cancelled', 'accepted queued'])
  })

  it('do not wait for those of others, nor does one without a key', async () => {
    const route = await orderedRoute()
    const keys = [
      'c1',
      'c2',
      1,
      '1',
      true,
      undefined,
      { id: 'c1' },
      undefined,
      'x'.repeat(500),
      'y'.repeat(500),
    ]
    const ids = []
    for (const key of keys) ids.push(await take(route, key))
    expect(await statesOf(ids)).toEqual(keys.map(() => 'accepted queued'))
    expect(await stateOf(await take(route, 'x'.repeat(500)))).toBe('waiting')
  })

  it('in one request and in one batch keep their order', async () => {
    const route = await orderedRoute()
    const events = Array.from({ length: 5 }, () => eventOf(route, 'c1'))
    const ids = (await intakes[0]?.take(events))?.map((answer) => answer?.inboxId ?? '') ?? []
    expect(await statesOf(ids)).toEqual(['accepted queued', 'waiting', 'waiting', 'waiting', 'waiting'])
    for (const id of ids) {
      const [job] = await claim(route)
      expect(job?.inboxId).toBe(id)
      if (job) await end(job, 'done')
    }
  })

  it('overtake one that is not over after the limit, which goes on, and the timeline says so', async () => {
    const route = await orderedRoute()
    const ids = [await take(route, 'c1'), await take(route, 'c1'), await take(route, 'c1')]
    const [slow] = await claim(route)
    expect(await careForLines(fixture.db)).toEqual({ lanes: [], more: false })
    await passLimit(ids.slice(0, 1))
    expect((await careForLines(fixture.db)).lanes).toEqual([laneOfRoute(route)])
    expect(await statesOf(ids)).toEqual(['accepted queued', 'accepted queued', 'waiting'])
    expect(
      await hub.query(`select inbox_id from event where type = 'webhook.overtaken' and inbox_id = any($1)`, [
        ids,
      ]),
    ).toEqual([{ inbox_id: ids[0] }])
    // Its end lets nobody else go: one of the line is on its way.
    if (slow) await end(slow, 'done')
    expect(await statesOf(ids)).toEqual(['accepted done', 'accepted queued', 'waiting'])
  })

  it('go on when nobody has told of an end', async () => {
    const route = await orderedRoute()
    const ids = [await take(route, 'c1'), await take(route, 'c1')]
    const [job] = await claim(route)
    if (job) await settleJobs(fixture.db, [{ job, outcome: ENDS.done }])
    expect(await statesOf(ids)).toEqual(['accepted done', 'waiting'])
    await hub.query('update webhook_line set look_at = now() where inbox_id = $1', [ids[0]])
    await careForLines(fixture.db)
    expect(await statesOf(ids)).toEqual(['accepted done', 'accepted queued'])
  })

  it('keep their place while their route is paused, whether they had begun or not', async () => {
    const route = await orderedRoute()
    const before = [await take(route, 'c1'), await take(route, 'c1')]
    await setPaused(route, true)
    const during = [await take(route, 'c1')]
    await deliverNext(route, 'held')
    expect(await statesOf([...before, ...during])).toEqual(['held cancelled', 'waiting', 'held'])
    await setPaused(route, false)
    const after = [await take(route, 'c1')]
    await release(route)
    const all = [...before, ...during, ...after]
    expect(await statesOf(all)).toEqual(['accepted queued', 'waiting', 'waiting', 'waiting'])
    for (const id of all) {
      const jobs = await claim(route)
      expect(jobs.map(({ inboxId }) => inboxId)).toEqual([id])
      if (jobs[0]) await end(jobs[0], 'done')
    }
    expect(await linesOf(route)).toEqual([])
  })

  it('are held at their turn when their route is paused by then', async () => {
    const route = await orderedRoute()
    const ids = [await take(route, 'c1'), await take(route, 'c1')]
    await setPaused(route, true)
    await deliverNext(route)
    expect(await statesOf(ids)).toEqual(['accepted done', 'held'])
    await setPaused(route, false)
    await release(route)
    expect(await statesOf(ids)).toEqual(['accepted done', 'accepted queued'])
  })

  it('are not held up by one that waits when the route loses its ordering or changes it', async () => {
    const route = await orderedRoute()
    await setPaused(route, true)
    const ids = [await take(route, 'c1'), await take(route, 'c1')]
    await setPaused(route, false)
    await release({ ...route, ordering: { key: '/type', limitMs: 1 } })
    expect(await statesOf(ids)).toEqual(['accepted queued', 'waiting'])
    await deliverNext(route)
    await deliverNext(route)
    expect(await statesOf(ids)).toEqual(['accepted done', 'accepted done'])
  })
})

type Step =
  | { readonly kind: 'arrive'; readonly key: number }
  | { readonly kind: 'end'; readonly pick: number; readonly how: keyof typeof ENDS; readonly told: boolean }
  | { readonly kind: 'claim' | 'care' | 'pause' | 'resume' }
  | { readonly kind: 'late'; readonly pick: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('arrive' as const), key: fc.nat(2) }) },
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('end' as const),
      pick: fc.nat(),
      how: fc.constantFrom<keyof typeof ENDS>('done', 'done', 'dead', 'cancelled'),
      told: fc.integer({ min: 0, max: 4 }).map((n) => n > 0),
    }),
  },
  { weight: 4, arbitrary: fc.record({ kind: fc.constantFrom('claim' as const, 'care' as const) }) },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constantFrom('pause' as const, 'resume' as const, 'resume' as const) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('late' as const), pick: fc.nat() }) },
)

it('whatever arrives, ends, dies, is missed or comes late: one at a time, in order, and all of them in the end', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), async (steps) => {
      const route = await orderedRoute()
      const accepted = new Map<number, string[]>()
      const keyOf = new Map<string, number>()
      const running: ClaimedJob[] = []
      const overtaken = new Set<string>()
      /** Per key, in the order in which workers got them. */
      const begun = new Map<number, string[]>()

      const claimAll = async (): Promise<void> => {
        for (const job of await claim(route)) {
          const key = keyOf.get(job.inboxId ?? '') ?? -1
          const others = running.filter((other) => keyOf.get(other.inboxId ?? '') === key)
          expect(others.filter(({ inboxId }) => !overtaken.has(inboxId ?? ''))).toEqual([])
          running.push(job)
          begun.set(key, [...(begun.get(key) ?? []), job.inboxId ?? ''])
        }
      }
      const act: Record<Step['kind'], (step: Step) => Promise<unknown>> = {
        arrive: async (each) => {
          if (each.kind !== 'arrive') return
          const id = await take(route, `c${each.key}`, intakes[each.key % 2])
          accepted.set(each.key, [...(accepted.get(each.key) ?? []), id])
          keyOf.set(id, each.key)
        },
        claim: claimAll,
        end: async (each) => {
          if (each.kind !== 'end') return
          const [job] = running.splice(each.pick % Math.max(1, running.length), 1)
          if (!job) return
          if (each.told) await end(job, each.how)
          else {
            await settleJobs(fixture.db, [{ job, outcome: ENDS[each.how] }])
            await hub.query('update webhook_line set look_at = now() where inbox_id = $1', [job.inboxId])
          }
        },
        care: () => careForLines(fixture.db),
        pause: () => setPaused(route, true),
        resume: async () => {
          await setPaused(route, false)
          await release(route)
        },
        late: async (each) => {
          const job = each.kind === 'late' ? running[each.pick % Math.max(1, running.length)] : undefined
          if (!job) return
          overtaken.add(job.inboxId ?? '')
          await passLimit([job.inboxId ?? ''])
        },
      }
      for (const each of steps) await act[each.kind](each)

      await act.resume({ kind: 'resume' })
      const total = [...accepted.values()].flat().length
      for (let round = 0; round <= 2 * total; round += 1) {
        await hub.query('update webhook_line set look_at = now() where look_at is not null')
        await careForLines(fixture.db)
        await claimAll()
        for (const job of running.splice(0)) await end(job, 'done')
      }
      for (const [key, ids] of accepted) expect(begun.get(key)).toEqual(ids)
      expect(await linesOf(route)).toEqual([])
    }),
    { numRuns: 40 },
  )
}, 90_000)

it('two processes that take and workers that deliver at the same time: never two at once, none forgotten', async () => {
  const route = await orderedRoute()
  const total = 120
  const taking = Array.from({ length: total }, (_, at) => take(route, `c${at % 3}`, intakes[at % 2]))
  let ended = 0
  const worker = async (): Promise<void> => {
    while (ended < total) {
      const jobs = await claim(route, 2)
      ended += jobs.length
      await Promise.all(jobs.map((job) => end(job, 'done')))
    }
  }
  await Promise.all([...taking, worker(), worker()])
  // From one turn of a key to the next there is exactly the end of the first.
  const told = await hub.query<{ type: string; inbox_id: string; key: string }>(
    `select e.type, e.inbox_id, convert_from(p.body, 'UTF8')::json #>> '{data,object,customer}' as key
     from event e join webhook_payload p on p.id = e.inbox_id
     join webhook_inbox i on i.id = e.inbox_id and i.route_id = $1
     where e.type in ('webhook.turn', 'job.succeeded') order by e.seq`,
    [route.id],
  )
  for (const key of ['c0', 'c1', 'c2']) {
    const own = told.filter((each) => each.key === key)
    expect(own).toHaveLength((2 * total) / 3)
    for (let at = 0; at < own.length; at += 2) {
      expect([own[at]?.type, own[at + 1]?.type]).toEqual(['webhook.turn', 'job.succeeded'])
      expect(own[at]?.inbox_id).toBe(own[at + 1]?.inbox_id)
    }
  }
  expect(await linesOf(route)).toEqual([])
}, 60_000)
