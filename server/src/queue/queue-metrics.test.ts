import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { setLaneCap, setTenantCap } from '../../testing/queue-caps.ts'
import {
  type QueueFixture,
  queueFixture,
  registerNode,
  sampleJob,
  silence,
} from '../../testing/queue-fixture.ts'
import { run } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import { createMetrics } from '../platform/metrics.ts'
import { enqueueJobs } from './enqueue.ts'
import type { NewJob, Outcome } from './job.ts'
import { blockLane } from './lane-policy.ts'
import { OBSTACLES } from './obstacles.ts'
import { pauseLane, pauseQueue, pauseTenant } from './pause.ts'
import { createRunner, type Runner } from './queue.ts'
import { createWakeUp, type WakeUp } from './wake-up.ts'

/** Every number of the queue is in what `/metrics` serves, is explained there, and follows what happens. */
const metrics = createMetrics('worker', false)
let fixture: QueueFixture
let wakeUp: WakeUp
let runner: Runner

const error = { class: 'http_4xx', message: 'The upstream answered with HTTP 404.', httpStatus: 404 }
const outcomes: Record<string, Outcome> = {
  done: { kind: 'done', result: null, why: 'Done.' },
  dead: { kind: 'dead', reason: 'permanent', error, why: 'No.' },
  retry: { kind: 'retry', delayMs: 1, error, why: 'Again at once.' },
}
/** Tells the handler to go on with what hangs. */
let release = () => {}
const released = new Promise<void>((resolve) => {
  release = resolve
})

const loseReadyRow = run<{ readonly tenantId: string }>(
  'test.lose_ready_row',
  'delete from job_ready where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

beforeAll(async () => {
  fixture = await queueFixture()
  wakeUp = createWakeUp(fixture.platform)
  // A job that waits nowhere, for the reconciler of the first round.
  const stray = sampleJob({ tenantId: newId() })
  await enqueueJobs(fixture.db, [stray])
  await loseReadyRow(fixture.db, stray)
  runner = createRunner({
    platform: { ...fixture.platform, metrics },
    claimDb: fixture.claimDb,
    wakeUp,
    concurrency: 20,
    handler: async ({ operation, attempt }) => {
      if (operation === 'hang') await released
      return (attempt === 1 ? outcomes[operation] : undefined) ?? { kind: 'done', result: null, why: 'Done.' }
    },
    timing: { beatMs: 20, rescueMs: 20, expireMs: 20, discoverMs: 20, housekeepingMs: 20 },
  })
  await runner.start()
})
afterAll(async () => {
  release()
  await runner.stop(1_000)
  await wakeUp.close()
  await fixture.drop()
})

async function enqueue(job: Partial<NewJob> = {}): Promise<NewJob> {
  const fresh = sampleJob({ tenantId: newId(), ...job })
  await enqueueJobs(fixture.db, [fresh])
  wakeUp.hint([fresh])
  return fresh
}

/** The value of a series, as Prometheus would read it; undefined when it is not there. */
async function value(series: string): Promise<number | undefined> {
  const text = await metrics.registry.metrics()
  const [name = '', labels = ''] = series.split(/[{}]/)
  const helped = name.replace(/_count$/, '')
  expect(text).toMatch(new RegExp(`^# HELP orchestrator_${helped} \\S.{10,}$`, 'm'))
  const wanted = labels.split(',').filter(Boolean)
  const line = text
    .split('\n')
    .find((each) => each.startsWith(`orchestrator_${name}{`) && wanted.every((label) => each.includes(label)))
  return line === undefined ? undefined : Number(line.split(' ').at(-1))
}
const becomes = (series: string, check: (value: number) => boolean) =>
  vi.waitFor(
    async () => expect([series, check((await value(series)) ?? Number.NaN)]).toEqual([series, true]),
    {
      timeout: 10_000,
      interval: 20,
    },
  )
const counts = (series: string) => becomes(series, (count) => count >= 1)

const paused = { actor: 'ada', why: 'a test' }

test('claims, ends, starts and what runs', async () => {
  await enqueue({ operation: 'done', queue: 'critical' })
  await enqueue({ operation: 'dead', queue: 'low' })
  await enqueue({ operation: 'retry' })
  await enqueue({ operation: 'hang', queue: 'webhook' })
  await counts('jobs_claimed_total{queue="critical"}')
  await counts('jobs_settled_total{queue="critical",outcome="done"}')
  await counts('jobs_settled_total{queue="low",outcome="dead"}')
  await counts('jobs_settled_total{queue="default",outcome="retry"}')
  await counts('job_start_delay_seconds_count{queue="critical"}')
  await becomes('jobs_running{queue="webhook"}', (running) => running === 1)
  await counts('jobs_promoted_total')
  await counts('jobs_dead{queue="low"}')
})

test('what waits, and for how long', async () => {
  const tenantId = newId()
  await pauseQueue(fixture.db, { tenantId, queue: 2, ...paused })
  await enqueue({ tenantId })
  await enqueue({ tenantId })
  await enqueue({ tenantId, runAt: new Date(Date.now() + 3_600_000) })
  await becomes('jobs_ready{queue="default"}', (jobs) => jobs === 2)
  await becomes('jobs_ready_oldest_seconds{queue="default"}', (seconds) => seconds > 0)
  await becomes('jobs_deferred', (jobs) => jobs === 1)
})

test('what claims skip, by reason', async () => {
  const [stopped, capped, full, whole] = [newId(), newId(), newId(), newId()]
  const by = { connector: 'crm', jobId: newId(), requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32) }
  await pauseLane(fixture.db, { tenantId: stopped, lane: 1, ...paused })
  const blocks = [
    'retry_after',
    'workspace_suspended',
    'connector_unusable',
    'circuit_open',
    'rate_limited',
  ] as const
  for (const reason of blocks)
    await blockLane(fixture.db, { tenantId: newId(), lane: 1, forMs: 3_600_000, reason, why: 'a test', by })
  await pauseTenant(fixture.db, { tenantId: whole, ...paused })
  await setLaneCap(fixture.db, { tenantId: capped, lane: 1, maxRunning: 1 })
  await setTenantCap(fixture.db, { tenantId: full, maxRunning: 2 })
  await becomes('lanes_blocked{reason="connector_cap"}', (lanes) => lanes === 0)
  for (const tenantId of [capped, full, full]) await enqueue({ tenantId, operation: 'hang' })
  for (const reason of OBSTACLES)
    await becomes(`lanes_blocked{reason="${reason}"}`, (blocked) => blocked === 1)
})

const giveTo = run<{ readonly id: string; readonly nodeId: string }>(
  'test.give_to',
  'update job_run set node_id = $2 where job_id = $1',
  ({ id, nodeId }) => [id, nodeId],
)

test('what went wrong: lost workers, stale settlements, jobs that came too late or had no place', async () => {
  const tenantId = newId()
  await pauseTenant(fixture.db, { tenantId, ...paused })
  await enqueue({ tenantId, expiresAt: new Date(Date.now() + 50) })
  await counts('jobs_expired_total')

  const silent = await registerNode(fixture.db)
  await silence(fixture.db, { nodeId: silent })
  const lost = await enqueue({ operation: 'hang', queue: 'critical' })
  await becomes('jobs_running{queue="critical"}', (running) => running === 1)
  await giveTo(fixture.db, { id: lost.id, nodeId: silent })
  await counts('jobs_rescued_total{fate="retried"}')
  release()
  await counts('jobs_stale_settlements_total')
  // From before the start: see `beforeAll`.
  await counts('jobs_repaired_total{fault="nowhere"}')
})

test('no other number of the queue is served, so that each stands in a test above', async () => {
  const text = await metrics.registry.metrics()
  const names = [...text.matchAll(/^# HELP orchestrator_(\S+) /gm)].map(([, name]) => name)
  expect(names.filter((name) => /job|lane|dead/.test(name ?? '')).sort()).toEqual([
    'dead_letters_handled_total',
    'job_start_delay_seconds',
    'jobs_claimed_total',
    'jobs_dead',
    'jobs_deferred',
    'jobs_expired_total',
    'jobs_promoted_total',
    'jobs_ready',
    'jobs_ready_oldest_seconds',
    'jobs_repaired_total',
    'jobs_rescued_total',
    'jobs_running',
    'jobs_settled_total',
    'jobs_stale_settlements_total',
    'lanes_blocked',
    // This one moves in dead-letters.worker.test.ts.
    'retention_dead_letters_total',
  ])
})
