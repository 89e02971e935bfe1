import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { buryLane, deadJob, deadJobs, SHOP_DOWN } from '../../../testing/dead-letters.ts'
import {
  eventsOf,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  registerNode,
  whereIs,
} from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { many, one, run } from '../../platform/db/statement.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { purgeLetters, replayLetters } from '../../queue/dead-letters.ts'
import type { ClaimedJob } from '../../queue/job.ts'
import { verifyChain } from '../audit/audit.ts'
import {
  abortPlan,
  commitPlan,
  getPlan,
  makePlan,
  type Plan,
  type PlanRequest,
  skippedOf,
} from './dead-letters.ts'
import { type ReplayCheck, runNextBatch } from './run-plan.ts'

let fixture: QueueFixture
beforeAll(async () => {
  fixture = await queueFixture()
})
afterAll(() => fixture.drop())

const REPLAY_ALL = { action: 'replay', selection: { filter: { connector: 'crm' } } } as const

const planFor = (tenantId: string, request: Partial<PlanRequest> = {}): Promise<Plan> =>
  makePlan(fixture.db, {
    tenantId,
    queue: 'default',
    ...REPLAY_ALL,
    ...(request.action === undefined && { ratePerSecond: 1_000 }),
    actor: 'svc:planner',
    call: CHANGE.call,
    ...request,
  })
const commit = (plan: Plan): Promise<Plan> => commitPlan(fixture.db, plan, CHANGE)
const committed = async (tenantId: string, request?: Partial<PlanRequest>): Promise<Plan> =>
  commit(await planFor(tenantId, request))
const now = (plan: Plan): Promise<Plan> => getPlan(fixture.db, plan)

const all: ReplayCheck = async () => undefined
const batch = (check = all) => runNextBatch({ db: fixture.db, log: fixture.platform.log, check })
/** Every batch that there is, without the pauses of the rate. */
async function runAll(check = all): Promise<void> {
  do await hurry(fixture.db, undefined)
  while (await batch(check))
}

const replayedTimes = async ({ id }: { readonly id: string }): Promise<number> =>
  (await eventsOf(fixture.db, { id })).filter(({ type }) => type === 'job.replayed').length

describe('a plan', () => {
  test('counts, shows the oldest first, and touches nothing', async () => {
    const tenantId = newId()
    const dead = await deadJobs(fixture, 7, { tenantId })
    await deadJob(fixture, { tenantId, connector: 'mail' })
    await deadJob(fixture, { tenantId: newId() })
    const plan = await planFor(tenantId)
    expect(plan).toMatchObject({
      state: 'planned',
      total: 7,
      ratePerSecond: 1_000,
      newEffect: false,
      done: 0,
    })
    expect(plan.sample.map(({ job_id }) => job_id)).toEqual(dead.slice(0, 5).map(({ id }) => id))
    expect(plan.sample[0]).toMatchObject({ error: { class: 'http_5xx', http_status: 503 } })
    expect(plan.oldestAt?.toISOString()).toBe(plan.sample[0]?.dead_at)
    expect(await batch()).toBeUndefined()
    for (const job of dead) expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'dead', dead: 1 })
  })

  test('that matches nothing is made and cannot be committed', async () => {
    const plan = await planFor(newId())
    expect(plan).toMatchObject({ total: 0, oldestAt: null, sample: [] })
    await expect(commit(plan)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('nothing'),
    })
    expect(await now(plan)).toMatchObject({ state: 'planned' })
  })

  test('cannot be committed after its time, and not by another workspace', async () => {
    const tenantId = newId()
    await deadJob(fixture, { tenantId })
    const plan = await planFor(tenantId)
    await expect(commitPlan(fixture.db, { ...plan, tenantId: newId() }, CHANGE)).rejects.toMatchObject({
      code: 'not_found',
    })
    await expire(fixture.db, plan)
    await expect(commit(plan)).rejects.toMatchObject({
      code: 'conflict',
      message: expect.stringContaining('expired'),
    })
    expect(await batch()).toBeUndefined()
  })

  test('of many commits and aborts at the same time one wins, with one audit entry', async () => {
    const tenantId = newId()
    const dead = await deadJob(fixture, { tenantId })
    const plan = await planFor(tenantId)
    const commits = await Promise.allSettled(Array.from({ length: 6 }, () => commit(plan)))
    expect(commits.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    for (const each of commits)
      if (each.status === 'rejected')
        expect(each.reason).toMatchObject({ code: 'conflict', message: 'The plan is running already.' })
    const aborts = await Promise.allSettled(
      Array.from({ length: 6 }, () => abortPlan(fixture.db, plan, { ...CHANGE, reason: 'the wrong one' })),
    )
    expect(aborts.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
    expect(await auditOf(fixture.db, { tenantId })).toEqual([
      { action: 'dead_letters.replay_started', object: `dead_letter_plan:${plan.id}`, reason: CHANGE.reason },
      { action: 'dead_letters.plan_aborted', object: `dead_letter_plan:${plan.id}`, reason: 'the wrong one' },
    ])
    expect(await verifyChain(fixture.db, tenantId)).toMatchObject({ intact: true })
    await runAll()
    expect(await whereIs(fixture.db, dead)).toMatchObject({ state: 'dead', dead: 1 })
    expect(await now(plan)).toMatchObject({
      state: 'aborted',
      endedWhy: 'the wrong one',
      endedBy: 'svc:test',
    })
  })

  test('of one job: a commit when somebody else was faster names the state of the job', async () => {
    const tenantId = newId()
    const { id } = await deadJob(fixture, { tenantId })
    const plans = [
      await planFor(tenantId, { selection: { ids: [id] } }),
      await planFor(tenantId, { selection: { ids: [id] } }),
    ] as const
    await commit(plans[0])
    await runAll()
    await expect(commit(plans[1])).rejects.toMatchObject({
      code: 'conflict',
      message: 'The job cannot be replayed: it was replayed and is queued.',
    })
  })

  test('a workspace cannot run more than ten at a time', async () => {
    const tenantId = newId()
    await addWorkspace(fixture.db, { tenantId })
    await deadJob(fixture, { tenantId })
    const plans = await Promise.all(Array.from({ length: 12 }, () => planFor(tenantId)))
    const results = await Promise.allSettled(plans.map(commit))
    expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(10)
    await runAll()
  })
})

describe('a replay', () => {
  test('does every letter once, in batches that its rate allows, and tells how it went', async () => {
    const tenantId = newId()
    const dead = await deadJobs(fixture, 23, { tenantId })
    const plan = await committed(tenantId, { ratePerSecond: 50 })
    expect(await batch()).toMatchObject({ action: 'replay', done: 10, skipped: 0 })
    expect(await now(plan)).toMatchObject({ state: 'running', done: 10, total: 23 })
    // 10 letters at 50 per second: the next batch waits 200 ms, and nobody runs it earlier.
    expect((await waited(fixture.db, plan)).ms).toBeGreaterThanOrEqual(200)
    await postpone(fixture.db, plan)
    expect(await batch()).toBeUndefined()
    await runAll()
    expect(await now(plan)).toMatchObject({ state: 'done', done: 23, skipped: {}, total: 23 })
    for (const job of dead) {
      expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'queued', ready: 1, dead: 0 })
      expect(await replayedTimes(job)).toBe(1)
    }
    const event = (await eventsOf(fixture.db, dead[0] as ClaimedJob)).at(-1)
    expect(event?.data).toMatchObject({ actor: 'svc:test', reason: CHANGE.reason, plan_id: plan.id })
    expect(await planEvents(fixture.db, { tenantId })).toMatchObject([
      { type: 'dead_letters.replay_started' },
      { type: 'dead_letters.plan_done', message: 'The replay has ended: 23 of 23 done.' },
    ])
  })

  test('by several workers at the same time: no letter twice, none left', async () => {
    const tenantId = newId()
    const dead = await deadJobs(fixture, 30, { tenantId })
    const plans = [
      await committed(tenantId, { ratePerSecond: 25 }),
      await committed(tenantId, { ratePerSecond: 25 }),
    ]
    for (let open = true; open; ) {
      await hurry(fixture.db, undefined)
      open = (await Promise.all([batch(), batch(), batch()])).some((result) => result !== undefined)
    }
    for (const job of dead) expect(await replayedTimes(job)).toBe(1)
    const ended = await Promise.all(plans.map(now))
    expect(ended.map(({ state }) => state)).toEqual(['done', 'done'])
    expect(ended.reduce((sum, { done }) => sum + done, 0)).toBe(30)
    for (const each of ended) expect(each.done + skippedOf(each)).toBe(30)
    expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  })

  test('a worker that dies in a batch leaves it undone, and another goes on', async () => {
    const tenantId = newId()
    const dead = await deadJobs(fixture, 12, { tenantId })
    const plan = await committed(tenantId, { ratePerSecond: 25 })
    await batch()
    await hurry(fixture.db, undefined)
    // Its connection is cut between the replay and the commit.
    await expect(
      runNextBatch({
        db: {
          ...fixture.db,
          transaction: (work) =>
            fixture.db.transaction(async (tx) => {
              await work(tx)
              await cut(fixture.owner, await myself(tx, undefined))
              await myself(tx, undefined)
              throw new Error('unreachable')
            }),
        },
        log: fixture.platform.log,
        check: all,
      }),
    ).rejects.toMatchObject({ code: 'database_unavailable' })
    expect(await now(plan)).toMatchObject({ state: 'running', done: 5 })
    await runAll()
    expect(await now(plan)).toMatchObject({ state: 'done', done: 12 })
    for (const job of dead) expect(await replayedTimes(job)).toBe(1)
  })

  test('leaves letters of a connector that is gone where they are, and says so', async () => {
    const tenantId = newId()
    const [gone] = await deadJobs(fixture, 3, { tenantId, connector: 'mail' })
    await deadJobs(fixture, 2, { tenantId, connector: 'crm' })
    const plan = await committed(tenantId, { selection: { filter: { reason: 'attempts_spent' } } })
    await runAll(async (_tenant, { connector }) =>
      connector === 'mail' ? 'The active config has no such connector.' : undefined,
    )
    expect(await now(plan)).toMatchObject({
      state: 'done',
      done: 2,
      skipped: { 'The active config has no such connector.': 3 },
    })
    expect(await whereIs(fixture.db, gone as ClaimedJob)).toMatchObject({ state: 'dead', dead: 1 })
    expect((await planEvents(fixture.db, { tenantId })).at(-1)).toMatchObject({
      severity: 'warning',
      message: 'The replay has ended: 2 of 5 done, 3 left out.',
    })
  })

  test('does not take letters that die after the plan, nor those of its own that die again', async () => {
    const tenantId = newId()
    const [first] = await deadJobs(fixture, 2, { tenantId })
    const plan = await committed(tenantId, { ratePerSecond: 5 })
    const late = await deadJob(fixture, { tenantId, lane: 9 })
    await batch()
    const again = await deadAgain(tenantId)
    expect(again).toBe((first as ClaimedJob).id)
    await runAll()
    expect(await now(plan)).toMatchObject({ state: 'done', done: 2, total: 2 })
    expect(await replayedTimes({ id: again })).toBe(1)
    expect(await replayedTimes(late)).toBe(0)
  })

  test('of named jobs leaves out those that others were faster with, each with its state', async () => {
    const tenantId = newId()
    const dead = await deadJobs(fixture, 4, { tenantId })
    const ids = dead.map(({ id }) => id)
    const plan = await planFor(tenantId, { selection: { ids } })
    const action = { tenantId, actor: 'ada', why: 'faster', planId: newId() }
    await fixture.db.transaction((tx) =>
      replayLetters(tx, { ...action, ids: ids.slice(0, 1), newEffect: false }),
    )
    await fixture.db.transaction((tx) => purgeLetters(tx, { ...action, ids: ids.slice(1, 2) }))
    await commit(plan)
    await runAll()
    expect(await now(plan)).toMatchObject({
      state: 'done',
      done: 2,
      skipped: {
        'It was replayed and is queued.': 1,
        'It is purged: restore it first.': 1,
      },
    })
  })

  test('with a new effect says so in the audit and gives each job a new key', async () => {
    const tenantId = newId()
    const dead = await deadJob(fixture, { tenantId })
    await committed(tenantId, { newEffect: true })
    await runAll()
    const event = (await eventsOf(fixture.db, dead)).at(-1)
    expect(event?.data).toMatchObject({ new_effect: true, idempotency_key: `orch-${dead.id}-1` })
    const [entry] = await diffsOf(fixture.db, { tenantId })
    expect(entry?.diff).toMatchObject([{ after: { action: 'replay', new_effect: true, total: 1 } }])
  })
})

describe('an abort', () => {
  test('while it runs stops it between two batches; what is done stays done', async () => {
    const tenantId = newId()
    const dead = await deadJobs(fixture, 9, { tenantId })
    const plan = await committed(tenantId, { ratePerSecond: 20 })
    let aborting: Promise<Plan> | undefined
    await batch(async () => {
      aborting ??= abortPlan(fixture.db, plan, { ...CHANGE, reason: 'the shop fell again' })
      return undefined
    })
    expect(await aborting).toMatchObject({ state: 'aborted', done: 4, total: 9 })
    await runAll()
    const states = await Promise.all(dead.map(async (job) => (await whereIs(fixture.db, job)).state))
    expect(states).toEqual([...Array(4).fill('queued'), ...Array(5).fill('dead')])
    expect((await planEvents(fixture.db, { tenantId })).at(-1)).toMatchObject({
      type: 'dead_letters.plan_aborted',
      message: 'Aborted by svc:test after 4 of 9: the shop fell again',
    })
    await expect(abortPlan(fixture.db, plan, CHANGE)).rejects.toMatchObject({
      message: 'The plan is aborted already.',
    })
    await expect(commit(plan)).rejects.toMatchObject({ message: 'The plan is aborted already.' })
  })

  test('of a plan that nobody has committed makes it useless', async () => {
    const tenantId = newId()
    await deadJob(fixture, { tenantId })
    const plan = await planFor(tenantId)
    await abortPlan(fixture.db, plan, CHANGE)
    await expect(commit(plan)).rejects.toMatchObject({ code: 'conflict' })
  })
})

describe('purge and restore', () => {
  test('move what fits a filter into the bin and back, whatever the connector', async () => {
    const tenantId = newId()
    await deadJobs(fixture, 3, { tenantId }, { reason: 'poison', error: SHOP_DOWN })
    await deadJob(fixture, { tenantId })
    const selection = { filter: { reason: 'poison' } } as const
    const nothing: ReplayCheck = async () => 'never asked'
    const purge = await committed(tenantId, { action: 'purge', selection })
    await runAll(nothing)
    expect(await now(purge)).toMatchObject({ state: 'done', done: 3, skipped: {} })
    expect((await planFor(tenantId)).total).toBe(1)
    const restore = await committed(tenantId, { action: 'restore', selection })
    await runAll(nothing)
    expect(await now(restore)).toMatchObject({ state: 'done', done: 3, total: 3 })
    expect((await planFor(tenantId)).total).toBe(4)
  })

  test('a purge counts what was replayed before its turn as left out', async () => {
    const tenantId = newId()
    const dead = await deadJobs(fixture, 3, { tenantId })
    const purge = await committed(tenantId, { action: 'purge' })
    const action = { tenantId, actor: 'ada', why: 'faster', planId: newId() }
    const ids = dead.slice(0, 2).map(({ id }) => id)
    await fixture.db.transaction((tx) => replayLetters(tx, { ...action, ids, newEffect: false }))
    await runAll()
    const ended = await now(purge)
    expect(ended).toMatchObject({ state: 'done', done: 1, total: 3 })
    expect(ended.skipped).toEqual({
      'It is no dead letter any more: something else has replayed or purged it.': 2,
    })
  })
})

describe('a batch that fails', () => {
  test('five times in a row fails the plan, which says so; other plans go on', async () => {
    const [tenantId, other] = [newId(), newId()]
    await deadJob(fixture, { tenantId })
    await deadJob(fixture, { tenantId: other })
    const [plan, good] = [await committed(tenantId), await committed(other)]
    const broken: ReplayCheck = async (of) => {
      if (of === tenantId) throw new Error('a bug')
      return undefined
    }
    await runAll(broken)
    expect(await now(good)).toMatchObject({ state: 'done', done: 1 })
    expect(await now(plan)).toMatchObject({
      state: 'failed',
      done: 0,
      endedWhy: expect.stringContaining('failed'),
    })
    expect((await planEvents(fixture.db, { tenantId })).at(-1)).toMatchObject({
      type: 'dead_letters.plan_failed',
      severity: 'error',
    })
  })

  test('because the database or the config cannot be read is not counted', async () => {
    const tenantId = newId()
    await deadJob(fixture, { tenantId })
    const plan = await committed(tenantId)
    const away: ReplayCheck = async () => {
      throw new Problem('database_unavailable', 'away')
    }
    for (let n = 0; n < 6; n += 1)
      await expect(batch(away)).rejects.toMatchObject({ code: 'database_unavailable' })
    await runAll()
    expect(await now(plan)).toMatchObject({ state: 'done', done: 1 })
  })
})

/** Claims the first waiting job of lane 1 and gives it up again. */
async function deadAgain(tenantId: string): Promise<string> {
  const [job] = await buryLane(fixture, await registerNode(fixture.db), {
    queue: 'default',
    tenantId,
    lane: 1,
  })
  return job?.id ?? ''
}

const hurry = run<undefined>(
  'test.hurry',
  `update dead_letter_plan set next_at = clock_timestamp() where state = 'running'`,
  () => [],
)
const expire = run<{ readonly tenantId: string; readonly id: string }>(
  'test.expire',
  `update dead_letter_plan set created_at = created_at - interval '1 hour', expires_at = expires_at - interval '1 hour'
   where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)
const waited = one<{ readonly tenantId: string; readonly id: string }, { readonly ms: number }>(
  'test.waited',
  `select (extract(epoch from next_at - committed_at) * 1000)::float8 as ms
   from dead_letter_plan where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)
const postpone = run<{ readonly tenantId: string; readonly id: string }>(
  'test.postpone',
  `update dead_letter_plan set next_at = clock_timestamp() + interval '1 hour' where tenant_id = $1 and id = $2`,
  ({ tenantId, id }) => [tenantId, id],
)
const addWorkspace = run<{ readonly tenantId: string }>(
  'test.add_workspace',
  `insert into workspace (id, slug, name, environment) values ($1, 'busy-dev', 'busy', 'dev')`,
  ({ tenantId }) => [tenantId],
)
const myself = one<undefined, { readonly pid: number }>(
  'test.myself',
  'select pg_backend_pid() as pid',
  () => [],
)
const cut = run<{ readonly pid: number }>('test.cut', 'select pg_terminate_backend($1, 5000)', ({ pid }) => [
  pid,
])
const auditOf = many<{ readonly tenantId: string }, { readonly action: string }>(
  'test.audit_of',
  'select action, object, reason from audit_entry where tenant_id = $1 order by seq',
  ({ tenantId }) => [tenantId],
)
const diffsOf = many<{ readonly tenantId: string }, { readonly diff: unknown }>(
  'test.diffs_of',
  'select diff from audit_entry where tenant_id = $1 order by seq',
  ({ tenantId }) => [tenantId],
)
const planEvents = many<
  { readonly tenantId: string },
  { readonly type: string; readonly severity: string; readonly message: string }
>(
  'test.plan_events',
  `select type, severity, message from event where tenant_id = $1 and type like 'dead_letters.%' order by seq`,
  ({ tenantId }) => [tenantId],
)
