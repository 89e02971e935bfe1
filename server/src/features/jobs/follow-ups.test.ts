import { Webhook } from 'standardwebhooks'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { type CallingHub, callingHub, SIGNING_SECRET } from '../../../testing/calling-hub.ts'
import { testPlatform } from '../../../testing/database.ts'
import { clearQueue, sampleJob } from '../../../testing/queue-fixture.ts'
import { json, oneAfterTheOther, type SeenRequest } from '../../../testing/upstream.ts'
import { systemClock } from '../../platform/clock.ts'
import { newId } from '../../platform/ids.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { ClaimedJob, Completion, EndedJob } from '../../queue/job.ts'
import { createRunner, type Runner } from '../../queue/queue.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import { type ActiveConfigs, type ConfigDocument, createActiveConfigs } from '../configs/configs.ts'
import { createFollowUps } from './jobs.ts'
import { createJobHandler } from './jobs.worker.ts'

/** Runs the real worker: what follows the end of a job commits with it. */
let hub: CallingHub
let wakeUp: WakeUp
let runner: Runner

const startRunner = async (activeConfigs: ActiveConfigs = hub.activeConfigs): Promise<Runner> => {
  const platform = { ...hub.database.platform, metrics: createMetrics('test', false) }
  const started = createRunner({
    platform,
    claimDb: hub.database.claimDb,
    wakeUp,
    concurrency: 4,
    handler: createJobHandler({ ...hub, activeConfigs, platform }),
    followUps: createFollowUps({ activeConfigs, clock: systemClock }),
    timing: { discoverMs: 20 },
  })
  await started.start()
  return started
}

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
})
beforeEach(async () => {
  await clearQueue(hub.database.owner, undefined)
  await hub.query('truncate event')
  await hub.configure(DOCUMENT())
  wakeUp = createWakeUp(hub.database.platform)
  runner = await startRunner()
})
afterEach(async () => {
  await runner.stop(1_000)
  await wakeUp.close()
  hub.upstream.reset(json(200, {}))
})
afterAll(() => hub.close())

const product = () => ({
  kind: 'callback',
  settings: { url: `${hub.upstream.url}/hooks` },
  secrets: { signing_secret: 'signing' },
})
const DOCUMENT = (): ConfigDocument => ({
  policies: { default: { job_retry: { schedule_ms: [0, 10, 10] } } },
  connectors: {
    crm: {
      kind: 'http',
      settings: {
        base_url: hub.upstream.url,
        operations: { call: { method: 'POST', path: '/crm', idempotency_key_header: 'Idempotency-Key' } },
      },
    },
    product: product(),
  },
})

/** Puts a job in and waits until it has ended. */
async function run(completion?: Completion, change: object = {}): Promise<string> {
  const job = sampleJob({
    tenantId: hub.tenantId,
    connector: 'crm',
    operation: 'call',
    input: {},
    metadata: { order: '17' },
    ...(completion && { completion }),
    ...change,
  })
  await enqueueJobs(hub.database.db, [job])
  wakeUp.hint([job])
  await vi.waitFor(async () => expect(await stateOf(job.id)).not.toBe('queued'), { timeout: 20_000 })
  return job.id
}
const stateOf = async (id: string) =>
  (await hub.query<{ state: string }>('select state from job where id = $1', [id]))[0]?.state
const events = (id: string, type: string) =>
  hub.query<{ message: string; data: object; connector: string; trace_id: string; severity: string }>(
    'select message, data, connector, trace_id, severity from event where job_id = $1 and type = $2',
    [id, type],
  )
const received = (path: string): SeenRequest[] => hub.upstream.requests.filter(({ url }) => url === path)
const deliveries = (count: number) =>
  vi.waitFor(
    () => {
      expect(received('/hooks')).toHaveLength(count)
      return received('/hooks')
    },
    { timeout: 20_000 },
  )
/** What the product reads, after its own library has verified the signature. */
const verified = ({ headers, body }: SeenRequest) =>
  new Webhook(SIGNING_SECRET).verify(body, headers as Record<string, string>) as Record<string, unknown>

const CALLBACK: Completion = { callback: { connector: 'product' } }

describe('a callback', () => {
  test('tells the product that its job is done, signed', async () => {
    hub.upstream.reset(json(201, { id: 'c1' }))
    const id = await run(CALLBACK)
    const [delivery] = await deliveries(1)
    expect(delivery && verified(delivery)).toEqual({
      type: 'job.done',
      timestamp: expect.stringMatching(/^\d{4}-.*Z$/),
      data: {
        job_id: id,
        state: 'done',
        connector: 'crm',
        operation: 'call',
        attempts: 1,
        result: { id: 'c1' },
        result_ref: null,
        why: 'Attempt 1 succeeded with HTTP 201.',
        dead_reason: null,
        error: null,
        metadata: { order: '17' },
        correlation_id: 'cor-1',
        trace_id: 'a'.repeat(32),
      },
    })
    const [callback] = await hub.query(
      `select j.queue, j.created_by, j.trace_id, p.metadata from job j join job_payload p on p.job_id = j.id
       where j.connector = 'product'`,
    )
    expect(callback).toEqual({
      queue: 1,
      created_by: 'hub',
      trace_id: 'a'.repeat(32),
      metadata: { callback_of: id },
    })
  })

  test('tells the product that its job is dead, and why', async () => {
    hub.upstream.reset((...exchange) => json(exchange[1].url === '/crm' ? 404 : 200, {})(...exchange))
    const id = await run(CALLBACK)
    const [delivery] = await deliveries(1)
    expect(delivery && verified(delivery)).toMatchObject({
      type: 'job.dead',
      data: {
        job_id: id,
        dead_reason: 'permanent',
        result: null,
        error: { class: 'http_4xx', message: 'The upstream answered with HTTP 404.', http_status: 404 },
      },
    })
  })

  test('is repeated until the product takes it, under one id', async () => {
    const product = oneAfterTheOther(json(200, {}), json(503, {}), json(503, {}), json(200, {}))
    hub.upstream.reset(product)
    await run(CALLBACK)
    const seen = await deliveries(3)
    expect(new Set(seen.map(({ headers }) => headers['webhook-id'])).size).toBe(1)
    expect(new Set(seen.map(({ headers }) => headers['x-orchestrator-attempt'])).size).toBe(3)
    await vi.waitFor(
      async () =>
        expect(await hub.query(`select state, attempts from job where connector = 'product'`)).toEqual([
          { state: 'done', attempts: 3 },
        ]),
      20_000,
    )
  })

  test('whose connector has gone is told in the timeline; the job has ended all the same', async () => {
    const { product: _removed, ...connectors } = DOCUMENT().connectors
    await hub.configure({ ...DOCUMENT(), connectors })
    const id = await run(CALLBACK)
    expect(await stateOf(id)).toBe('done')
    expect(await events(id, 'job.callback_skipped')).toEqual([
      {
        message: 'No callback: the active config has no connector product of kind callback.',
        data: {},
        connector: 'product',
        trace_id: 'a'.repeat(32),
        severity: 'warning',
      },
    ])
    expect(await hub.query('select 1 from job')).toHaveLength(1)
  })

  test('to a connector that the worker has not heard of yet is not skipped', async () => {
    await runner.stop(1_000)
    await hub.configure({ ...DOCUMENT(), connectors: { crm: DOCUMENT().connectors.crm ?? product() } })
    // Hears nothing and polls hardly ever: it knows the config without the product.
    const silent = testPlatform(inject('postgres').url)
    const activeConfigs = createActiveConfigs({
      ...hub.database.platform,
      notifications: silent.notifications,
      pollMs: 3_600_000,
    })
    await activeConfigs.get(hub.tenantId)
    await hub.configure(DOCUMENT())
    runner = await startRunner(activeConfigs)
    await run(CALLBACK)
    await deliveries(1)
    activeConfigs.close()
    await silent.notifications.close()
    await silent.db.close()
  })
})

describe('an event on completion', () => {
  const EVENT: Completion = { event: { type: 'billing_state_updated', data: { event_id: 'evt_1' } } }

  test('is appended when the job is done, with the ids of the job', async () => {
    const inboxId = newId()
    const id = await run(EVENT, { inboxId })
    expect(await events(id, 'billing_state_updated')).toMatchObject([
      { data: { event_id: 'evt_1' }, connector: 'crm', trace_id: 'a'.repeat(32), severity: 'info' },
    ])
    expect(await hub.query('select inbox_id from event where type = $1', ['billing_state_updated'])).toEqual([
      { inbox_id: inboxId },
    ])
  })

  test('is not appended for a dead letter', async () => {
    hub.upstream.reset(json(404, {}))
    const id = await run(EVENT)
    expect(await stateOf(id)).toBe('dead')
    expect(await events(id, 'billing_state_updated')).toEqual([])
  })

  test('that cannot be stored keeps the job from being done without it', async () => {
    await hub.query(`alter table event add constraint untold check (type <> 'cannot_be_told') not valid`)
    const id = await run({ event: { type: 'cannot_be_told', data: {} } })
    expect(await stateOf(id)).toBe('dead')
    expect(await hub.query('select reason from job_dead where job_id = $1', [id])).toEqual([
      { reason: 'settle_failed' },
    ])
    expect(received('/crm')).toHaveLength(1)
  })
})

describe('what follows', () => {
  const ended = (job: Partial<ClaimedJob>): EndedJob => {
    const { dedupe: _dedupe, runAt: _runAt, ...sample } = sampleJob({ tenantId: hub.tenantId })
    return {
      job: {
        ...sample,
        inputRef: null,
        metadata: {},
        completion: null,
        attempt: 1,
        idempotencyKey: 'key',
        inboxId: null,
        createdAt: new Date(),
        ...job,
      },
      state: 'done',
      result: null,
      why: 'It worked.',
      reason: null,
      error: null,
    }
  }

  test('is gone when the transaction that ends the job fails', async () => {
    const followUps = createFollowUps({ activeConfigs: hub.activeConfigs, clock: systemClock })
    const job = ended({ completion: { ...CALLBACK, event: { type: 'told', data: {} } } })
    await expect(
      hub.database.db.transaction(async (tx) => {
        expect(await followUps(tx, [job])).toHaveLength(1)
        throw new Error('the end could not be stored')
      }),
    ).rejects.toThrow('the end could not be stored')
    expect(await hub.query('select 1 from job')).toEqual([])
    expect(await events(job.job.id, 'told')).toEqual([])
  })

  test('is woken by the lanes that come back: one for each callback of a batch', async () => {
    const followUps = createFollowUps({ activeConfigs: hub.activeConfigs, clock: systemClock })
    const batch = [ended({ completion: CALLBACK }), ended({}), ended({ completion: CALLBACK })]
    const lanes = await hub.database.db.transaction((tx) => followUps(tx, batch))
    expect(lanes).toMatchObject([
      { queue: 'webhook', tenantId: hub.tenantId, lane: 2 },
      { queue: 'webhook', tenantId: hub.tenantId, lane: 2 },
    ])
  })
})
