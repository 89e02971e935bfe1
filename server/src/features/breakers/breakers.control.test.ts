import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { claimLane, clearQueue, registerNode, sampleJob } from '../../../testing/queue-fixture.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import { blockLane } from '../../queue/lane-policy.ts'
import { createWakeUp, type WakeUp } from '../../queue/wake-up.ts'
import { breakersControl } from './breakers.control.ts'
import type { BreakerView } from './breakers.schema.ts'
import { listLiveBreakers, saveTransitions } from './breakers.sql.ts'

let hub: CallingHub
let call: CallServer
let token: string
let wakeUp: WakeUp

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  const settings = {
    base_url: 'https://api.example.com',
    operations: { get: { method: 'GET', path: '/' } },
  }
  await hub.configure({
    policies: {},
    connectors: { api: { kind: 'http', settings }, mail: { kind: 'http', settings } },
  })
  wakeUp = createWakeUp(hub.database.platform)
  call = await hub.serve((app) => breakersControl(app, { db: hub.database.db, wakeUp }))
  token = await hub.access.bearer(hub.tenantId)
})
afterEach(async () => {
  await clearQueue(hub.database.owner, undefined)
  await hub.query('truncate breaker, lane_policy, event')
})
afterAll(async () => {
  await wakeUp.close()
  await hub.close()
})

const opened = (connector: string, open: { openMs?: number; shadow?: boolean } = {}) =>
  saveTransitions(hub.database.db, {
    transitions: [
      {
        tenant_id: hub.tenantId,
        connector,
        state: 'open',
        open_ms: open.openMs ?? 60_000,
        why: '5 calls in a row failed.',
        shadow: open.shadow ?? false,
        event: { tenant_id: hub.tenantId, type: 'breaker.opened', connector },
      },
    ],
  })

const force = (connector: string, body: object) =>
  call<BreakerView>('POST', `/breakers/${connector}/force`, token, { body })
const release = (connector: string) =>
  call<BreakerView>('POST', `/breakers/${connector}/release`, token, { body: { reason: 'it is well again' } })
const read = async (connector: string) =>
  (await call<BreakerView>('GET', `/breakers/${connector}`, token)).body

describe('GET /breakers', () => {
  test('shows what the processes said last, page by page, and only of this workspace', async () => {
    await opened('api')
    await opened('mail', { openMs: -1 })
    const first = await call<{ data: BreakerView[]; next_cursor: string }>('GET', '/breakers?limit=1', token)
    expect(first.body.data).toEqual([
      {
        connector: 'api',
        state: 'open',
        open_until: expect.any(String),
        why: '5 calls in a row failed.',
        shadow: false,
        changed_at: expect.any(String),
        forced: null,
      },
    ])
    const rest = await call<{ data: BreakerView[]; next_cursor: null }>(
      'GET',
      `/breakers?limit=1&cursor=${first.body.next_cursor}`,
      token,
    )
    // Its time is over and nobody has called since: the next call is a probe.
    expect(rest.body).toMatchObject({
      data: [{ connector: 'mail', state: 'half_open', open_until: null }],
      next_cursor: null,
    })
    const other = await hub.access.bearer(hub.otherId)
    expect((await call('GET', '/breakers', other)).body).toMatchObject({ data: [] })
    expect((await call('GET', '/breakers/api', other)).status).toBe(404)
  })

  test('a connector whose breaker never opened is closed; one that never was is 404', async () => {
    expect(await read('api')).toMatchObject({ state: 'closed', why: '', changed_at: null, forced: null })
    expect((await call('GET', '/breakers/nothing', token)).status).toBe(404)
  })
})

describe('POST /breakers/:connector/force', () => {
  test('stands beside the state with its end, its reason and its author, and is audited', async () => {
    await opened('api')
    const { body } = await force('api', { state: 'closed', for_ms: 60_000, reason: 'the check is wrong' })
    expect(body).toMatchObject({
      state: 'open',
      forced: { state: 'closed', by: 'svc:test', reason: 'the check is wrong', until: expect.any(String) },
    })
    const [entry] = await hub.query(
      'select action, object, reason from audit_entry where tenant_id = $1 order by seq desc limit 1',
      [hub.tenantId],
    )
    expect(entry).toEqual({
      action: 'breaker.forced',
      object: 'connector:api',
      reason: 'the check is wrong',
    })
    expect(await hub.query('select message from event where type = $1', ['breaker.forced'])).toEqual([
      { message: 'Forced closed for 60 s: the check is wrong' },
    ])
  })

  test('what a process says later does not end it; its time does', async () => {
    await force('api', { state: 'open', for_ms: 60_000, reason: 'they asked us to wait' })
    await opened('api')
    expect(await read('api')).toMatchObject({ state: 'open', forced: { state: 'open' } })
    await hub.query('update breaker set forced_until = clock_timestamp()')
    expect(await read('api')).toMatchObject({ state: 'open', forced: null })
    expect((await release('api')).status).toBe(409)
  })

  test('released, it decides for itself again', async () => {
    await force('api', { state: 'open', for_ms: 60_000, reason: 'they asked us to wait' })
    expect((await release('api')).body).toMatchObject({ state: 'closed', forced: null })
  })

  test('closing by hand lets the jobs go on that wait for the breaker, and no others', async () => {
    const lane = async (connector: string) =>
      (
        await hub.query<{ lane: number }>(
          'select lane from connector_lane where tenant_id = $1 and connector = $2',
          [hub.tenantId, connector],
        )
      )[0]?.lane ?? 0
    const nodeId = await registerNode(hub.database.db)
    const blocked = async (connector: string, reason: 'circuit_open' | 'retry_after') => {
      const job = sampleJob({ tenantId: hub.tenantId, lane: await lane(connector), connector })
      await enqueueJobs(hub.database.db, [job])
      const by = { connector, jobId: job.id, requestId: 'r', correlationId: 'c', traceId: 'a'.repeat(32) }
      await blockLane(hub.database.db, { ...job, forMs: 60_000, reason, why: 'a test', by })
      return job
    }
    const waiting = await blocked('api', 'circuit_open')
    const busy = await blocked('mail', 'retry_after')
    for (const connector of ['api', 'mail'])
      await force(connector, { state: 'closed', for_ms: 60_000, reason: 'the check is wrong' })
    const verdict = async (job: typeof waiting) =>
      (await claimLane(hub.database.claimDb, nodeId, job)).answers[0]?.verdict
    expect(await verdict(waiting)).not.toBe('blocked')
    expect(await verdict(busy)).toBe('blocked')
  })

  test.each([
    [{ state: 'half_open', for_ms: 60_000, reason: 'x' }, '/body/state'],
    [{ state: 'open', for_ms: 10, reason: 'x' }, '/body/for_ms'],
    [{ state: 'open', for_ms: 60_000 }, '/body/reason'],
    [{ state: 'open', for_ms: 60_000, reason: 'x', forever: true }, '/body/forever'],
  ])('refuses %j and stores nothing', async (body, path) => {
    expect(await force('api', body)).toMatchObject({ status: 400, body: { details: [{ path }] } })
    expect(await hub.query('select from breaker')).toEqual([])
  })

  test('an unknown connector is 404', async () => {
    expect((await force('nothing', { state: 'open', for_ms: 60_000, reason: 'x' })).status).toBe(404)
  })
})

test('a process that starts hears of what is open or forced now, not of what is over or only watched', async () => {
  await opened('api')
  await opened('mail', { shadow: true })
  expect((await listLiveBreakers(hub.database.db, {})).map(({ connector }) => connector)).toEqual(['api'])
  await force('mail', { state: 'closed', for_ms: 60_000, reason: 'x' })
  expect(await listLiveBreakers(hub.database.db, {})).toHaveLength(2)
})
