import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  claimLane,
  makeDue,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  silence,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { newId } from '../platform/ids.ts'
import { cancelJob } from './cancel.ts'
import { purgeLetters, replayLetters } from './dead-letters.ts'
import { enqueueJobs } from './enqueue.ts'
import type { ClaimedJob, NewJob } from './job.ts'
import { createPromoter } from './promote.ts'
import { findJob } from './read.ts'
import { RESCUE_LIMITS, rescue } from './rescue.ts'
import { type Settlement, settleJobs } from './settle.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterAll(() => fixture.drop())

/** What a job is, by the rules of the head comment of `queue.ts`; nothing of the implementation is in it. */
interface Model {
  readonly job: NewJob
  place: 'ready' | 'run' | 'deferred' | 'ended'
  state: 'queued' | 'done' | 'dead' | 'cancelled'
  /** Attempts that were spent in this life. */
  spent: number
  lost: number
  /** A dead one that was purged. */
  binned: boolean
  cancelRequested: boolean
  lease: ClaimedJob | undefined
  /** Leases that were given up. */
  stale: ClaimedJob[]
}

interface World {
  readonly models: Model[]
  readonly tenantId: string
  nodeId: string
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

const end = (model: Model, state: 'done' | 'dead' | 'cancelled', spent: number): void => {
  model.place = 'ended'
  model.state = state
  model.spent = spent
}

const enqueue =
  (later: boolean): Step =>
  async (world) => {
    const job = sampleJob({
      tenantId: world.tenantId,
      ...(later && { runAt: new Date(Date.now() + 3_600_000) }),
    })
    await enqueueJobs(fixture.db, [job])
    world.models.push({
      job,
      place: later ? 'deferred' : 'ready',
      state: 'queued',
      spent: 0,
      lost: 0,
      binned: false,
      cancelRequested: false,
      lease: undefined,
      stale: [],
    })
  }

const claim =
  (take: number): Step =>
  async (world) => {
    const lane = { queue: 'default', tenantId: world.tenantId, lane: 1 } as const
    const { jobs } = await claimLane(fixture.claimDb, world.nodeId, lane, take)
    for (const { job } of jobs) {
      const model = world.models.find((each) => each.job.id === job.id)
      if (!model) throw new Error('an unknown job was claimed')
      expect(model.place).toBe('ready')
      expect(job.attempt).toBe(model.spent + 1)
      model.place = 'run'
      model.lease = job
    }
  }

const settle =
  (pick: number, kind: OutcomeKind): Step =>
  async (world) => {
    const running = world.models.filter((model) => model.place === 'run')
    const model = running[pick % Math.max(1, running.length)]
    if (!model?.lease) return
    const settled = await settleJobs(fixture.claimDb, [{ job: model.lease, outcome: OUTCOMES[kind] }])
    expect(settled).toHaveLength(1)
    model.stale.push(model.lease)
    model.lease = undefined
    const goesOn = kind === 'retry' || kind === 'snooze' || kind === 'returned'
    if (goesOn && model.cancelRequested) end(model, 'cancelled', model.spent + 1)
    else if (kind === 'returned') model.place = 'ready'
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
    const model = world.models[pick % Math.max(1, world.models.length)]
    if (!model) return
    const ref = { tenantId: world.tenantId, id: model.job.id, actor: 'ada' }
    const answer = await cancelJob(fixture.db, ref).then(
      ({ state }) => state,
      (problem: { code?: string }) => problem.code,
    )
    if (model.place === 'ended') expect(answer).toBe('conflict')
    else if (model.place === 'run') {
      expect(answer).toBe('cancelling')
      model.cancelRequested = true
    } else {
      expect(answer).toBe('cancelled')
      end(model, 'cancelled', model.spent)
    }
  }

const actOn = ({ tenantId }: World, { job }: Model) => ({
  tenantId,
  ids: [job.id],
  actor: 'ada',
  why: 'a test',
  planId: newId(),
})

const replay =
  (pick: number): Step =>
  async (world) => {
    const model = world.models[pick % Math.max(1, world.models.length)]
    if (!model) return
    const lives = await fixture.db.transaction((tx) =>
      replayLetters(tx, { ...actOn(world, model), newEffect: false }),
    )
    const can = model.state === 'dead' && !model.binned
    expect(lives.map(({ id }) => id)).toEqual(can ? [model.job.id] : [])
    if (can)
      Object.assign(model, { place: 'ready', state: 'queued', spent: 0, lost: 0, cancelRequested: false })
  }

const purge =
  (pick: number): Step =>
  async (world) => {
    const model = world.models[pick % Math.max(1, world.models.length)]
    if (!model) return
    const moved = await fixture.db.transaction((tx) => purgeLetters(tx, actOn(world, model)))
    const can = model.state === 'dead' && !model.binned
    expect(moved).toEqual(can ? [model.job.id] : [])
    if (can) model.binned = true
  }

const promote: Step = async (world) => {
  await makeDue(fixture.db, { tenantId: world.tenantId })
  await createPromoter(fixture.claimDb, () => undefined)()
  for (const model of world.models) if (model.place === 'deferred') model.place = 'ready'
}

const loseTheWorker: Step = async (world) => {
  await silence(fixture.db, { nodeId: world.nodeId })
  await rescue(fixture.claimDb, { limits: RESCUE_LIMITS, log: fixture.platform.log })
  world.nodeId = await registerNode(fixture.db)
  for (const model of world.models) {
    if (model.place !== 'run' || !model.lease) continue
    model.stale.push(model.lease)
    model.lease = undefined
    model.lost += 1
    if (model.cancelRequested) end(model, 'cancelled', model.spent + 1)
    else if (model.lost === RESCUE_LIMITS.poisonAfter) end(model, 'dead', model.spent + 1)
    else {
      model.spent += 1
      model.place = 'deferred'
    }
  }
}

const pick = fc.nat({ max: 50 })
const kind = fc.constantFrom(...(Object.keys(OUTCOMES) as OutcomeKind[]))
const steps: fc.Arbitrary<[string, Step]> = fc.oneof(
  { weight: 3, arbitrary: fc.boolean().map((later): [string, Step] => [`enqueue ${later}`, enqueue(later)]) },
  {
    weight: 5,
    arbitrary: fc.integer({ min: 1, max: 4 }).map((n): [string, Step] => [`claim ${n}`, claim(n)]),
  },
  {
    weight: 5,
    arbitrary: fc.tuple(pick, kind).map(([n, k]): [string, Step] => [`settle ${n} ${k}`, settle(n, k)]),
  },
  {
    weight: 2,
    arbitrary: fc.tuple(pick, kind).map(([n, k]): [string, Step] => [`stale ${n} ${k}`, settleStale(n, k)]),
  },
  { weight: 2, arbitrary: pick.map((n): [string, Step] => [`cancel ${n}`, cancel(n)]) },
  { weight: 3, arbitrary: pick.map((n): [string, Step] => [`replay ${n}`, replay(n)]) },
  { weight: 1, arbitrary: pick.map((n): [string, Step] => [`purge ${n}`, purge(n)]) },
  { weight: 3, arbitrary: fc.constant<[string, Step]>(['promote', promote]) },
  { weight: 2, arbitrary: fc.constant<[string, Step]>(['lose the worker', loseTheWorker]) },
)

async function compare(world: World): Promise<void> {
  expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  for (const { job, place, state, spent } of world.models) {
    const real = await whereIs(fixture.db, job)
    expect(real.state).toBe(state)
    if (place !== 'ended') expect(real[place]).toBe(1)
    const view = (await findJob(fixture.db, job))?.job
    expect(view?.attempts).toBe(place === 'run' ? spent + 1 : spent)
    const live = {
      ready: 'queued',
      run: 'running',
      deferred: spent > 0 ? 'retrying' : 'scheduled',
      ended: state,
    }
    expect(view?.state).toBe(live[place])
  }
}

test('any history of enqueue, claim, settle, cancel, replay, purge, promote and lost workers follows the model', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(steps, { minLength: 5, maxLength: 40 }), async (history) => {
      const world: World = { models: [], tenantId: newId(), nodeId: await registerNode(fixture.db) }
      for (const [, step] of history) {
        await step(world)
        await compare(world)
      }
    }),
    { numRuns: 60, endOnFailure: true },
  )
}, 120_000)
