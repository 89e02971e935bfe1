import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import {
  clearQueue,
  eventsOf,
  makeDue,
  misplacedJobs,
  type QueueFixture,
  queueFixture,
  sampleJob,
  silence,
  whereIs,
} from '../../testing/queue-fixture.ts'
import { many, one } from '../platform/db/statement.ts'
import { newId } from '../platform/ids.ts'
import type { AttemptAborted } from './attempt-outcome.ts'
import { cancelJob } from './cancel.ts'
import { enqueueJobs } from './enqueue.ts'
import { createEnqueuer } from './enqueuer.ts'
import type { ClaimedJob, EndedJob, NewJob, Outcome } from './job.ts'
import { createRunner, type Runner, type RunnerOptions } from './queue.ts'
import { queueMetrics } from './queue-metrics.ts'
import { findJob } from './read.ts'
import { createWakeUp, type WakeUp } from './wake-up.ts'

let fixture: QueueFixture
let wakeUp: WakeUp
const runners: Runner[] = []

beforeAll(async () => {
  fixture = await queueFixture()
})
beforeEach(() => {
  wakeUp = createWakeUp(fixture.platform)
})
afterEach(async () => {
  await Promise.all(runners.splice(0).map((runner) => runner.stop(0)))
  await wakeUp.close()
  expect(await misplacedJobs(fixture.db, undefined)).toEqual([])
  await clearQueue(fixture.owner, undefined)
})
afterAll(() => fixture.drop())

const done: Outcome = { kind: 'done', result: { ok: true }, why: 'Done.' }
const soon = { timeout: 10_000, interval: 10 }

async function startRunner(
  options: Partial<RunnerOptions> & Pick<RunnerOptions, 'handler'>,
): Promise<Runner> {
  const runner = createRunner({
    platform: fixture.platform,
    claimDb: fixture.claimDb,
    wakeUp,
    concurrency: 5,
    ...options,
  })
  runners.push(runner)
  await runner.start()
  return runner
}

async function enqueue(job: Partial<NewJob> = {}): Promise<NewJob> {
  const fresh = sampleJob({ tenantId: newId(), ...job })
  await enqueueJobs(fixture.db, [fresh])
  wakeUp.hint([fresh])
  return fresh
}

const untilState = (job: NewJob, state: string) =>
  vi.waitFor(async () => expect((await findJob(fixture.db, job))?.job.state).toBe(state), soon)

const cutClaims = one<undefined, { readonly cut: number }>(
  'test.cut_claims',
  `select count(pg_terminate_backend(pid)) as cut from pg_stat_activity
   where datname = current_database() and application_name = 'test claims'`,
  () => [],
)
const unfinished = many<{ readonly tenantId: string }, { readonly id: string }>(
  'test.unfinished',
  `select id from job where tenant_id = $1 and state = 'queued'`,
  ({ tenantId }) => [tenantId],
)

/** A handler that runs until the test lets it end, or until it is aborted. */
function gate() {
  const started: ClaimedJob[] = []
  const aborts: string[] = []
  let open: () => void = () => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  const handler = (job: ClaimedJob, signal: AbortSignal): Promise<Outcome> => {
    started.push(job)
    return new Promise((resolve, reject) => {
      void opened.then(() => resolve(done))
      signal.addEventListener('abort', () => {
        aborts.push((signal.reason as AttemptAborted).why)
        reject(signal.reason)
      })
    })
  }
  return { started, aborts, handler, open: () => open() }
}

describe('runner', () => {
  test('runs what was there before it started and what comes later, each once, and stores the results', async () => {
    const before = await enqueue()
    const ran: string[] = []
    await startRunner({
      handler: async (job) => {
        ran.push(job.id)
        return done
      },
    })
    const enqueuer = createEnqueuer(fixture.db, { wakeUp })
    const jobs = Array.from({ length: 60 }, () => sampleJob({ tenantId: before.tenantId }))
    await Promise.all(jobs.map((job) => enqueuer.enqueue(job)))
    for (const job of [before, ...jobs]) await untilState(job, 'done')
    expect(ran.toSorted()).toEqual([before, ...jobs].map(({ id }) => id).toSorted())
    expect((await findJob(fixture.db, before))?.job.result).toEqual({ ok: true })
  })

  test('retries after the delay, with the same key and a rising attempt, until it is done', async () => {
    const attempts: [number, string][] = []
    const job = await enqueue()
    await startRunner({
      handler: async ({ attempt, idempotencyKey }) => {
        attempts.push([attempt, idempotencyKey])
        if (attempt === 3) return done
        return {
          kind: 'retry',
          delayMs: 5,
          error: { class: 'http_5xx', message: '503' },
          why: 'It answers 503.',
        }
      },
    })
    await untilState(job, 'done')
    expect(attempts).toEqual([1, 2, 3].map((attempt) => [attempt, `orch-${job.id}`]))
  })

  test('runs a scheduled job when its time has come, not before', async () => {
    const runAt = new Date(Date.now() + 400)
    let startedAt = 0
    await startRunner({
      handler: async () => {
        startedAt = Date.now()
        return done
      },
    })
    const job = await enqueue({ runAt })
    await untilState(job, 'done')
    expect(startedAt).toBeGreaterThanOrEqual(runAt.getTime())
  })

  test('cancels a running job through its signal', async () => {
    const { started, aborts, handler } = gate()
    await startRunner({ handler })
    const job = await enqueue()
    await vi.waitFor(() => expect(started).toHaveLength(1), soon)
    const answer = await cancelJob(fixture.db, { tenantId: job.tenantId, id: job.id, actor: 'ada' })
    expect(answer.state).toBe('cancelling')
    await untilState(job, 'cancelled')
    expect(aborts).toEqual(['cancelled'])
  })

  test('the heartbeat brings a cancel whose notification was lost', async () => {
    const { started, aborts, handler } = gate()
    const deaf = {
      ...fixture.platform,
      notifications: { ...fixture.platform.notifications, listen: () => () => {} },
    }
    await startRunner({ handler, platform: deaf, timing: { beatMs: 50 } })
    const job = await enqueue()
    await vi.waitFor(() => expect(started).toHaveLength(1), soon)
    await cancelJob(fixture.db, { tenantId: job.tenantId, id: job.id, actor: 'ada' })
    await untilState(job, 'cancelled')
    expect(aborts).toEqual(['cancelled'])
  })

  test('a handler that throws is retried and never shows its error; five times is a dead letter', async () => {
    const job = await enqueue()
    await startRunner({
      handler: async () => {
        // Every retry is due at once, so that the test need not wait for the backoff.
        setImmediate(() => void makeDue(fixture.db, job))
        throw new Error('password=hunter2')
      },
    })
    await vi.waitFor(async () => {
      await makeDue(fixture.db, job)
      expect((await findJob(fixture.db, job))?.job.state).toBe('dead')
    }, soon)
    const detail = await findJob(fixture.db, job)
    expect(detail?.job).toMatchObject({ deadReason: 'handler_failed', attempts: 5 })
    expect(JSON.stringify([detail, await eventsOf(fixture.db, job)])).not.toContain('hunter2')
  })

  test('an attempt that takes too long is stopped and tried again', async () => {
    const { started, aborts, handler } = gate()
    const job = await enqueue()
    await startRunner({ handler, maxRunMs: 50 })
    await vi.waitFor(async () => {
      const attempts = (await findJob(fixture.db, job))?.attempts ?? []
      expect(attempts[0]).toMatchObject({ outcome: 'retry', error_class: 'timeout' })
    }, soon)
    expect([started.length, aborts]).toEqual([1, ['deadline']])
  })

  test('a fifth of the places is kept for the critical queue', async () => {
    const { started, handler, open } = gate()
    await startRunner({ handler, concurrency: 5 })
    const tenantId = newId()
    await enqueueJobs(
      fixture.db,
      Array.from({ length: 8 }, () => sampleJob({ tenantId })),
    )
    wakeUp.hint([{ queue: 'default', tenantId, lane: 1 }])
    await vi.waitFor(() => expect(started).toHaveLength(4), soon)
    await enqueue({ tenantId, queue: 'critical' })
    await vi.waitFor(() => expect(started.map(({ queue }) => queue)).toContain('critical'), soon)
    expect(started).toHaveLength(5)
    open()
  })

  test('work of another process is heard of by notification', async () => {
    await startRunner({ handler: async () => done, timing: { discoverMs: 600_000 } })
    const elsewhere = createWakeUp(fixture.platform)
    const job = sampleJob({ tenantId: newId() })
    await vi.waitFor(async () => {
      // Until the runner listens, hints are lost, as they may be.
      if (!(await findJob(fixture.db, job))) await enqueueJobs(fixture.db, [job])
      elsewhere.hint([job])
      expect((await findJob(fixture.db, job))?.job.state).toBe('done')
    }, soon)
    await elsewhere.close()
  })
})

describe('follow-ups', () => {
  const completion = { callback: { connector: 'shop' } }

  test('run in the transaction of the end, for jobs with a completion only, and wake what they enqueue', async () => {
    const told: EndedJob[] = []
    const ran: string[] = []
    const followUp = sampleJob({ tenantId: newId(), queue: 'webhook' })
    await startRunner({
      handler: async ({ id }) => {
        ran.push(id)
        return done
      },
      followUps: async (tx, ended) => {
        told.push(...ended)
        await enqueueJobs(tx, [followUp])
        return [followUp]
      },
    })
    const [plain, withCallback] = [await enqueue(), await enqueue({ completion })]
    for (const job of [plain, withCallback, followUp]) await untilState(job, 'done')
    expect(told).toMatchObject([
      { state: 'done', result: { ok: true }, job: { id: withCallback.id, completion, attempt: 1 } },
    ])
    expect(ran).toContain(followUp.id)
  })

  test('that fail end the job as a dead letter that says so, and leave its batch alone', async () => {
    const { started, handler, open } = gate()
    await startRunner({
      handler,
      followUps: () => Promise.reject(new Error('the connector of the callback is gone')),
    })
    const tenantId = newId()
    const broken = await enqueue({ tenantId, completion })
    const neighbours = [await enqueue({ tenantId }), await enqueue({ tenantId })]
    await vi.waitFor(() => expect(started).toHaveLength(3), soon)
    open()
    for (const job of neighbours) await untilState(job, 'done')
    await untilState(broken, 'dead')
    expect((await findJob(fixture.db, broken))?.job.deadReason).toBe('settle_failed')
    expect(started.filter(({ id }) => id === broken.id)).toHaveLength(1)
  })
})

describe('stop', () => {
  test('waits for what runs, claims nothing more, and leaves no node behind', async () => {
    const { started, handler, open } = gate()
    const runner = await startRunner({ handler, concurrency: 1 })
    const [running, waiting] = [await enqueue(), await enqueue()]
    await vi.waitFor(() => expect(started).toHaveLength(1), soon)
    const stopped = runner.stop(10_000)
    open()
    await stopped
    const [first, second] = started[0]?.id === running.id ? [running, waiting] : [waiting, running]
    expect(await whereIs(fixture.db, first)).toMatchObject({ state: 'done' })
    expect(await whereIs(fixture.db, second)).toMatchObject({ state: 'queued', ready: 1 })
    expect(started).toHaveLength(1)
  })

  test('hands back unspent what does not end in time, also from a handler that ignores its signal', async () => {
    const { started, aborts, handler } = gate()
    const deaf = vi.fn(() => new Promise<Outcome>(() => undefined))
    const tenantId = newId()
    const runner = await startRunner({
      handler: (job, signal) => (job.lane === 9 ? deaf() : handler(job, signal)),
    })
    const jobs = [await enqueue({ tenantId }), await enqueue({ tenantId, lane: 9 })]
    await vi.waitFor(() => expect([started.length, deaf.mock.calls.length]).toEqual([1, 1]), soon)
    await runner.stop(0)
    expect(aborts).toEqual(['stopping'])
    for (const job of jobs) {
      expect(await whereIs(fixture.db, job)).toMatchObject({ state: 'queued', ready: 1, run: 0 })
      expect((await findJob(fixture.db, job))?.job.attempts).toBe(0)
    }
    const again: number[] = []
    await startRunner({
      handler: async ({ attempt }) => {
        again.push(attempt)
        return done
      },
    })
    for (const job of jobs) await untilState(job, 'done')
    expect(again).toEqual([1, 1])
  })
})

describe('two nodes', () => {
  test('share the work: every job runs once', async () => {
    const ran: string[] = []
    const handler = async ({ id }: ClaimedJob) => {
      ran.push(id)
      return done
    }
    await Promise.all([startRunner({ handler }), startRunner({ handler })])
    const tenants = Array.from({ length: 5 }, () => newId())
    const jobs = tenants.flatMap((tenantId) => Array.from({ length: 30 }, () => sampleJob({ tenantId })))
    await enqueueJobs(fixture.db, jobs)
    wakeUp.hint(jobs)
    for (const job of jobs) await untilState(job, 'done')
    expect(ran.toSorted()).toEqual(jobs.map(({ id }) => id).toSorted())
  })

  test('connections that break again and again lose no job', async () => {
    const ran = new Set<string>()
    await startRunner({
      handler: async ({ id }) => {
        ran.add(id)
        return done
      },
      timing: { beatMs: 100 },
    })
    const tenantId = newId()
    const jobs = Array.from({ length: 300 }, () => sampleJob({ tenantId }))
    await enqueueJobs(fixture.db, jobs)
    for (let cut = 0; cut < 8; cut += 1) {
      wakeUp.hint([{ queue: 'default', tenantId, lane: 1 }])
      await vi.waitFor(
        async () => expect((await cutClaims(fixture.owner, undefined)).cut).toBeGreaterThan(0),
        soon,
      )
    }
    // A claim whose answer was cut off is found by the heartbeat, after 5 s by the clock of the database.
    await vi.waitFor(async () => expect(await unfinished(fixture.db, { tenantId })).toEqual([]), {
      timeout: 20_000,
      interval: 100,
    })
    expect(ran.size).toBe(jobs.length)
  })

  test('when one goes silent the other takes its jobs; what the silent one says later is refused', async () => {
    const { started, handler, open } = gate()
    // A node that hangs: its heart does not beat again, but its handler goes on. With its one place taken it does
    // not claim either: a claim would tell it that it counts as dead, and it would register again.
    const frozen = await startRunner({
      handler,
      concurrency: 1,
      timing: { beatMs: 3_600_000, silentMs: 3_600_000 },
    })
    const job = await enqueue()
    await vi.waitFor(() => expect(started).toHaveLength(1), soon)
    await silence(fixture.db, { nodeId: frozen.nodeId })

    const taken: number[] = []
    await startRunner({
      handler: async ({ attempt }) => {
        taken.push(attempt)
        return done
      },
      timing: { rescueMs: 50 },
    })
    await untilState(job, 'done')
    expect(taken).toEqual([2])
    const stale = async () => (await queueMetrics(fixture.platform.metrics).stale.get()).values[0]?.value ?? 0
    const before = await stale()
    open()
    await vi.waitFor(async () => expect(await stale()).toBe(before + 1), soon)
    const outcomes = (await findJob(fixture.db, job))?.attempts.map(({ outcome }) => outcome)
    expect(outcomes).toEqual(['lost', 'done'])
  })
})
