import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { json } from '../../../testing/upstream.ts'
import { systemClock } from '../../platform/clock.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { createEnqueuer } from '../../queue/enqueuer.ts'
import { createRunner, type Runner } from '../../queue/queue.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import { createBacklog } from '../workspaces/workspaces.ts'
import { jobsExec } from './jobs.exec.ts'
import { createFollowUps } from './jobs.ts'
import { createJobHandler } from './jobs.worker.ts'

/** Inputs and results beyond the threshold, through the routes and the real worker. */
let hub: CallingHub
let wakeUp: WakeUp
let runner: Runner
let call: CallServer
let token: string
const SCOPES = ['orchestrator.jobs.read', 'orchestrator.jobs.write']

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const { db, claimDb } = hub.database
  const { activeConfigs } = hub
  wakeUp = createWakeUp(hub.database.platform)
  const platform = { ...hub.database.platform, metrics: createMetrics('test', false) }
  const deps = { ...hub, clock: systemClock, wakeUp, ...hub.guards, wouldHave: hub.guardMetrics.wouldHave }
  call = await hub.serve((app) =>
    jobsExec(app, {
      ...deps,
      // As the process has it: what callers ask for, they ask as requests of their workspace.
      db: hub.database.platform.requestDb,
      enqueuer: createEnqueuer(db, { wakeUp }),
      backlog: createBacklog(hub.database.platform),
    }),
  )
  const operations = { call: { method: 'POST', path: '/', body: '{{input}}', idempotency_key_header: 'Key' } }
  await hub.configure({
    policies: { default: { job_retry: { schedule_ms: [0, 10, 10] } } },
    connectors: {
      crm: { kind: 'http', settings: { base_url: hub.upstream.url, operations } },
      product: {
        kind: 'callback',
        settings: { url: `${hub.upstream.url}/hooks` },
        secrets: { signing_secret: 'signing' },
      },
    },
  })
  runner = createRunner({
    ...{ platform, claimDb, wakeUp, concurrency: 4 },
    handler: createJobHandler({ ...hub, platform }),
    followUps: createFollowUps({ activeConfigs, clock: systemClock }),
    timing: { discoverMs: 20 },
  })
  await runner.start()
})
beforeEach(async () => {
  token = await hub.access.bearer(hub.tenantId, { scopes: SCOPES })
  await hub.query('delete from payload')
  await hub.query('delete from payload_erasure')
  hub.upstream.reset(json(200, {}))
})
afterAll(async () => {
  await runner.stop(1_000)
  await wakeUp.close()
  await hub.close()
})

/** JSON writes three times as many bytes. */
const text = (size: number) => 'ü☕"\\\u0001'.repeat(Math.ceil(size / 5)).slice(0, size)
const payloads = () =>
  hub.query<{ kind: string; owner: string; size: number }>(
    'select owner_kind as kind, owner_id as owner, size from payload order by id',
  )
interface Accepted {
  job_id: string
  jobs: { job_id: string; replayed: boolean }[]
}
const submit = (input: unknown, more: object = {}, headers: Record<string, string> = {}) =>
  call<Accepted>('POST', '/jobs', token, {
    body: { connector: 'crm', operation: 'call', input, ...more },
    headers,
  })
interface Ref {
  id: string
  size: number
  sha256: string
}
const jobOf = async (id: string) =>
  (
    await call<{
      job: { state: string; input: unknown; input_ref: Ref | null; result: unknown; result_ref: Ref | null }
    }>('GET', `/jobs/${id}`, token)
  ).body.job
const done = (id: string) =>
  vi.waitFor(
    async () => {
      const job = await jobOf(id)
      expect(job.state).toBe('done')
      return job
    },
    { timeout: 20_000 },
  )

describe('an input', () => {
  test('over the threshold is a payload, reaches the upstream as it was sent, and is shown whole', async () => {
    const input = { name: text(25_000), list: [1, null, { deep: true }] }
    const { status, body } = await submit(input)
    expect(status).toBe(202)
    const job = await done(body.job_id)
    const [request] = hub.upstream.requests
    expect(JSON.parse(request?.body ?? '')).toEqual(input)
    const size = Buffer.byteLength(JSON.stringify(input))
    expect(await payloads()).toEqual([{ kind: 'job_input', owner: body.job_id, size }])
    expect(job.input_ref).toMatchObject({ size, content_type: 'application/json' })
    expect(job.input).toEqual(input)
    expect(
      await hub.query(`select input, input_ref ->> 'kind' as kind from job_payload where job_id = $1`, [
        body.job_id,
      ]),
    ).toEqual([{ input: null, kind: 'payload' }])
  })

  test('below it stays where it was', async () => {
    const { body } = await submit({ name: 'Ada' })
    expect(await done(body.job_id)).toMatchObject({
      input: { name: 'Ada' },
      input_ref: null,
      result_ref: null,
    })
    expect(await payloads()).toEqual([])
  })

  test('of a repeated request is kept once', async () => {
    const key = { 'idempotency-key': 'large-17' }
    const input = { name: text(23_000) }
    const first = await submit(input, {}, key)
    const again = await submit(input, {}, key)
    expect(again.headers['idempotent-replayed']).toBe('true')
    expect(again.body.job_id).toBe(first.body.job_id)
    expect(await payloads()).toMatchObject([{ owner: first.body.job_id }])
    // The object of the second has nothing that refers to it, and is on its way out.
    expect(await hub.query('select from payload_erasure')).toHaveLength(1)
    await done(first.body.job_id)
  })

  test('of one item of a batch leaves the others as they are; of a refused batch nothing stays', async () => {
    const items = [{ name: 'small' }, { name: text(23_000) }, { name: 'too' }].map((input) => ({
      ...{ connector: 'crm', operation: 'call', input },
    }))
    const { body } = await call<Accepted>('POST', '/jobs/batch', token, { body: { jobs: items } })
    const ids = body.jobs.map(({ job_id }) => job_id)
    expect(await payloads()).toMatchObject([{ owner: ids[1] }])
    for (const [at, id] of ids.entries()) expect((await done(id)).input).toEqual(items[at]?.input)
    const bad = await call('POST', '/jobs/batch', token, {
      body: { jobs: [...items, { connector: 'nothing', operation: 'call', input: {} }] },
    })
    expect(bad.status).toBe(400)
    expect(await payloads()).toHaveLength(1)
  })

  test('that is damaged makes a dead letter that says so; nothing is sent', async () => {
    const { body } = await submit(
      { name: text(23_000) },
      { run_at: new Date(Date.now() + 60_000).toISOString() },
    )
    const [{ key = '' } = {}] = await hub.query<{ key: string }>('select object_key as key from payload')
    await writeFile(join(hub.payloadStore.folder, key), 'something else')
    await hub.query(`update job_deferred set run_at = clock_timestamp()`)
    await vi.waitFor(async () => expect((await jobOf(body.job_id)).state).toBe('dead'), { timeout: 20_000 })
    expect(await jobOf(body.job_id)).toMatchObject({
      ...{ dead_reason: 'payload_damaged', input: null, input_missing: { code: 'payload_damaged' } },
    })
    expect(hub.upstream.requests).toEqual([])
  })
})

const LARGE = { rows: text(100_000) }

describe('a result', () => {
  test('over the threshold is a payload; the job and its callback say where', async () => {
    hub.upstream.reset(json(200, LARGE))
    const { body } = await submit({}, { callback: { connector: 'product' } })
    const job = await done(body.job_id)
    const size = Buffer.byteLength(JSON.stringify(LARGE))
    expect(job).toMatchObject({ result: null, result_ref: { size, content_type: 'application/json' } })
    const bytes = await hub.payloads.read(hub.tenantId, job.result_ref?.id ?? '')
    expect(JSON.parse(bytes.toString())).toEqual(LARGE)
    expect(await payloads()).toEqual([{ kind: 'job_result', owner: body.job_id, size }])
    const hook = await vi.waitFor(() => {
      const found = hub.upstream.requests.find(({ url }) => url === '/hooks')
      expect(found).toBeDefined()
      return found
    })
    expect(JSON.parse(hook?.body ?? '')).toMatchObject({
      data: { result: null, result_ref: job.result_ref },
    })
  })
})

test('what nothing refers to any more is swept, what is referred to stays', async () => {
  hub.upstream.reset(json(200, { rows: text(30_000) }))
  const keep = await submit({ name: text(23_000) })
  const drop = await submit({ name: text(23_000) })
  await done(keep.body.job_id)
  await done(drop.body.job_id)
  expect(await payloads()).toHaveLength(4)
  const sweep = async () => {
    await hub.query(`delete from leader where name = 'payloads'`)
    await hub.payloadStore.care.sweep(new AbortController().signal)
  }
  // As retention does with a day.
  for (const table of ['job_payload', 'job_attempt'])
    await hub.query(`delete from ${table} where job_id = $1`, [drop.body.job_id])
  await sweep()
  expect(await payloads()).toHaveLength(4)
  await hub.query(`update payload set created_at = created_at - interval '25 hours'`)
  await sweep()
  expect((await payloads()).map(({ owner }) => owner)).toEqual([keep.body.job_id, keep.body.job_id])
})

/** Last: after it the store is left alone for some seconds. */
describe('with the store away', () => {
  test('a result is not lost when the spool is full: it stays with the job', async () => {
    hub.upstream.reset(json(200, LARGE))
    const payloads = hub.payloadStore.with({ spoolLimitBytes: 0 })
    await hub.payloadStore.goAway()
    try {
      const claimed = { tenantId: hub.tenantId, id: 'none' }
      const { keepResult } = await import('./large-bodies.ts')
      const kept = await keepResult({ ...hub.database.platform, payloads }, claimed, LARGE)
      expect(kept).toEqual({ result: LARGE })
    } finally {
      await hub.payloadStore.comeBack()
    }
  })

  test('an input waits in the database, and the job runs; a full spool refuses it', async () => {
    await hub.payloadStore.goAway()
    try {
      const input = { name: text(23_000) }
      const before = (await hub.query('select from job')).length
      const { status, body } = await submit(input)
      expect(status).toBe(202)
      expect((await done(body.job_id)).input).toEqual(input)
      await hub.query(
        `insert into payload_spool (tenant_id, id, body, size) values ($1, gen_random_uuid(), '', 950000)`,
        [hub.otherId],
      )
      const refused = await submit({ name: text(23_000) })
      expect(refused).toMatchObject({ status: 503, body: { code: 'payload_store_unavailable' } })
      expect(refused.headers['retry-after']).toBeDefined()
      expect(await hub.query('select from job')).toHaveLength(before + 1)
    } finally {
      await hub.query('delete from payload_spool')
      await hub.payloadStore.comeBack()
    }
  })
})
