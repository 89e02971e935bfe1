import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { setLaneCap, setTenantCap } from '../../../testing/queue-caps.ts'
import { claimLane, clearQueue, registerNode } from '../../../testing/queue-fixture.ts'
import { systemClock } from '../../platform/clock.ts'
import { createDb } from '../../platform/db/db.ts'
import { newId } from '../../platform/ids.ts'
import { createEnqueuer } from '../../queue/enqueuer.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import { blockLane } from '../../queue/lane-policy.ts'
import {
  pauseLane,
  pauseQueue,
  pauseTenant,
  resumeLane,
  resumeQueue,
  resumeTenant,
} from '../../queue/pause.ts'
import { settleJobs } from '../../queue/settle.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import { createActiveConfigs } from '../configs/configs.ts'
import { createBacklog } from '../workspaces/workspaces.ts'
import { jobsControl } from './jobs.control.ts'
import { jobsExec } from './jobs.exec.ts'

let hub: CallingHub
let exec: CallServer
let control: CallServer
let token: string
let others: string
let wakeUp: WakeUp
let nodeId: string

/** Of both planes: one token serves both servers of the test. */
const SCOPES = ['jobs.read', 'jobs.write', 'control.read', 'control.write'].map(
  (name) => `orchestrator.${name}`,
)

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const { db, platform } = hub.database
  const { activeConfigs } = hub
  wakeUp = createWakeUp(platform)
  const enqueuer = createEnqueuer(db, { wakeUp })
  const { loadShed } = hub.guards
  const deps = {
    db,
    clock: systemClock,
    activeConfigs,
    enqueuer,
    wakeUp,
    loadShed,
    backlog: createBacklog(hub.database.platform),
    wouldHave: hub.guardMetrics.wouldHave,
    readInput: hub.readInput,
    payloads: hub.payloads,
  }
  exec = await hub.serve((app) => jobsExec(app, deps))
  control = await hub.serve((app) => jobsControl(app, deps), 'control')
  const operations = { call: { method: 'POST', path: '/' } }
  await hub.configure({
    policies: {},
    connectors: {
      crm: { kind: 'http', settings: { base_url: hub.upstream.url, operations } },
      product: {
        kind: 'callback',
        settings: { url: hub.upstream.url },
        secrets: { signing_secret: 'signing' },
      },
    },
  })
})
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId, { scopes: SCOPES })
  others = await hub.access.bearer(hub.otherId, { scopes: SCOPES })
  await clearQueue(hub.database.owner, undefined)
  nodeId = await registerNode(hub.database.db)
})
afterAll(async () => {
  await wakeUp.close()
  await hub.close()
})

const submit = async (change: object = {}): Promise<string> => {
  const body = { connector: 'crm', operation: 'call', input: null, ...change }
  return (await exec<{ job_id: string }>('POST', '/jobs', token, { body })).body.job_id
}
const LANE = { queue: 'default', lane: 1 } as const
/** Takes what is ready, as a worker does. */
const claim = async (): Promise<ClaimedJob[]> =>
  (await claimLane(hub.database.claimDb, nodeId, { ...LANE, tenantId: hub.tenantId })).jobs.map(
    ({ job }) => job,
  )
const settle = async (outcome: Outcome): Promise<void> => {
  const jobs = await claim()
  await settleJobs(
    hub.database.claimDb,
    jobs.map((job) => ({ job, outcome })),
  )
}

const DEAD: Outcome = {
  kind: 'dead',
  reason: 'permanent',
  error: { class: 'http_4xx', message: 'The upstream answered with HTTP 404.', httpStatus: 404 },
  why: 'Not repeated.',
}
const RETRY: Outcome = {
  kind: 'retry',
  delayMs: 60_000,
  error: { class: 'timeout', message: 'The upstream did not answer in time.' },
  why: 'Again in a minute.',
}

/** One job in every state, oldest first. */
async function oneOfEach(): Promise<Record<string, string>> {
  const done = await submit()
  await settle({ kind: 'done', result: { id: 7 }, httpStatus: 201, configVersion: 7, why: 'It worked.' })
  const dead = await submit()
  await settle(DEAD)
  const retrying = await submit()
  await settle(RETRY)
  const running = await submit()
  await claim()
  const scheduled = await submit({ run_at: new Date(Date.now() + 60_000).toISOString() })
  const cancelled = await submit()
  await exec('POST', `/jobs/${cancelled}/cancel`, token)
  const queued = await submit({ queue: 'low' })
  return { done, dead, retrying, running, scheduled, cancelled, queued }
}

interface List {
  data: {
    id: string
    state: string
    next_run_at: string | null
    finished_at: string | null
    attempts: number
  }[]
  next_cursor: string | null
  code: string
}
const list = async (query = '') => (await exec<List>('GET', `/jobs${query}`, token)).body

describe('the list', () => {
  test('shows every job in its state, newest first, on both planes alike', async () => {
    const ids = await oneOfEach()
    const { data } = await list()
    expect(data.map(({ id, state }) => [state, id])).toEqual(Object.entries(ids).reverse())
    expect(Object.fromEntries(data.map(({ state, next_run_at }) => [state, next_run_at !== null]))).toEqual({
      done: false,
      dead: false,
      retrying: true,
      running: false,
      scheduled: true,
      cancelled: false,
      queued: false,
    })
    expect(data.filter(({ finished_at }) => finished_at !== null).map(({ state }) => state)).toEqual([
      'cancelled',
      'dead',
      'done',
    ])
    expect((await control<List>('GET', '/jobs', token)).body.data).toEqual(data)
  })

  test('keeps to its filters', async () => {
    const ids = await oneOfEach()
    for (const [state, id] of Object.entries(ids))
      expect((await list(`?state=${state}`)).data.map((job) => job.id)).toEqual([id])
    expect((await list('?queue=low')).data.map(({ id }) => id)).toEqual([ids.queued])
    expect((await list('?connector=product')).data).toEqual([])
    expect((await list('?connector=crm&queue=default&state=done')).data.map(({ id }) => id)).toEqual([
      ids.done,
    ])
  })

  test('is read page by page, without gap or repetition while jobs come and go', async () => {
    const ids: string[] = []
    for (let job = 0; job < 7; job += 1) ids.unshift(await submit())
    const seen: string[] = []
    let next: string | null = ''
    while (next !== null) {
      const page: List = await list(`?limit=3${next && `&cursor=${next}`}`)
      seen.push(...page.data.map(({ id }) => id))
      next = page.next_cursor
      await submit()
    }
    expect(seen).toEqual(ids)
  })

  test.each([
    '?state=waiting',
    '?queue=fast',
    '?limit=201',
    '?cursor=nonsense',
    `?cursor=${Buffer.from('[5]').toString('base64url')}`,
    `?cursor=${Buffer.from('["x"]').toString('base64url')}`,
    '?page=2',
  ])('refuses %s', async (query) => {
    expect((await list(query)).code).toBe('validation_error')
  })

  test('of another workspace is empty', async () => {
    await oneOfEach()
    expect((await exec<List>('GET', '/jobs', others)).body).toEqual({ data: [], next_cursor: null })
  })
})

describe('one job', () => {
  const detail = async (id: string) =>
    (
      await exec<{ job: Record<string, unknown>; attempts: Record<string, unknown>[] }>(
        'GET',
        `/jobs/${id}`,
        token,
      )
    ).body

  test('tells its attempts, from the oldest', async () => {
    const id = await submit()
    await settle(RETRY)
    const retrying = await detail(id)
    expect(retrying.job).toMatchObject({ state: 'retrying', attempts: 1, result: null })
    expect(retrying.job.next_run_at).toBe(retrying.attempts[0]?.next_run_at)
    expect(retrying.attempts).toMatchObject([
      {
        attempt: 1,
        outcome: 'retry',
        why: 'Again in a minute.',
        http_status: null,
        error: { class: 'timeout', message: 'The upstream did not answer in time.' },
      },
    ])
    for (const name of ['started_at', 'ended_at', 'next_run_at'])
      expect(retrying.attempts[0]?.[name]).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  })

  test('shows its result when it is done, and why when it is dead', async () => {
    const { done = '', dead = '', running = '' } = await oneOfEach()
    expect(await detail(done)).toMatchObject({
      job: { state: 'done', attempts: 1, result: { id: 7 }, dead_reason: null, started_at: null },
      attempts: [{ outcome: 'done', http_status: 201, config_version: 7, error: null, next_run_at: null }],
    })
    expect(await detail(dead)).toMatchObject({
      job: { state: 'dead', result: null, dead_reason: 'permanent' },
      attempts: [{ outcome: 'dead', http_status: 404, error: { class: 'http_4xx' } }],
    })
    expect(await detail(running)).toMatchObject({
      job: {
        state: 'running',
        attempts: 1,
        started_at: expect.stringMatching(/Z$/),
        cancel_requested_at: null,
      },
      attempts: [],
    })
  })

  test('says what keeps it from starting, and no more when it is gone', async () => {
    const { db } = hub.database
    const ref = { tenantId: hub.tenantId }
    const id = await submit()
    const blockedBy = async () =>
      (await detail(id)).job.blocked_by as { reason: string; message: string; until: string | null }[]
    expect(await blockedBy()).toEqual([])
    const by = { actor: 'ada', why: 'the provider moves' }
    await pauseTenant(db, { ...ref, ...by })
    await pauseQueue(db, { ...ref, queue: 2, ...by })
    await pauseLane(db, { ...ref, lane: 1, ...by })
    const cause = { connector: 'crm', jobId: id, requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32) }
    const why = 'HTTP 429: Retry-After 3600 s honoured.'
    await blockLane(db, { ...ref, lane: 1, forMs: 3_600_000, reason: 'retry_after', why, by: cause })
    expect(await blockedBy()).toEqual([
      {
        reason: 'workspace_paused',
        message: 'The workspace is paused by ada: the provider moves',
        until: null,
      },
      { reason: 'queue_paused', message: 'The queue is paused by ada: the provider moves', until: null },
      {
        reason: 'connector_paused',
        message: 'The connector is paused by ada: the provider moves',
        until: null,
      },
      { reason: 'retry_after', message: why, until: expect.stringMatching(/Z$/) },
    ])
    await resumeTenant(db, ref)
    await resumeQueue(db, { ...ref, queue: 2 })
    await resumeLane(db, { ...ref, lane: 1 })
    await setLaneCap(db, { ...ref, lane: 1, maxRunning: 1 })
    await setTenantCap(db, { ...ref, maxRunning: 1 })
    const other = await submit({ priority: 1 })
    expect((await claim()).map((job) => job.id)).toEqual([other])
    expect((await blockedBy()).map(({ reason }) => reason)).toEqual(['connector_cap', 'workspace_cap'])
    await setLaneCap(db, { ...ref, lane: 1, maxRunning: null })
    await setTenantCap(db, { ...ref, maxRunning: null })
    expect(await blockedBy()).toEqual([])
  })

  test('of another workspace and one that does not exist answer in the same bytes, on every route', async () => {
    const id = await submit()
    const headers = { 'x-request-id': 'same' }
    const body = { reason: 'x' }
    for (const server of [exec, control]) {
      const foreign = await server('GET', `/jobs/${id}`, others, { headers })
      const missing = await server('GET', `/jobs/${newId()}`, token, { headers })
      expect([foreign.status, foreign.text]).toEqual([404, missing.text])
      const cancelForeign = await server('POST', `/jobs/${id}/cancel`, others, { headers, body })
      const cancelMissing = await server('POST', `/jobs/${newId()}/cancel`, token, { headers, body })
      expect([cancelForeign.status, cancelForeign.text]).toEqual([404, cancelMissing.text])
    }
    expect((await detail(id)).job.state).toBe('queued')
  })

  test.each(['x', '123', 'urn:uuid:0190b7a0-0000-7000-8000-000000000000'])(
    'has no id like %s',
    async (id) => {
      expect(await exec('GET', `/jobs/${encodeURIComponent(id)}`, token)).toMatchObject({
        status: 400,
        body: { details: [{ path: '/path/id' }] },
      })
    },
  )
})

describe('a cancel', () => {
  const cancel = (id: string, body?: unknown, server = exec) =>
    server('POST', `/jobs/${id}/cancel`, token, body === undefined ? {} : { body })
  const stateOf = async (id: string) =>
    (await exec<{ job: { state: string; cancel_requested_at: string | null } }>('GET', `/jobs/${id}`, token))
      .body.job

  const audited = () => hub.query('select actor, action, object, reason from audit_entry order by seq')

  test('of a job that waits takes effect at once; asked again it answers the same', async () => {
    for (const change of [{}, { run_at: new Date(Date.now() + 60_000).toISOString() }]) {
      const id = await submit(change)
      expect(await cancel(id, { reason: 'the order is void' })).toMatchObject({
        status: 200,
        body: { job_id: id, status: 'cancelled' },
      })
      expect((await stateOf(id)).state).toBe('cancelled')
      expect(await cancel(id)).toMatchObject({ status: 200, body: { job_id: id, status: 'cancelled' } })
      const events = await hub.query(
        `select type, message from event where job_id = $1 and type = 'job.cancelled'`,
        [id],
      )
      expect(events).toEqual([{ type: 'job.cancelled', message: 'Cancelled by svc:test: the order is void' }])
    }
    expect(await claim()).toEqual([])
  })

  test('of a job that runs asks it to stop', async () => {
    const id = await submit()
    const [running] = await claim()
    expect(running?.id).toBe(id)
    expect(await cancel(id)).toMatchObject({ status: 200, body: { status: 'cancelling' } })
    expect(await stateOf(id)).toMatchObject({ state: 'running', cancel_requested_at: expect.any(String) })
    expect(await cancel(id)).toMatchObject({ status: 200, body: { status: 'cancelling' } })
  })

  test.each([
    ['done', 'The job has ended: it is done.'],
    ['dead', 'The job has ended: it is a dead letter.'],
  ])('of a job that is %s is refused', async (state, detail) => {
    const { [state]: id = '' } = await oneOfEach()
    expect(await cancel(id, { reason: 'x' }, control)).toMatchObject({
      status: 409,
      body: { code: 'conflict', detail },
    })
  })

  test('by an operator is audited with its reason, in the same commit and only when it changes something', async () => {
    await hub.query('delete from event')
    const waiting = await submit({ queue: 'low' })
    const running = await submit()
    await claim()
    const before = (await audited()).length
    for (const id of [waiting, running])
      for (const reason of ['the order is void', 'once more'])
        expect((await cancel(id, { reason }, control)).status).toBe(200)
    expect((await audited()).slice(before)).toEqual([
      {
        actor: 'svc:test',
        action: 'job.cancelled',
        object: `job:${waiting}`,
        reason: 'the order is void',
      },
      {
        actor: 'svc:test',
        action: 'job.cancel_requested',
        object: `job:${running}`,
        reason: 'the order is void',
      },
    ])
    expect(
      await hub.query(`select type, message from event where type like 'job.cancel%' order by seq`),
    ).toEqual([
      { type: 'job.cancelled', message: 'Cancelled by svc:test: the order is void' },
      { type: 'job.cancel_requested', message: 'Cancelled by svc:test: the order is void' },
    ])
    const untouched = await submit()
    await hub.query(`alter table audit_entry add constraint full_up check (reason <> 'unwritten') not valid`)
    expect((await cancel(untouched, { reason: 'unwritten' }, control)).status).toBe(500)
    expect((await stateOf(untouched)).state).toBe('queued')
    // Products answer for themselves: what they cancel is in the timeline.
    expect((await cancel(untouched)).status).toBe(200)
    expect(await audited()).toHaveLength(before + 2)
  })

  test('needs one database connection, also for a callback by a config that nobody has read yet', async () => {
    const id = await submit({ callback: { connector: 'product' } })
    const { log, metrics, notifications } = hub.database.platform
    const db = createDb({
      url: hub.database.url,
      applicationName: 'test one connection',
      poolSize: 1,
      slowQueryMs: 60_000,
      log,
      metrics,
    })
    const activeConfigs = createActiveConfigs({ db, log, notifications })
    const server = await hub.serve(
      (app) => jobsControl(app, { ...hub, db, clock: systemClock, activeConfigs, wakeUp }),
      'control',
    )
    expect(await cancel(id, { reason: 'void' }, server)).toMatchObject({ status: 200 })
    expect((await list('?connector=product')).data).toHaveLength(1)
    activeConfigs.close()
    await db.close()
  })

  test('tells the product: its callback is queued in the same commit', async () => {
    const id = await submit({ callback: { connector: 'product' }, metadata: { order: '17' } })
    await cancel(id, { reason: 'void' })
    const [callback] = (await list('?connector=product')).data
    expect(callback).toMatchObject({
      state: 'queued',
      queue: 'webhook',
      operation: 'deliver',
      created_by: 'hub',
    })
    const found = await exec<{ job: { input: unknown; metadata: unknown } }>(
      'GET',
      `/jobs/${callback?.id}`,
      token,
    )
    expect(found.body.job).toMatchObject({
      metadata: { callback_of: id },
      input: {
        type: 'job.cancelled',
        data: {
          job_id: id,
          state: 'cancelled',
          attempts: 0,
          metadata: { order: '17' },
          result: null,
          error: null,
        },
      },
    })
  })

  test('needs a reason from operators, and takes no fields that it does not know', async () => {
    const id = await submit()
    for (const body of [undefined, {}, { reason: '' }, { reason: '  ' }, { reason: 'x'.repeat(501) }])
      expect(await cancel(id, body, control)).toMatchObject({
        status: 400,
        body: { code: 'validation_error' },
      })
    for (const body of [{ reason: '' }, { reason: 5 }, { force: true }, []])
      expect(await cancel(id, body)).toMatchObject({ status: 400, body: { code: 'validation_error' } })
    expect((await stateOf(id)).state).toBe('queued')
    expect((await cancel(id, { reason: 'the order is void' }, control)).status).toBe(200)
  })
})
