import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { claimLane, clearQueue, registerNode, sampleJob, whereIs } from '../../../testing/queue-fixture.ts'
import { newId } from '../../platform/ids.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { ClaimedJob, NewJob, Outcome } from '../../queue/job.ts'
import { blockLane } from '../../queue/lane-policy.ts'
import { createRunner } from '../../queue/queue.ts'
import { settleJobs } from '../../queue/settle.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import { queuesControl } from './queues.control.ts'
import type { ControlResult, QueueView } from './queues.schema.ts'

let hub: CallingHub
let call: CallServer
let token: string
let nodeId: string
let wakeUp: WakeUp

const connector = { kind: 'http' }

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  const settings = {
    base_url: 'https://api.example.com',
    operations: { get: { method: 'GET', path: '/' } },
  }
  await hub.configure({
    policies: {},
    connectors: { api: { ...connector, settings }, mail: { ...connector, settings } },
  })
  wakeUp = createWakeUp(hub.database.platform)
  call = await hub.serve((app) => queuesControl(app, { db: hub.database.db, wakeUp }))
  token = await hub.access.bearer(hub.tenantId)
})
afterEach(async () => {
  await clearQueue(hub.database.owner, undefined)
  await hub.query('truncate lane_policy, tenant_policy, queue_pause, event')
})
afterAll(async () => {
  await wakeUp.close()
  await hub.close()
})

async function enqueue(job: Partial<NewJob> = {}): Promise<NewJob> {
  const fresh = sampleJob({ tenantId: hub.tenantId, ...job })
  await enqueueJobs(hub.database.db, [fresh])
  return fresh
}
const claim = async (job: NewJob, take = 10) => {
  nodeId = await registerNode(hub.database.db)
  return claimLane(hub.database.claimDb, nodeId, job, take)
}
const verdict = async (job: NewJob) => (await claim(job)).answers[0]?.verdict

const turn = (path: string, reason = 'the provider is ill') =>
  call<ControlResult>('POST', path, token, { body: { reason } })
const entries = () =>
  hub.query<{ action: string; object: string; reason: string }>(
    `select action, object, reason from audit_entry where tenant_id = $1 and action ~ 'paused|resumed' order by seq`,
    [hub.tenantId],
  )

describe.each([
  { path: '/queues/default', noun: 'queue', object: 'queue:default' },
  { path: '/connectors/api', noun: 'lane', object: 'connector:api' },
  { path: '/queues', noun: 'queues', object: expect.stringMatching(/^workspace:/) },
])('POST $path/pause', ({ path, noun, object }) => {
  test('stops claims until it is resumed, and says who and why; twice is once', async () => {
    const before = (await entries()).length
    const job = await enqueue()
    expect(await turn(`${path}/pause`)).toMatchObject({
      status: 200,
      body: { changed: true, paused: { by: 'svc:test', reason: 'the provider is ill' } },
    })
    expect(await verdict(job)).toBe('paused')
    expect((await turn(`${path}/pause`, 'another reason')).body).toMatchObject({
      changed: false,
      paused: { reason: 'the provider is ill' },
    })

    expect((await turn(`${path}/resume`, 'it is well')).body).toEqual({ changed: true, paused: null })
    expect((await turn(`${path}/resume`)).body).toEqual({ changed: false, paused: null })
    expect((await claim(job)).jobs).toHaveLength(1)

    expect((await entries()).slice(before)).toEqual([
      { action: `${noun}.paused`, object, reason: 'the provider is ill' },
      { action: `${noun}.resumed`, object, reason: 'it is well' },
    ])
    expect(await hub.query(`select type from event where type ~ 'paused|resumed' order by seq`)).toEqual([
      { type: `${noun}.paused` },
      { type: `${noun}.resumed` },
    ])
  })

  test('leaves other workspaces alone', async () => {
    const other = await enqueue({ tenantId: hub.otherId })
    await turn(`${path}/pause`)
    expect((await claim(other)).jobs).toHaveLength(1)
  })
})

test('a paused queue leaves the other queues alone, a paused connector the other connectors', async () => {
  const low = await enqueue({ queue: 'low' })
  await turn('/queues/default/pause')
  expect((await claim(low)).jobs).toHaveLength(1)
  const mail = await enqueue({ lane: 2, queue: 'low' })
  await turn('/connectors/api/pause')
  expect((await claim(mail)).jobs).toHaveLength(1)
})

test('no pause without its audit entry', async () => {
  await hub.query(`alter table audit_entry add constraint broken check (action <> 'queue.paused') not valid`)
  const job = await enqueue()
  expect((await turn('/queues/default/pause')).status).toBe(500)
  await hub.query('alter table audit_entry drop constraint broken')
  expect((await claim(job)).jobs).toHaveLength(1)
})

test('bad requests are refused', async () => {
  expect(await turn('/queues/fast/pause')).toMatchObject({ status: 400, body: { code: 'validation_error' } })
  expect(await turn('/connectors/gone/pause')).toMatchObject({
    status: 404,
    body: { code: 'not_found' },
  })
  expect(await call('POST', '/queues/pause', token, { body: {} })).toMatchObject({ status: 400 })
  const reader = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.control.read'] })
  expect(await call('POST', '/queues/pause', reader, { body: { reason: 'x' } })).toMatchObject({
    status: 403,
  })
})

test('GET /queues counts what each queue of the workspace has, and only of this workspace', async () => {
  await enqueue({ tenantId: hub.otherId, queue: 'critical' })
  await enqueue({ queue: 'low', lane: 2, priority: 4 })
  await hub.query(`update job_ready set ready_at = ready_at - interval '1 hour' where tenant_id = $1`, [
    hub.tenantId,
  ])
  await enqueue({ queue: 'low', lane: 1 })
  await enqueue({ queue: 'webhook', runAt: new Date(Date.now() + 60_000) })
  const first = await enqueue()
  const [job, dying] = [...(await claim(await enqueue())).jobs].map((each) => each.job)
  if (!job || !dying) throw new Error('nothing was claimed')
  expect(job.id).toBe(first.id)
  const error = { class: 'x', message: 'x' }
  await settleJobs(hub.database.claimDb, [
    { job: dying, outcome: { kind: 'dead', reason: 'x', error, why: 'x' } },
  ])
  await turn('/queues/low/pause')

  const { body } = await call<{ queues: QueueView[] }>('GET', '/queues', token)
  const empty = { depth: 0, oldest_age_seconds: null, running: 0, deferred: 0, dead: 0, paused: null }
  expect(body).toEqual({
    queues: [
      { ...empty, queue: 'critical' },
      { ...empty, queue: 'webhook', deferred: 1 },
      { ...empty, queue: 'default', running: 1, dead: 1 },
      {
        ...empty,
        queue: 'low',
        depth: 2,
        oldest_age_seconds: expect.closeTo(3_600, -2),
        paused: { since: expect.any(String), by: 'svc:test', reason: 'the provider is ill' },
      },
    ],
    paused: null,
  })
})

test('GET /queues/blocked tells what is paused or blocked and why; resuming ends a block', async () => {
  const job = await enqueue({ lane: 2 })
  await turn('/connectors/api/pause')
  const by = { connector: 'mail', jobId: newId(), requestId: 'r', correlationId: 'c', traceId: 't' }
  await blockLane(hub.database.db, {
    tenantId: hub.tenantId,
    lane: 2,
    forMs: 60_000,
    reason: 'retry_after',
    why: 'Retry-After',
    by,
  })
  await blockLane(hub.database.db, {
    tenantId: hub.otherId,
    lane: 1,
    forMs: 60_000,
    reason: 'retry_after',
    why: 'Theirs',
    by,
  })
  const first = await call<{ next_cursor: string }>('GET', '/queues/blocked?limit=1', token)
  expect(first.body).toMatchObject({
    data: [{ connector: 'api', paused: { reason: 'the provider is ill' }, blocked: null }],
  })
  const next = await call('GET', `/queues/blocked?cursor=${first.body.next_cursor}`, token)
  expect(next.body).toEqual({
    data: [
      { connector: 'mail', paused: null, blocked: { until: expect.any(String), reason: 'Retry-After' } },
    ],
    next_cursor: null,
  })
  expect((await turn('/connectors/mail/resume')).body).toEqual({ changed: true, paused: null })
  expect((await claim(job)).jobs).toHaveLength(1)
  expect((await call('GET', '/queues/blocked?cursor=WzFd', token)).body).toMatchObject({ data: [] })
  expect(await call('GET', '/queues/blocked?cursor=nonsense', token)).toMatchObject({ status: 400 })
})

test('resuming a connector that an upstream holds back starts its jobs now, also the one that heard the 429', async () => {
  const heard: string[] = []
  let busy = true
  const by = { connector: 'api', requestId: 'r', correlationId: 'c', traceId: 't' }
  const handler = async ({ id, lane }: ClaimedJob): Promise<Outcome> => {
    if (!busy || lane !== 1) return { kind: 'done', result: {}, why: 'Done.' }
    heard.push(id)
    const block = {
      tenantId: hub.tenantId,
      lane,
      forMs: 600_000,
      reason: 'retry_after',
      why: 'Retry-After 600 s',
    } as const
    await blockLane(hub.database.db, { ...block, by: { ...by, jobId: id } })
    return { kind: 'snooze', delayMs: 600_000, httpStatus: 429, why: 'Retry-After 600 s' }
  }
  const { platform, claimDb } = hub.database
  const runner = createRunner({ platform, claimDb, wakeUp, handler, concurrency: 10 })
  await runner.start()
  const soon = { timeout: 10_000, interval: 10 }
  const untilDone = (job: NewJob) =>
    vi.waitFor(async () => expect(await whereIs(hub.database.db, job)).toMatchObject({ state: 'done' }), soon)
  try {
    const first = await enqueue()
    wakeUp.hint([first])
    await vi.waitFor(
      async () => expect(await whereIs(hub.database.db, first)).toMatchObject({ deferred: 1 }),
      soon,
    )
    // One claim asks both lanes: when the job of the other has run, the runner knows of the block.
    const [second, elsewhere] = [await enqueue(), await enqueue({ lane: 2 })]
    wakeUp.hint([second, elsewhere])
    await untilDone(elsewhere)
    busy = false
    expect((await turn('/connectors/api/resume')).body).toEqual({ changed: true, paused: null })
    await Promise.all([untilDone(first), untilDone(second)])
    expect(heard).toEqual([first.id])
  } finally {
    await runner.stop(0)
  }
})
