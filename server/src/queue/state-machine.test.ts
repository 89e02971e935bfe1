import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { setLaneCap, setTenantCap } from '../../testing/queue-caps.ts'
import {
  claimLane,
  makeDue,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  silence,
} from '../../testing/queue-fixture.ts'
import { many, run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import { purgeLetters, replayLetters, restoreLetters } from './dead-letters.ts'
import { enqueueJobs } from './enqueue.ts'
import { expire } from './expire.ts'
import { type ClaimedJob, DEFAULT_PRIORITY, type NewJob, type Priority, upstreamKeyOf } from './job.ts'
import { blockLane } from './lane-policy.ts'
import { returnUnknown } from './node.sql.ts'
import { pauseLane, pauseQueue, pauseTenant, resumeLane, resumeQueue, resumeTenant } from './pause.ts'
import { createPromoter } from './promote.ts'
import { listJobs } from './read.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'
import { type Settlement, settleJobs } from './settle.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterAll(() => fixture.drop())

/**
 * What a job is, by the rules of the head comment of `queue.ts`; nothing of the implementation is in it. The clock is
 * the database's, so time passes by moving what waits for it into the past.
 */
interface Model {
  readonly job: NewJob
  priority: Priority
  place: 'ready' | 'run' | 'deferred' | 'ended'
  state: 'queued' | 'done' | 'dead' | 'cancelled'
  /** Its turn among the ready ones of its priority. */
  turn: number
  /** Cancelled while it was ready: the next claim that comes to it drops it. */
  ghost: boolean
  /** Attempts that were spent in this life. */
  spent: number
  lost: number
  /** A dead one that was purged. */
  binned: boolean
  expires: 'never' | 'later' | 'over'
  cancelRequested: boolean
  lease: ClaimedJob | undefined
  /** Leases that were given up. */
  stale: ClaimedJob[]
  /** What goes upstream; undefined = a new one, which the next claim shows. */
  key: string | undefined
  readonly keysBefore: string[]
}

type Switch = 'queue' | 'connector' | 'workspace'

interface World {
  readonly models: Model[]
  readonly tenantId: string
  nodeId: string
  turns: number
  readonly paused: Set<Switch>
  blocked: boolean
  laneCap: number | null
  tenantCap: number | null
}

const error = { class: 'http_5xx', message: 'It answers 503.' }
const OUTCOMES = {
  done: { kind: 'done', result: 1, why: 'done' },
  retry: { kind: 'retry', delayMs: 3_600_000, error, why: 'retry' },
  snooze: { kind: 'snooze', delayMs: 3_600_000, why: 'snooze' },
  dead: { kind: 'dead', reason: 'attempts_spent', error, why: 'dead' },
  cancelled: { kind: 'cancelled', why: 'cancelled' },
  returned: { kind: 'returned', why: 'returned' },
} as const satisfies Record<string, Settlement['outcome']>
type OutcomeKind = keyof typeof OUTCOMES

type Step = (world: World) => Promise<void>

const AN_HOUR_MS = 3_600_000
const LANE = { queue: 'default', lane: 1 } as const
const QUEUE_NUMBER = 2
const BY = { actor: 'ada', why: 'a test' }

const end = (model: Model, state: 'done' | 'dead' | 'cancelled', spent: number): void => {
  model.place = 'ended'
  model.state = state
  model.spent = spent
}
const makeReady = (world: World, model: Model): void => {
  world.turns += 1
  model.place = 'ready'
  model.turn = world.turns
}
/** Into its old place in the lane: what was handed back unspent has waited already. */
const putBack = (model: Model): void => {
  model.place = 'ready'
}
const running = ({ models }: World): Model[] => models.filter(({ place }) => place === 'run')
const picked = ({ models }: World, pick: number): Model | undefined =>
  models[pick % Math.max(1, models.length)]

/** Mostly one that is in this state, so that histories get somewhere; sometimes any other. */
const pickedAs = (world: World, state: Model['state'], pick: number): Model | undefined => {
  const fitting = world.models.filter((model) => model.state === state)
  return pick % 4 > 0 && fitting.length > 0 ? fitting[pick % fitting.length] : picked(world, pick)
}

const readyOrder = many<{ readonly tenantId: string }, { readonly job_id: string }>(
  'test.ready_order',
  'select job_id from job_ready where tenant_id = $1 order by seq',
  ({ tenantId }) => [tenantId],
)
/** Those that become ready together may do so in any order, behind all others. */
async function makeReadyTogether(world: World, models: readonly Model[]): Promise<void> {
  const order = (await readyOrder(fixture.db, world)).map(({ job_id }) => job_id)
  for (const model of models.toSorted((a, b) => order.indexOf(a.job.id) - order.indexOf(b.job.id)))
    makeReady(world, model)
}

interface Wish {
  readonly later: boolean
  readonly expiring: boolean
  readonly priority: Priority | undefined
}

const enqueue =
  ({ later, expiring, priority }: Wish): Step =>
  async (world) => {
    // More would only make the comparison slow.
    if (world.models.length >= 12) return
    const job = sampleJob({
      tenantId: world.tenantId,
      ...(priority && { priority }),
      ...(later && { runAt: new Date(Date.now() + AN_HOUR_MS) }),
      ...(expiring && { expiresAt: new Date(Date.now() + 2 * AN_HOUR_MS) }),
    })
    await enqueueJobs(fixture.db, [job])
    const model: Model = {
      job,
      priority: priority ?? DEFAULT_PRIORITY,
      place: 'deferred',
      state: 'queued',
      turn: 0,
      ghost: false,
      spent: 0,
      lost: 0,
      binned: false,
      expires: expiring ? 'later' : 'never',
      cancelRequested: false,
      lease: undefined,
      stale: [],
      key: upstreamKeyOf(job.id),
      keysBefore: [],
    }
    if (!later) makeReady(world, model)
    world.models.push(model)
  }

/** The ready rows that a claim of `take` comes to. */
function dueOf(world: World, take: number): Model[] {
  if (world.paused.size > 0 || world.blocked) return []
  const busy = running(world).length
  const room = Math.min(take, (world.laneCap ?? Infinity) - busy, (world.tenantCap ?? Infinity) - busy)
  return world.models
    .filter(({ place, ghost }) => place === 'ready' || ghost)
    .toSorted((a, b) => a.priority - b.priority || a.turn - b.turn)
    .slice(0, Math.max(0, room))
}

const claim =
  (take: number): Step =>
  async (world) => {
    const due = dueOf(world, take)
    const { jobs, answers } = await claimLane(
      fixture.claimDb,
      world.nodeId,
      { ...LANE, tenantId: world.tenantId },
      take,
    )
    const starting = due.filter(({ ghost, expires }) => !ghost && expires !== 'over')
    expect(jobs.map(({ job }) => job.id).toSorted()).toEqual(starting.map(({ job }) => job.id).toSorted())
    const verdict = answers[0]?.verdict
    if (world.paused.size > 0) expect(verdict).toBe('paused')
    else if (world.blocked) expect(verdict).toBe('blocked')
    for (const model of due) {
      const { job } = jobs.find(({ job: { id } }) => id === model.job.id) ?? {}
      if (model.ghost) model.ghost = false
      else if (job === undefined) model.place = 'deferred'
      else {
        expect(job.attempt).toBe(model.spent + 1)
        model.key ??= job.idempotencyKey
        expect(job.idempotencyKey).toBe(model.key)
        expect(model.keysBefore).not.toContain(model.key)
        model.place = 'run'
        model.lease = job
      }
    }
  }

const giveUpLease = (model: Model): void => {
  if (model.lease) model.stale.push(model.lease)
  model.lease = undefined
}

const settle =
  (pick: number, kind: OutcomeKind): Step =>
  async (world) => {
    const held = running(world)
    const model = held[pick % Math.max(1, held.length)]
    if (!model?.lease) return
    const settled = await settleJobs(fixture.claimDb, [{ job: model.lease, outcome: OUTCOMES[kind] }])
    expect(settled).toHaveLength(1)
    giveUpLease(model)
    const goesOn = kind === 'retry' || kind === 'snooze' || kind === 'returned'
    if (goesOn && model.cancelRequested) end(model, 'cancelled', model.spent + 1)
    else if (kind === 'returned') putBack(model)
    else if (goesOn) {
      model.place = 'deferred'
      if (kind === 'retry') model.spent += 1
    } else end(model, kind, model.spent + 1)
  }

const settleStale =
  (pick: number, kind: OutcomeKind): Step =>
  async (world) => {
    const leases = world.models.flatMap(({ stale }) => stale)
    const job = leases[pick % Math.max(1, leases.length)]
    if (!job) return
    expect(await settleJobs(fixture.claimDb, [{ job, outcome: OUTCOMES[kind] }])).toEqual([])
  }

const cancel =
  (pick: number): Step =>
  async (world) => {
    const model = pickedAs(world, 'queued', pick)
    if (!model) return
    const ref = { tenantId: world.tenantId, id: model.job.id, actor: 'ada' }
    const answer = await cancelJob(fixture.db, ref).then(
      ({ state }) => state,
      (problem: { code?: string }) => problem.code,
    )
    if (model.place === 'ended') expect(answer).toBe(model.state === 'cancelled' ? 'cancelled' : 'conflict')
    else if (model.place === 'run') {
      expect(answer).toBe('cancelling')
      model.cancelRequested = true
    } else {
      expect(answer).toBe('cancelled')
      model.ghost = model.place === 'ready'
      end(model, 'cancelled', model.spent)
    }
  }

const actOn = ({ tenantId }: World, { job }: Model) => ({ tenantId, ids: [job.id], planId: newId(), ...BY })

const replay =
  (pick: number, newEffect: boolean): Step =>
  async (world) => {
    const model = pickedAs(world, 'dead', pick)
    if (!model) return
    const lives = await fixture.db.transaction((tx) =>
      replayLetters(tx, { ...actOn(world, model), newEffect }),
    )
    const can = model.state === 'dead' && !model.binned
    expect(lives.map(({ id }) => id)).toEqual(can ? [model.job.id] : [])
    if (!can) return
    const life = { state: 'queued', spent: 0, lost: 0, cancelRequested: false, expires: 'never', priority: 4 }
    Object.assign(model, life)
    if (newEffect) {
      if (model.key !== undefined) model.keysBefore.push(model.key)
      model.key = undefined
    }
    makeReady(world, model)
  }

const bin =
  (pick: number, into: boolean): Step =>
  async (world) => {
    const model = pickedAs(world, 'dead', pick)
    if (!model) return
    const move = into ? purgeLetters : restoreLetters
    const moved = await fixture.db.transaction((tx) => move(tx, actOn(world, model)))
    const can = model.state === 'dead' && model.binned !== into
    expect(moved).toEqual(can ? [model.job.id] : [])
    if (can) model.binned = into
  }

const promote: Step = async (world) => {
  await makeDue(fixture.db, { tenantId: world.tenantId })
  await createPromoter(
    fixture.claimDb,
    () => undefined,
    () => performance.now(),
  )()
  await makeReadyTogether(
    world,
    world.models.filter(({ place }) => place === 'deferred'),
  )
}

const passExpiry = run<{ readonly tenantId: string; readonly id: string }>(
  'test.pass_expiry',
  `update job set expires_at = clock_timestamp() - interval '1 second' where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)
const lookSoon = run<{ readonly tenantId: string }>(
  'test.look_soon',
  `update job_expiry e set check_at = clock_timestamp() - interval '1 second'
   where tenant_id = $1 and exists (
     select from job j where j.tenant_id = $1 and j.id = e.job_id and j.expires_at < clock_timestamp()
   )`,
  ({ tenantId }) => [tenantId],
)
const itsTimePasses =
  (pick: number): Step =>
  async (world) => {
    const expiring = world.models.filter(({ expires, state }) => expires === 'later' && state === 'queued')
    const model = expiring[pick % Math.max(1, expiring.length)]
    if (!model) return
    await passExpiry(fixture.db, { tenantId: world.tenantId, id: model.job.id })
    model.expires = 'over'
  }

const expireRound: Step = async (world) => {
  await lookSoon(fixture.db, world)
  await expire(fixture.claimDb, { log: fixture.platform.log })
  for (const model of world.models)
    if (model.expires === 'over' && (model.place === 'ready' || model.place === 'deferred'))
      end(model, 'dead', model.spent)
}

const turnSwitch =
  (which: Switch, pause: boolean): Step =>
  async (world) => {
    const { tenantId } = world
    const [queue, lane] = [
      { tenantId, queue: QUEUE_NUMBER },
      { tenantId, lane: LANE.lane },
    ]
    const turns = {
      queue: () => (pause ? pauseQueue(fixture.db, { ...queue, ...BY }) : resumeQueue(fixture.db, queue)),
      connector: () => (pause ? pauseLane(fixture.db, { ...lane, ...BY }) : resumeLane(fixture.db, lane)),
      workspace: () =>
        pause ? pauseTenant(fixture.db, { tenantId, ...BY }) : resumeTenant(fixture.db, { tenantId }),
    }
    await turns[which]()
    if (pause) world.paused.add(which)
    else world.paused.delete(which)
    if (which === 'connector' && !pause) world.blocked = false
  }

const resumeAll: Step = async (world) => {
  for (const it of ['queue', 'connector', 'workspace'] as const) await turnSwitch(it, false)(world)
}

const block: Step = async (world) => {
  const by = { connector: 'crm', jobId: newId(), requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32) }
  const lane = { tenantId: world.tenantId, lane: LANE.lane }
  await blockLane(fixture.db, { ...lane, forMs: AN_HOUR_MS, reason: 'retry_after', why: 'HTTP 429', by })
  world.blocked = true
}

const cap =
  (which: 'laneCap' | 'tenantCap', maxRunning: number | null): Step =>
  async (world) => {
    const { tenantId } = world
    if (which === 'laneCap') await setLaneCap(fixture.db, { tenantId, lane: LANE.lane, maxRunning })
    else await setTenantCap(fixture.db, { tenantId, maxRunning })
    world[which] = maxRunning
  }

const loseTheWorker: Step = async (world) => {
  await silence(fixture.db, { nodeId: world.nodeId })
  await rescue(fixture.claimDb, { limits: RESCUE_LIMITS, log: fixture.platform.log })
  world.nodeId = await registerNode(fixture.db)
  for (const model of running(world)) {
    giveUpLease(model)
    model.lost += 1
    if (model.cancelRequested) end(model, 'cancelled', model.spent + 1)
    else if (model.lost === RESCUE_LIMITS.poisonAfter) end(model, 'dead', model.spent + 1)
    else {
      model.spent += 1
      model.place = 'deferred'
    }
  }
}

const startLongAgo = run<{ readonly tenantId: string }>(
  'test.start_long_ago',
  `update job_run set started_at = started_at - interval '10 seconds' where tenant_id = $1`,
  ({ tenantId }) => [tenantId],
)
/** The answer of the claims was lost: their node knows of none of its leases. */
const loseTheAnswers: Step = async (world) => {
  await startLongAgo(fixture.db, world)
  const all = { held: [], upTo: Number.MAX_SAFE_INTEGER, olderThanMs: 5_000 }
  await returnUnknown(fixture.claimDb, { nodeId: world.nodeId, ...all })
  const back = running(world).filter(({ cancelRequested }) => !cancelRequested)
  for (const model of back) {
    giveUpLease(model)
    putBack(model)
  }
}

type Named = readonly [name: string, step: Step]
const pick = fc.nat({ max: 50 })
const kind = fc.constantFrom(...(Object.keys(OUTCOMES) as OutcomeKind[]))
const which = fc.constantFrom<Switch>('queue', 'connector', 'workspace')
const wish: fc.Arbitrary<Wish> = fc.record({
  later: fc.boolean(),
  expiring: fc.boolean(),
  priority: fc.option(fc.constantFrom<Priority>(1, 2, 3, 4), { nil: undefined }),
})
const weighted = (weight: number, arbitrary: fc.Arbitrary<Named>) => ({ weight, arbitrary })
const steps: fc.Arbitrary<Named> = fc.oneof(
  weighted(
    8,
    wish.map((it): Named => [`enqueue ${JSON.stringify(it)}`, enqueue(it)]),
  ),
  weighted(
    12,
    fc.integer({ min: 1, max: 4 }).map((n): Named => [`claim ${n}`, claim(n)]),
  ),
  weighted(
    10,
    fc.tuple(pick, kind).map(([n, k]): Named => [`settle ${n} ${k}`, settle(n, k)]),
  ),
  weighted(
    2,
    fc.tuple(pick, kind).map(([n, k]): Named => [`stale ${n} ${k}`, settleStale(n, k)]),
  ),
  weighted(
    3,
    pick.map((n): Named => [`cancel ${n}`, cancel(n)]),
  ),
  weighted(
    4,
    fc.tuple(pick, fc.boolean()).map(([n, anew]): Named => [`replay ${n} ${anew}`, replay(n, anew)]),
  ),
  weighted(
    2,
    fc.tuple(pick, fc.boolean()).map(([n, into]): Named => [`bin ${n} ${into}`, bin(n, into)]),
  ),
  weighted(7, fc.constant<Named>(['promote', promote])),
  weighted(
    2,
    pick.map((n): Named => [`time of ${n} passes`, itsTimePasses(n)]),
  ),
  weighted(1, fc.constant<Named>(['expire', expireRound])),
  weighted(
    1,
    which.map((it): Named => [`pause ${it}`, turnSwitch(it, true)]),
  ),
  weighted(
    1,
    which.map((it): Named => [`resume ${it}`, turnSwitch(it, false)]),
  ),
  weighted(4, fc.constant<Named>(['resume all', resumeAll])),
  weighted(1, fc.constant<Named>(['block', block])),
  weighted(
    2,
    fc
      .tuple(fc.constantFrom('laneCap' as const, 'tenantCap' as const), fc.constantFrom(1, 3, null, null))
      .map(([it, max]): Named => [`${it} ${max}`, cap(it, max)]),
  ),
  weighted(3, fc.constant<Named>(['lose the worker', loseTheWorker])),
  weighted(1, fc.constant<Named>(['lose the answers', loseTheAnswers])),
)

const whereAllAre = many<
  { readonly tenantId: string },
  { readonly id: string; readonly state: string; readonly places: Record<string, number> }
>(
  'test.where_all_are',
  `select j.id, j.state, json_build_object(
     'ready', (select count(*) from job_ready r where r.tenant_id = $1 and r.job_id = j.id),
     'run', (select count(*) from job_run r where r.tenant_id = $1 and r.job_id = j.id),
     'deferred', (select count(*) from job_deferred r where r.tenant_id = $1 and r.job_id = j.id),
     'dead', (select count(*) from job_dead r where r.tenant_id = $1 and r.job_id = j.id)) as places
   from job j where j.tenant_id = $1 order by j.id`,
  ({ tenantId }) => [tenantId],
)

async function compare({ tenantId, models }: World): Promise<void> {
  const inOrder = models.toSorted((a, b) => (a.job.id < b.job.id ? -1 : 1))
  const real = await whereAllAre(fixture.db, { tenantId })
  expect(real).toEqual(
    inOrder.map(({ job, place, state, ghost }) => ({
      id: job.id,
      state,
      places: {
        ready: Number(place === 'ready' || ghost),
        run: Number(place === 'run'),
        deferred: Number(place === 'deferred'),
        dead: Number(state === 'dead'),
      },
    })),
  )
  const every = { state: undefined, connector: undefined, queue: undefined, before: undefined }
  const { jobs } = await listJobs(fixture.db, { ...every, tenantId, limit: 200 })
  expect(jobs.toReversed().map(({ id, state, attempts }) => [id, state, attempts])).toEqual(
    inOrder.map(({ job, place, state, spent }) => {
      const waits = spent > 0 ? 'retrying' : 'scheduled'
      const live = { ready: 'queued', run: 'running', deferred: waits, ended: state }
      return [job.id, live[place], place === 'run' ? spent + 1 : spent]
    }),
  )
}

test('any history of what products, workers, operators and time do to jobs follows the model', async () => {
  await fc.assert(
    // Long ones: what is spent, lost or replayed needs many steps before it.
    fc.asyncProperty(fc.array(steps, { minLength: 40, maxLength: 100, size: 'max' }), async (history) => {
      const world: World = {
        models: [],
        tenantId: newId(),
        nodeId: await registerNode(fixture.db),
        turns: 0,
        paused: new Set(),
        blocked: false,
        laneCap: null,
        tenantCap: null,
      }
      for (const [, step] of history) {
        await step(world)
        await compare(world)
      }
    }),
    { numRuns: 70, endOnFailure: true },
  )
}, 120_000)
