import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { clearQueue } from '../../../testing/queue-fixture.ts'
import { systemClock } from '../../platform/clock.ts'
import { newId } from '../../platform/ids.ts'
import { createEnqueuer } from '../../queue/enqueuer.ts'
import type { LaneKey } from '../../queue/job.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import type { ConfigDocument } from '../configs/configs.ts'
import { createBacklog } from '../workspaces/workspaces.ts'
import { jobsExec } from './jobs.exec.ts'

let hub: CallingHub
let call: CallServer
let token: string
let others: string
let wakeUp: WakeUp
let woken: LaneKey[] = []

interface Accepted {
  job_id: string
  queued_at: string
  code: string
  details: { path: string; message: string }[]
  jobs: { job_id: string; queued_at: string; replayed: boolean }[]
}

const SCOPES = ['orchestrator.jobs.read', 'orchestrator.jobs.write']

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const { db, platform } = hub.database
  wakeUp = createWakeUp(platform)
  wakeUp.subscribe((lanes) => woken.push(...(lanes ?? [])))
  const { activeConfigs } = hub
  const { loadShed } = hub.guards
  const enqueuer = createEnqueuer(db, { wakeUp })
  call = await hub.serve((app) =>
    jobsExec(app, {
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
    }),
  )
  await hub.configure(DOCUMENT())
})
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId, { scopes: SCOPES })
  others = await hub.access.bearer(hub.otherId, { scopes: SCOPES })
  await clearQueue(hub.database.owner, undefined)
  woken = []
})
afterAll(async () => {
  await wakeUp.close()
  await hub.close()
})

const crm = () => ({
  kind: 'http',
  settings: {
    base_url: hub.upstream.url,
    operations: {
      'contact.create': {
        method: 'POST',
        path: '/contacts',
        body: '{{input}}',
        input: {
          type: 'object',
          properties: { name: { type: 'string', minLength: 1 }, age: { type: 'integer' } },
          required: ['name'],
        },
      },
      anything: { method: 'POST', path: '/', body: '{{input}}' },
    },
  },
})
const DOCUMENT = (more: ConfigDocument['connectors'] = { passing: crm() }): ConfigDocument => ({
  policies: {},
  connectors: {
    crm: crm(),
    product: {
      kind: 'callback',
      settings: { url: `${hub.upstream.url}/hooks` },
      secrets: { signing_secret: 'signing' },
    },
    ...more,
  },
})

const JOB = { connector: 'crm', operation: 'contact.create', input: { name: 'Ada' } }
const submit = (change: object = {}, headers: Record<string, string> = {}, authorization = token) =>
  call<Accepted>('POST', '/jobs', authorization, { body: { ...JOB, ...change }, headers })
const batch = (...jobs: object[]) => batchWith({}, ...jobs)
const batchWith = (headers: Record<string, string>, ...jobs: object[]) =>
  call<Accepted>('POST', '/jobs/batch', token, { body: { jobs }, headers })
const jobOf = async (id: string) =>
  (await call<{ job: Record<string, unknown>; attempts: unknown[] }>('GET', `/jobs/${id}`, token)).body
const inMs = (ms: number) => new Date(Date.now() + ms).toISOString()
const DAY = 86_400_000

const stored = async () => {
  const [counts] = await hub.query<Record<string, number>>(
    `select (select count(*) from job) as jobs, (select count(*) from job_payload) as payloads,
            (select count(*) from job_ready) as ready, (select count(*) from job_deferred) as deferred,
            (select count(*) from idem) as keys, (select count(*) from event) as events`,
  )
  return counts
}

describe('a job', () => {
  test('is accepted, found again with everything that it was given, and announced', async () => {
    const answer = await submit(
      { queue: 'low', priority: 4, metadata: { order: '17' }, callback: { connector: 'product' } },
      { 'x-correlation-id': 'order-17' },
    )
    const { job_id, queued_at, request_id, trace_id } = answer.body as Accepted & Record<string, string>
    expect(answer).toMatchObject({
      status: 202,
      headers: { location: `/jobs/${job_id}` },
      body: { job_id, status: 'queued', request_id, trace_id },
    })
    expect(answer.headers['idempotent-replayed']).toBeUndefined()
    expect(await jobOf(job_id)).toEqual({
      job: {
        id: job_id,
        state: 'queued',
        queue: 'low',
        priority: 4,
        connector: 'crm',
        operation: 'contact.create',
        attempts: 0,
        replays: 0,
        next_run_at: null,
        expires_at: null,
        created_at: queued_at,
        finished_at: null,
        created_by: 'svc:test',
        config_version: expect.any(Number),
        inbox_id: null,
        correlation_id: 'order-17',
        trace_id,
        input: { name: 'Ada' },
        input_missing: null,
        input_ref: null,
        result_ref: null,
        metadata: { order: '17' },
        idempotency_key: `orch-${job_id}`,
        request_id,
        started_at: null,
        cancel_requested_at: null,
        result: null,
        blocked_by: [],
        dead_reason: null,
      },
      attempts: [],
    })
    expect(woken).toMatchObject([{ queue: 'low', tenantId: hub.tenantId, lane: 1 }])
    const events = await hub.query('select type, request_id, correlation_id from event where job_id = $1', [
      job_id,
    ])
    expect(events).toEqual([{ type: 'job.queued', request_id, correlation_id: 'order-17' }])
  })

  test.each([null, 0, 'text', [1, null], { nested: { '': [{}] }, b: 1, a: 2 }])(
    'keeps the input %j as it was sent',
    async (input) => {
      const { body } = await submit({ operation: 'anything', input })
      expect(JSON.stringify((await jobOf(body.job_id)).job.input)).toBe(JSON.stringify(input))
    },
  )

  test('to run later is scheduled; one whose time has passed runs at once', async () => {
    const runAt = inMs(DAY)
    const later = await submit({ run_at: runAt })
    expect((await jobOf(later.body.job_id)).job).toMatchObject({ state: 'scheduled', next_run_at: runAt })
    const expiresAt = inMs(2 * DAY)
    const expiring = await submit({ run_at: runAt, expires_at: expiresAt })
    expect((await jobOf(expiring.body.job_id)).job).toMatchObject({ expires_at: expiresAt })
    for (const passed of [inMs(-1), '2001-02-03T04:05:06+07:00', '0000-01-01T00:00:00Z']) {
      const now = await submit({ run_at: passed })
      expect([now.status, (await jobOf(now.body.job_id)).job.state]).toEqual([202, 'queued'])
    }
  })
})

describe('an Idempotency-Key', () => {
  const same = { 'idempotency-key': 'order-17' }

  test('gives the first job again, also to many who ask at once', async () => {
    const first = await submit({}, same)
    const again = await submit({}, same)
    expect(again).toMatchObject({
      status: 202,
      headers: { 'idempotent-replayed': 'true', location: `/jobs/${first.body.job_id}` },
    })
    // The ids of the first request, too.
    expect(again.body).toEqual(first.body)
    const together = await Promise.all(
      Array.from({ length: 20 }, () => submit({}, { 'idempotency-key': 'together' })),
    )
    expect(new Set(together.map(({ body }) => body.job_id)).size).toBe(1)
    expect(together.filter(({ headers }) => headers['idempotent-replayed'] === undefined)).toHaveLength(1)
    expect(await stored()).toMatchObject({ jobs: 2, payloads: 2, ready: 2, keys: 2 })
  })

  test.each([
    ['another input', { body: { ...JOB, input: { name: 'Grace' } } }],
    ['the same in other bytes', { raw: `${JSON.stringify(JOB)} ` }],
  ])('with %s is refused, and nothing is stored', async (_what, request) => {
    await submit({}, same)
    const before = await stored()
    const answer = await call('POST', '/jobs', token, { ...request, headers: same })
    expect(answer).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } })
    expect(await stored()).toEqual(before)
  })

  test('in quotes is the same key; in another workspace it is another one', async () => {
    const first = await submit({}, same)
    expect((await submit({}, { 'idempotency-key': '"order-17"' })).body.job_id).toBe(first.body.job_id)
    const foreign = await submit({}, same, others)
    expect(foreign).toMatchObject({ status: 404, body: { code: 'connector_not_found' } })
  })

  test('gives the first job also when its connector has gone since', async () => {
    const first = await submit({ connector: 'passing' }, same)
    await hub.configure(DOCUMENT({}))
    const [again, other] = [
      await submit({ connector: 'passing' }, same),
      await submit({ connector: 'passing' }, { 'idempotency-key': 'another' }),
    ]
    await hub.configure(DOCUMENT())
    expect(again).toMatchObject({
      status: 202,
      headers: { 'idempotent-replayed': 'true' },
      body: { job_id: first.body.job_id, queued_at: first.body.queued_at },
    })
    expect(other).toMatchObject({ status: 404, body: { code: 'connector_not_found' } })
  })

  test('of a refused request is free for the request that is mended', async () => {
    expect((await submit({ input: {} }, same)).status).toBe(422)
    expect((await submit({}, same)).status).toBe(202)
  })
})

describe('a bad job', () => {
  test.each([
    ['an unknown connector', { connector: 'nothing' }, 404, '/body/connector'],
    ['an unknown operation', { operation: 'nothing' }, 404, '/body/operation'],
    ['an input that does not fit', { input: { age: 'x' } }, 422, '/body/input/name'],
    ['no input', { input: undefined }, 400, '/body/input'],
    ['an unknown field', { delay_ms: 5 }, 400, '/body/delay_ms'],
    ['an unknown queue', { queue: 'fast' }, 400, '/body/queue'],
    ['a priority beyond the last', { priority: 5 }, 400, '/body/priority'],
    ['a priority that is a text', { priority: '1' }, 400, '/body/priority'],
    ['a time that is none', { run_at: 'tomorrow' }, 400, '/body/run_at'],
    ['a time without a zone', { run_at: '2026-12-01T10:00:00' }, 400, '/body/run_at'],
    ['a leap second', { run_at: '2026-12-31T23:59:60Z' }, 400, '/body/run_at'],
    ['a time too far ahead', { run_at: inMs(30 * DAY + 60_000) }, 400, '/body/run_at'],
    ['an expiry that has passed', { expires_at: inMs(-1_000) }, 400, '/body/expires_at'],
    ['an expiry too far ahead', { expires_at: inMs(30 * DAY + 60_000) }, 400, '/body/expires_at'],
    ['an expiry before the start', { run_at: inMs(2 * DAY), expires_at: inMs(DAY) }, 400, '/body/expires_at'],
    ['a callback to nobody', { callback: { connector: 'nothing' } }, 400, '/body/callback/connector'],
    ['a callback to an API', { callback: { connector: 'crm' } }, 400, '/body/callback/connector'],
    ['a callback with more', { callback: { connector: 'product', url: 'x' } }, 400, '/body/callback/url'],
    ['metadata that is no text', { metadata: { a: null } }, 400, '/body/metadata/a'],
    ['metadata with an odd name', { metadata: { 'a\nb': {} } }, 400, '/body/metadata/a\nb'],
  ])('with %s is refused by its place, and nothing is stored', async (_what, change, status, path) => {
    const before = await stored()
    const answer = await submit(change, { 'idempotency-key': newId() })
    expect(answer.status).toBe(status)
    expect(answer.body.details.map((detail) => detail.path)).toContain(path)
    expect(await stored()).toEqual(before)
  })

  test('with several faults is refused for the first, and all are named', async () => {
    const answer = await submit({ operation: 'nothing', run_at: inMs(31 * DAY), expires_at: inMs(-1_000) })
    expect(answer).toMatchObject({ status: 404, body: { code: 'operation_not_found' } })
    expect(answer.body.details.map(({ path }) => path)).toEqual([
      '/body/operation',
      '/body/run_at',
      '/body/expires_at',
    ])
  })

  test('of another workspace gets the words of a missing connector', async () => {
    const headers = { 'x-request-id': 'same' }
    const foreign = await submit({}, headers, others)
    const missing = await submit({ connector: 'nothing' }, headers)
    expect([foreign.status, foreign.text]).toEqual([404, missing.text])
  })

  test('without the scope to write is refused', async () => {
    const reader = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.jobs.read'] })
    expect((await submit({}, {}, reader)).status).toBe(403)
    expect((await call('GET', '/jobs', reader)).status).toBe(200)
    const executor = await hub.access.bearer(hub.tenantId, { scopes: ['orchestrator.execute'] })
    expect((await call('GET', '/jobs', executor)).status).toBe(403)
  })
})

describe('a batch', () => {
  test('is stored as a whole and in its order', async () => {
    const { status, body } = await batch(
      { ...JOB, input: { name: 'one' } },
      { ...JOB, input: { name: 'two' }, run_at: inMs(DAY) },
      { ...JOB, connector: 'product', operation: 'deliver', input: { type: 'x' }, queue: 'webhook' },
    )
    expect(status).toBe(202)
    const jobs = await Promise.all(body.jobs.map(({ job_id }) => jobOf(job_id)))
    expect(jobs.map(({ job }) => [job.input, job.state, job.queue])).toEqual([
      [{ name: 'one' }, 'queued', 'default'],
      [{ name: 'two' }, 'scheduled', 'default'],
      [{ type: 'x' }, 'queued', 'webhook'],
    ])
    // Nobody for the second one, whose time has not come.
    expect(woken.map(({ queue }) => queue)).toEqual(['default', 'webhook'])
  })

  test('with bad jobs stores nothing, and names every one of them', async () => {
    const before = await stored()
    const answer = await batch(
      JOB,
      { ...JOB, connector: 'nothing' },
      { ...JOB, input: { name: '', age: 1.5 } },
      JOB,
      { ...JOB, callback: { connector: 'crm' } },
      { ...JOB, operation: 'nothing' },
    )
    expect(answer).toMatchObject({ status: 400, body: { code: 'validation_error' } })
    expect(answer.body.details.map(({ path }) => path)).toEqual([
      '/body/jobs/1/connector',
      '/body/jobs/2/input/age',
      '/body/jobs/2/input/name',
      '/body/jobs/4/callback/connector',
      '/body/jobs/5/operation',
    ])
    expect(await stored()).toEqual(before)
    expect(woken).toEqual([])
  })

  test('names every fault of every bad job, also where some fit the schema and others do not', async () => {
    const before = await stored()
    const answer = await batch(
      { ...JOB, connector: 'nothing', run_at: inMs(31 * DAY), callback: { connector: 'crm' } },
      { ...JOB, priority: 9, queue: 'fast', input: undefined },
      JOB,
      [],
      { ...JOB, input: { name: '' }, expires_at: inMs(-1_000), run_at: '2026-12-31T23:59:60Z' },
    )
    expect(answer).toMatchObject({
      status: 400,
      body: {
        code: 'validation_error',
        detail: '4 of 5 jobs are at fault; nothing was stored.',
      },
    })
    expect(answer.body.details.map(({ path }) => path)).toEqual([
      '/body/jobs/0/connector',
      '/body/jobs/0/callback/connector',
      '/body/jobs/0/run_at',
      '/body/jobs/1/input',
      '/body/jobs/1/queue',
      '/body/jobs/1/priority',
      '/body/jobs/3',
      '/body/jobs/4/input/name',
      '/body/jobs/4/run_at',
      '/body/jobs/4/expires_at',
    ])
    expect(await stored()).toEqual(before)
    // However many they are.
    const many = await batch(...Array.from({ length: 500 }, () => ({ ...JOB, priority: 9 })))
    expect(many.body.details).toHaveLength(500)
    // A fault beside the jobs is told as ever.
    const raw = JSON.stringify({ jobs: [{ ...JOB, priority: 9 }], more: 1 })
    const beside = await call<Accepted>('POST', '/jobs/batch', token, { raw })
    expect(beside).toMatchObject({ status: 400, body: { code: 'validation_error' } })
    expect(beside.body.details.map(({ path }) => path).sort()).toEqual([
      '/body/jobs/0/priority',
      '/body/more',
    ])
    for (const odd of ['null', '[]', '{}', '{"jobs":{}}'])
      expect((await call('POST', '/jobs/batch', token, { raw: odd })).status).toBe(400)
  })

  test('of none or of too many is refused', async () => {
    expect((await batch()).body.details).toMatchObject([{ path: '/body/jobs' }])
    expect((await batch(...Array(1_001).fill(JOB))).body.details).toMatchObject([{ path: '/body/jobs' }])
    expect((await batch(...Array(1_000).fill(JOB))).body.jobs).toHaveLength(1_000)
    expect(await stored()).toMatchObject({ jobs: 1_000, ready: 1_000 })
  })
})

describe('keys of a batch', () => {
  const one = { ...JOB, idempotency_key: 'one' }
  const two = { ...JOB, input: { name: 'two' }, idempotency_key: 'two' }
  const ids = ({ body }: { body: Accepted }) => body.jobs.map(({ job_id }) => job_id)
  const replays = ({ body }: { body: Accepted }) => body.jobs.map(({ replayed }) => replayed)

  test('an item whose key was used for the same job answers with the first one', async () => {
    const first = await batch(one, two, JOB)
    expect(first.headers['idempotent-replayed']).toBeUndefined()
    woken = []
    const again = await batch(two, one)
    expect(again).toMatchObject({ status: 202, headers: { 'idempotent-replayed': 'true' } })
    expect(ids(again)).toEqual([ids(first)[1], ids(first)[0]])
    expect(again.body.jobs[1]?.queued_at).toBe(first.body.jobs[0]?.queued_at)
    expect(woken).toEqual([])
    const mixed = await batch({ ...JOB, idempotency_key: 'three' }, one)
    expect(replays(mixed)).toEqual([false, true])
    expect(mixed.headers['idempotent-replayed']).toBeUndefined()
    expect(await stored()).toMatchObject({ jobs: 4, ready: 4, keys: 3 })
  })

  test('one used for another job refuses the whole batch, with its place', async () => {
    await batch(one)
    await submit({}, { 'idempotency-key': 'single' })
    const before = await stored()
    const { idempotency_key: _, ...unkeyed } = one
    const refused = await batch(
      { ...unkeyed, idempotency_key: 'new' },
      { ...two, idempotency_key: 'one' },
      { ...JOB, idempotency_key: 'single' },
    )
    expect(refused).toMatchObject({
      status: 422,
      body: {
        code: 'idempotency_key_reused',
        details: [{ path: '/body/jobs/1/idempotency_key' }, { path: '/body/jobs/2/idempotency_key' }],
      },
    })
    expect(await stored()).toEqual(before)
  })

  test.each(['', 'a b', 'ü', 'k'.repeat(256)])('%j is none', async (key) => {
    const answer = await batch(JOB, { ...JOB, idempotency_key: key })
    expect(answer).toMatchObject({
      status: 400,
      body: { details: [{ path: '/body/jobs/1/idempotency_key' }] },
    })
  })

  test.each(['batch-17', 'k'.repeat(255)])('the header %s stands for the items without one', async (key) => {
    const header = { 'idempotency-key': key }
    const jobs = [JOB, one, ...Array.from({ length: 99 }, () => JOB)]
    const first = await batchWith(header, ...jobs)
    expect(first.status).toBe(202)
    const again = await Promise.all([1, 2].map(() => batchWith(header, ...jobs)))
    for (const answer of again) {
      expect(answer.headers['idempotent-replayed']).toBe('true')
      expect(ids(answer)).toEqual(ids(first))
    }
    expect(await stored()).toMatchObject({ jobs: 101, keys: 101 })
    // Another batch with the same key, and be it only shorter.
    const other = await batchWith(header, ...jobs.slice(0, 3))
    expect(other).toMatchObject({ status: 422, body: { code: 'idempotency_key_reused' } })
    expect(other.body.details.map(({ path }) => path)).toEqual(['/headers/idempotency-key'])
    expect(await stored()).toMatchObject({ jobs: 101, keys: 101 })
  })

  test('a header that is no key is refused', async () => {
    expect(await batchWith({ 'idempotency-key': 'a b' }, JOB)).toMatchObject({
      status: 400,
      body: { code: 'idempotency_key_invalid' },
    })
  })

  test('give the first jobs also when their connector has gone since, and only those', async () => {
    const passing = { ...JOB, connector: 'passing' }
    const first = await batch({ ...passing, idempotency_key: 'p' }, one)
    await hub.configure(DOCUMENT({}))
    const [again, other] = [
      await batch(JOB, { ...passing, idempotency_key: 'p' }, one),
      await batch({ ...passing, idempotency_key: 'q' }, { ...passing, idempotency_key: 'p' }),
    ]
    await hub.configure(DOCUMENT())
    expect(replays(again)).toEqual([false, true, true])
    expect(ids(again).slice(1)).toEqual(ids(first))
    expect(other.body.details.map(({ path }) => path)).toEqual(['/body/jobs/0/connector'])
  })
})
