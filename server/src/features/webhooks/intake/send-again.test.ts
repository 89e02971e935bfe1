import fc from 'fast-check'
import { afterAll, beforeAll, expect, it } from 'vitest'
import {
  claimLane,
  makeDue,
  type QueueFixture,
  queueFixture,
  registerNode,
} from '../../../../testing/queue-fixture.ts'
import { type WebhookHub, webhookHub } from '../../../../testing/webhook-hub.ts'
import { laneOfRoute, verifiedEvent } from '../../../../testing/webhook-intake.ts'
import { newId } from '../../../platform/ids.ts'
import { cancelJob } from '../../../queue/cancel.ts'
import { purgeLetters, restoreLetters } from '../../../queue/dead-letters.ts'
import type { ClaimedJob } from '../../../queue/job.ts'
import { createPromoter } from '../../../queue/promote.ts'
import { endedBy, type Settlement, settleJobs } from '../../../queue/settle.ts'
import type { WebhookRoute } from '../../webhook-routes/webhook-routes.ts'
import { keepHeldEvents } from '../delivery/held.ts'
import { createIntake, type Intake } from './take-webhook.ts'

let fixture: QueueFixture
let hub: WebhookHub
let intake: Intake
let tenantId: string
let nodeId: string
beforeAll(async () => {
  fixture = await queueFixture()
  hub = webhookHub(fixture.platform)
  tenantId = await hub.workspace('a-dev')
  intake = createIntake({ db: fixture.db, payloads: hub.payloads, wakeUp: { hint: () => undefined } })
})
afterAll(async () => {
  await hub.close()
  await fixture.drop()
})

/** Where the delivery of one event is, by the words of `sendAgain`; nothing of the implementation is in it. */
type Place =
  | 'ready'
  | 'running'
  | 'retrying'
  | 'done'
  | 'dead'
  /** A dead letter because its receiver wants it no more. */
  | 'aborted'
  | 'bin'
  | 'cancelled'
  | 'held'
  | 'ignored'
  /** The inbox row is no longer kept. */
  | 'gone'

interface World {
  readonly route: WebhookRoute
  readonly eventId: string
  place: Place
  inboxId: string
  lease: ClaimedJob | undefined
  rearmed: number
  copies: number
}

/** How the copy that the provider sends meets the route as it is now. */
const COPIES = {
  delivered: {},
  ignored: { type: 'nobody.wants' },
  held: { connectorIsThere: false },
} as const
type CopyKind = keyof typeof COPIES

const error = { class: 'http_5xx', message: 'It answers 503.' }
const ENDS = {
  done: { kind: 'done', result: 1, why: 'done' },
  retrying: { kind: 'retry', delayMs: 3_600_000, error, why: 'retry' },
  dead: { kind: 'dead', reason: 'attempts_spent', error, why: 'dead' },
  aborted: { kind: 'dead', reason: 'aborted_by_receiver', error, why: 'aborted' },
  held: { kind: 'cancelled', held: 'route_paused', why: 'held' },
} as const satisfies Partial<Record<Place, Settlement['outcome']>>

type Step = (world: World) => Promise<void>

const jobOf = async ({ inboxId }: World): Promise<string> => {
  const [row] = await hub.query<{ job_id: string }>('select job_id from webhook_inbox where id = $1', [
    inboxId,
  ])
  return row?.job_id ?? expect.unreachable('it has no job')
}

const act = { actor: 'ada', why: 'a test', planId: newId() }

const STEPS = {
  sendAgain:
    (copy: CopyKind): Step =>
    async (world) => {
      const webhook = verifiedEvent(world.route, { eventId: world.eventId, ...COPIES[copy] })
      const [answer] = await intake.take([webhook])
      expect(answer).toEqual({ inboxId: world.inboxId, duplicate: true })
      world.copies += 1
      const before = world.place
      if (world.place === 'dead') world.place = 'ready'
      else if ((world.place === 'held' || world.place === 'ignored') && copy === 'delivered')
        world.place = 'ready'
      else if (world.place === 'ignored' && copy === 'held') world.place = 'held'
      if (world.place !== before) world.rearmed += 1
    },
  work:
    (outcome: keyof typeof ENDS): Step =>
    async (world) => {
      if (world.place === 'ready') {
        const { jobs } = await claimLane(fixture.claimDb, nodeId, laneOfRoute(world.route), 1)
        world.lease = jobs[0]?.job ?? expect.unreachable('nothing was claimed')
        world.place = 'running'
      } else if (world.place === 'running' && world.lease) {
        const settlement = { job: world.lease, outcome: ENDS[outcome] }
        await fixture.db.transaction(async (tx) => {
          const settled = await settleJobs(tx, [settlement])
          expect(settled).toHaveLength(1)
          await keepHeldEvents(
            tx,
            settled.flatMap((each) => endedBy(each) ?? []),
          )
        })
        world.place = outcome
      } else if (world.place === 'retrying') {
        await makeDue(fixture.db, { tenantId })
        await createPromoter(
          fixture.claimDb,
          () => undefined,
          () => 0,
        )()
        world.place = 'ready'
      }
    },
  cancel: (): Step => async (world) => {
    if (world.place !== 'ready' && world.place !== 'retrying') return
    await cancelJob(fixture.db, { tenantId, id: await jobOf(world), actor: 'ada' })
    world.place = 'cancelled'
  },
  bin: (): Step => async (world) => {
    if (world.place !== 'dead') return
    const ids = [await jobOf(world)]
    await fixture.db.transaction((tx) => purgeLetters(tx, { tenantId, ids, ...act }))
    world.place = 'bin'
  },
  restore: (): Step => async (world) => {
    if (world.place !== 'bin') return
    const ids = [await jobOf(world)]
    await fixture.db.transaction((tx) => restoreLetters(tx, { tenantId, ids, ...act }))
    world.place = 'dead'
  },
  forget: (): Step => async (world) => {
    if (world.place !== 'done' && world.place !== 'cancelled' && world.place !== 'ignored') return
    await hub.query('delete from webhook_inbox where id = $1', [world.inboxId])
    await hub.query('delete from webhook_payload where id = $1', [world.inboxId])
    world.place = 'gone'
  },
}

const step: fc.Arbitrary<readonly [string, Step]> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .constantFrom<CopyKind>('delivered', 'ignored', 'held')
      .map((copy) => [`sent again: ${copy}`, STEPS.sendAgain(copy)] as const),
  },
  {
    weight: 6,
    arbitrary: fc
      .constantFrom<keyof typeof ENDS>('done', 'retrying', 'dead', 'dead', 'aborted', 'held')
      .map((end) => [`work: ${end}`, STEPS.work(end)] as const),
  },
  fc
    .constantFrom('cancel' as const, 'bin' as const, 'restore' as const, 'forget' as const)
    .map((name) => [name, STEPS[name]()] as const),
)

async function begin(first: CopyKind): Promise<World> {
  const id = newId()
  const route = await hub.route(tenantId, {
    secret: `whsec_${id}`,
    account: `acct_${id}`,
    eventTypes: ['invoice.*'],
  })
  // A lane of its own would need a connector of its own: the lanes of the tenant are emptied instead.
  await hub.query('truncate job, job_payload, job_ready, job_run, job_deferred, job_dead, job_attempt, node')
  nodeId = await registerNode(fixture.db)
  const eventId = `evt_${id}`
  const [answer] = await intake.take([verifiedEvent(route, { eventId, ...COPIES[first] })])
  const place = first === 'delivered' ? 'ready' : first
  return { route, eventId, place, inboxId: answer?.inboxId ?? '', lease: undefined, rearmed: 0, copies: 0 }
}

const IN_TABLES = {
  ready: { inbox: 'accepted', job: 'queued', ready: 1, run: 0, deferred: 0, dead: 0 },
  running: { inbox: 'accepted', job: 'queued', ready: 0, run: 1, deferred: 0, dead: 0 },
  retrying: { inbox: 'accepted', job: 'queued', ready: 0, run: 0, deferred: 1, dead: 0 },
  done: { inbox: 'accepted', job: 'done', ready: 0, run: 0, deferred: 0, dead: 0 },
  dead: { inbox: 'accepted', job: 'dead', ready: 0, run: 0, deferred: 0, dead: 1 },
  aborted: { inbox: 'accepted', job: 'dead', ready: 0, run: 0, deferred: 0, dead: 1 },
  bin: { inbox: 'accepted', job: 'dead', ready: 0, run: 0, deferred: 0, dead: 1 },
  cancelled: { inbox: 'accepted', job: 'cancelled', run: 0, deferred: 0, dead: 0 },
  held: { inbox: 'held', run: 0, deferred: 0, dead: 0 },
  ignored: { inbox: 'ignored', job: null, ready: 0, run: 0, deferred: 0, dead: 0 },
  gone: { inbox: null, run: 0, deferred: 0, dead: 0 },
} as const satisfies Record<Place, object>

async function check(world: World): Promise<void> {
  const [row] = await hub.query(
    `select (select state from webhook_inbox where id = $1) as inbox,
            (select j.state from webhook_inbox i join job j on j.id = i.job_id where i.id = $1) as job,
            (select count(*)::int from job_ready where tenant_id = $2) as ready,
            (select count(*)::int from job_run where tenant_id = $2) as run,
            (select count(*)::int from job_deferred where tenant_id = $2) as deferred,
            (select count(*)::int from job_dead where tenant_id = $2) as dead,
            (select count(*)::int from event where inbox_id = $1 and type = 'webhook.rearmed') as rearmed,
            (select duplicates from webhook_dedupe where inbox_id = $1) as copies`,
    [world.inboxId, tenantId],
  )
  expect(row).toMatchObject({ ...IN_TABLES[world.place], rearmed: world.rearmed, copies: world.copies })
}

const named = (name: 'cancel' | 'bin' | 'restore' | 'forget') => [name, STEPS[name]()] as const
const worked = (how: keyof typeof ENDS) => [`work: ${how}`, STEPS.work(how)] as const
const copied = ['sent again: delivered', STEPS.sendAgain('delivered')] as const
/** So that every state meets a copy. */
const EXAMPLES: [CopyKind, (readonly [string, Step])[]][] = [
  [
    'delivered',
    [copied, worked('dead'), copied, worked('dead'), named('bin'), copied, named('restore'), copied],
  ],
  ['delivered', [named('cancel'), copied, named('forget'), copied]],
  [
    'delivered',
    [worked('retrying'), worked('retrying'), copied, worked('done'), worked('done'), worked('done'), copied],
  ],
  ['delivered', [worked('aborted'), worked('aborted'), copied, copied]],
  ['held', [copied]],
  ['ignored', [copied]],
]

it('sends again what was given up, held or ignored, and leaves alone what is done, under way or decided by a person or the product', async () => {
  const seen = new Set<string>()
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom<CopyKind>('delivered', 'delivered', 'ignored', 'held'),
      fc.array(step, { minLength: 3, maxLength: 14 }),
      async (first, steps) => {
        const world = await begin(first)
        for (const [name, run] of steps) {
          const before = world.place
          await run(world)
          seen.add(`${before} ${name}`)
          await check(world)
        }
      },
    ),
    { numRuns: 60, examples: EXAMPLES },
  )
  // Every state has met a copy: otherwise the property says less than it seems to.
  const places = Object.keys(IN_TABLES).filter((place) => !seen.has(`${place} sent again: delivered`))
  expect(places).toEqual([])
}, 60_000)

it('makes one delivery of copies that come at the same time', async () => {
  for (const first of ['held', 'ignored'] as const) {
    const world = await begin(first)
    const copies = Array.from({ length: 20 }, () =>
      intake.take([verifiedEvent(world.route, { eventId: world.eventId })]),
    )
    await Promise.all(copies)
    await check({ ...world, place: 'ready', rearmed: 1, copies: 20 })
  }
})
