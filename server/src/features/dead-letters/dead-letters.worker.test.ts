import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { deadJobs } from '../../../testing/dead-letters.ts'
import { clearQueue } from '../../../testing/queue-fixture.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import type { Handler } from '../../queue/attempts.ts'
import { createRunner } from '../../queue/queue.ts'
import { queueMetrics } from '../../queue/queue-metrics.ts'
import { findJob } from '../../queue/read.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import type { ConfigDocument } from '../configs/configs.ts'
import { commitPlan, getPlan, makePlan, type Plan, type PlanRequest } from './dead-letters.ts'
import { createDeadLetterWork } from './dead-letters.worker.ts'

let hub: CallingHub
let wakeUp: WakeUp
const stops: (() => Promise<unknown>)[] = []

const crm = () => ({
  kind: 'http',
  settings: {
    base_url: hub.upstream.url,
    operations: { call: { method: 'POST', path: '/' } },
  },
})

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  wakeUp = createWakeUp(hub.database.platform)
  await hub.configure({ policies: {}, connectors: { crm: crm(), mail: crm() } } as ConfigDocument)
})
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
  await clearQueue(hub.database.owner, undefined)
})
afterAll(async () => {
  await wakeUp.close()
  await hub.close()
})

/** The part of a worker that this is about. */
function startWork(binDays = 14): void {
  const { platform } = hub.database
  const work = createDeadLetterWork({
    platform,
    activeConfigs: hub.activeConfigs,
    wakeUp,
    keepDays: 90,
    binDays,
  })
  work.start()
  stops.push(() => work.stop())
}

/** Does every job that it gets; gives the list of their keys, which grows. */
async function startRunner(): Promise<string[]> {
  const { platform, claimDb } = hub.database
  const keys: string[] = []
  const handler: Handler = async ({ idempotencyKey }) => {
    keys.push(idempotencyKey)
    return { kind: 'done', result: null, why: 'done' }
  }
  const runner = createRunner({ platform, claimDb, wakeUp, handler, concurrency: 10 })
  await runner.start()
  stops.push(() => runner.stop(5_000))
  return keys
}

const job = (connector: string, lane: number) =>
  ({ tenantId: hub.tenantId, connector, lane, operation: 'call', input: {} }) as const

async function replay(request: Partial<PlanRequest> = {}): Promise<Plan> {
  const { db } = hub.database
  const plan = await makePlan(db, {
    tenantId: hub.tenantId,
    queue: 'default',
    action: 'replay',
    selection: { filter: { reason: 'attempts_spent' } },
    ratePerSecond: 1_000,
    actor: 'svc:ops',
    call: CHANGE.call,
    ...request,
  })
  return commitPlan(db, plan, CHANGE)
}

const ended = (plan: Plan): Promise<Plan> =>
  vi.waitFor(
    async () => {
      const now = await getPlan(hub.database.db, plan)
      if (now.state !== 'done') throw new Error(`it is ${now.state}`)
      return now
    },
    { timeout: 20_000, interval: 20 },
  )

test('replayed jobs run again, each once and with the key it always had', async () => {
  const dead = await deadJobs(hub.database, 12, job('crm', 1))
  const keys = await startRunner()
  startWork()
  expect(await ended(await replay())).toMatchObject({ done: 12, skipped: {} })
  await vi.waitFor(
    async () => {
      for (const each of dead)
        expect((await findJob(hub.database.db, each))?.job).toMatchObject({ state: 'done', attempts: 1 })
    },
    { timeout: 20_000, interval: 20 },
  )
  expect(keys.sort()).toEqual(dead.map(({ id }) => `orch-${id}`).sort())
})

test('a plan that was running when its worker stopped is ended by the next one', async () => {
  await deadJobs(hub.database, 6, job('crm', 1))
  startWork()
  // One letter per second: it cannot end before its worker does.
  const plan = await replay({ ratePerSecond: 1 })
  await vi.waitFor(
    async () => {
      if ((await getPlan(hub.database.db, plan)).done === 0) throw new Error('not begun')
    },
    { timeout: 20_000, interval: 20 },
  )
  for (const stop of stops.splice(0)) await stop()
  const left = await getPlan(hub.database.db, plan)
  expect(left.state).toBe('running')
  await hub.query('update dead_letter_plan set rate_per_second = 1000, next_at = now() where id = $1', [
    plan.id,
  ])
  startWork()
  startWork()
  expect(await ended(plan)).toMatchObject({ done: 6, skipped: {} })
  const events = await hub.query<{ count: number }>(`select count(*) from event where type = 'job.replayed'
    and data ->> 'plan_id' = '${plan.id}'`)
  expect(events).toEqual([{ count: 6 }])
})

test('letters of a connector or an operation that is gone stay where they are', async () => {
  await deadJobs(hub.database, 2, job('mail', 2))
  await deadJobs(hub.database, 1, { ...job('crm', 1), operation: 'vanished' })
  await deadJobs(hub.database, 1, job('crm', 1))
  await hub.configure({ policies: {}, connectors: { crm: crm() } } as ConfigDocument)
  startWork()
  expect((await ended(await replay())).skipped).toEqual({
    'The active config has no such connector.': 2,
    'The connector has no such operation.': 1,
  })
  expect(await hub.query('select connector from job_dead order by connector')).toEqual([
    { connector: 'crm' },
    { connector: 'mail' },
    { connector: 'mail' },
  ])
})

test('old letters go into the bin, the bin is emptied after its days, and plans that nobody committed are forgotten', async () => {
  const [old, young, forgotten] = await deadJobs(hub.database, 3, job('crm', 1))
  await hub.query(
    `update job_dead set purged_at = clock_timestamp() - case job_id when $1 then interval '3 days 1 minute'
       else interval '2 days 23 hours' end
     where job_id <> $2`,
    [old?.id, forgotten?.id],
  )
  await hub.query(`update job_dead set dead_at = now() - interval '91 days' where job_id = $1`, [
    forgotten?.id,
  ])
  const plan = await makePlan(hub.database.db, {
    tenantId: hub.tenantId,
    queue: 'default',
    action: 'purge',
    selection: { filter: { connector: 'crm' } },
    actor: 'svc:ops',
    call: CHANGE.call,
  })
  await hub.query(
    `update dead_letter_plan set created_at = created_at - interval '25 hours',
       expires_at = expires_at - interval '25 hours' where id = $1`,
    [plan.id],
  )
  startWork(3)
  await vi.waitFor(
    async () => {
      expect(await hub.query('select job_id, binned from job_dead order by job_id')).toEqual([
        { job_id: young?.id, binned: true },
        { job_id: forgotten?.id, binned: true },
      ])
      expect(await hub.query('select from dead_letter_plan where id = $1', [plan.id])).toEqual([])
    },
    { timeout: 20_000, interval: 20 },
  )
  const { values } = await queueMetrics(hub.database.platform.metrics).oldLetters.get()
  expect(values.map(({ labels, value }) => [labels.went, value])).toEqual([
    ['to_bin', 1],
    ['for_good', 1],
  ])
})
