import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import { sampleClaimed } from '../../../testing/claimed-job.ts'
import { json } from '../../../testing/upstream.ts'
import { createMetrics } from '../../platform/metrics.ts'
import { createGuardMetrics } from '../guards/guards.ts'
import { createJobHandler } from './jobs.worker.ts'

let hub: CallingHub

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  const operations = { get: { method: 'GET', path: '/' }, list: { method: 'GET', path: '/all' } }
  const api = (policy: string) => ({
    kind: 'http',
    settings: { base_url: hub.upstream.url, operations },
    policy,
  })
  const once = (more: object = {}) => ({
    rate_limits: { workspace: null, connector: { permits: 1, period_ms: 60_000, burst: 1, ...more } },
  })
  await hub.configure({
    policies: {
      default: { breaker: { consecutive_failures: 2, open_ms: 40_000 } },
      hourly: once(),
      watched: once({ mode: 'shadow' }),
      brisk: once({ period_ms: 100 }),
      patient: once({ permits: 2, period_ms: 1_000, burst: 4 }),
      narrow: {
        rate_limits: { connector: { permits: 100 }, operation: { permits: 1, period_ms: 60_000 } },
      },
      costly: { rate_limits: { connector: { permits: 3, period_ms: 60_000 }, cost: 2 } },
    },
    connectors: {
      broken: { ...api('default'), settings: { base_url: 'http://127.0.0.1:1', operations } },
      hourly: api('hourly'),
      watched: api('watched'),
      brisk: api('brisk'),
      patient: api('patient'),
      crowded: api('hourly'),
      narrow: api('narrow'),
      costly: api('costly'),
    },
  })
})
afterEach(async () => {
  hub.upstream.reset(json(200, {}))
  hub.wouldHave.length = 0
  await hub.query('truncate lane_policy, event')
})
afterAll(() => hub.close())

const attempt = (connector: string, operation = 'get') =>
  createJobHandler({ ...hub, platform: hub.database.platform })(
    sampleClaimed({ leaseId: 1, tenantId: hub.tenantId, connector, operation, input: {} }),
    new AbortController().signal,
  )
const blocks = () =>
  hub.query<{ reason: string; why: string; seconds: number }>(
    `select blocked_reason as reason, blocked_why as why,
            round(extract(epoch from blocked_until - clock_timestamp()))::int as seconds
     from lane_policy where tenant_id = $1`,
    [hub.tenantId],
  )

describe('an attempt that a rate limit has no room for', () => {
  test('sends nothing and spends nothing, and its lane waits until there is room', async () => {
    expect(await attempt('hourly')).toMatchObject({ kind: 'done' })
    const refused = await attempt('hourly')
    expect(refused).toMatchObject({ kind: 'snooze' })
    expect(refused).toMatchObject({ delayMs: expect.any(Number), why: expect.stringMatching(/No attempt/) })
    expect(hub.upstream.requests).toHaveLength(1)
    const [block] = await blocks()
    expect(block).toMatchObject({ reason: 'rate_limited', why: expect.stringContaining('connector') })
    expect(block?.seconds).toBeGreaterThan(50)
  })

  test.each([
    ['until its burst is whole', 'brisk', 1, 100],
    ['a second at most', 'patient', 4, 1_000],
  ])('rests %s, so that a claim is worth its while', async (_how, connector, burst, delayMs) => {
    for (let n = 0; n < burst; n += 1) expect(await attempt(connector)).toMatchObject({ kind: 'done' })
    expect(await attempt(connector)).toMatchObject({ kind: 'snooze', delayMs })
  })

  test('tells it once, however many jobs hear it at the same time', async () => {
    await attempt('crowded')
    await Promise.all(Array.from({ length: 8 }, () => attempt('crowded')))
    expect(await hub.query(`select severity from event where type = 'lane.blocked'`)).toEqual([
      { severity: 'info' },
    ])
  })

  test('waits alone when only its operation has no room, or only its cost is too high', async () => {
    expect(await attempt('narrow')).toMatchObject({ kind: 'done' })
    const refused = await attempt('narrow')
    expect(refused).toMatchObject({ kind: 'snooze', why: expect.stringContaining('operation') })
    expect(await attempt('narrow', 'list')).toMatchObject({ kind: 'done' })
    expect(await attempt('costly')).toMatchObject({ kind: 'done' })
    expect(await attempt('costly')).toMatchObject({ kind: 'snooze' })
    expect(await blocks()).toEqual([])
  })

  test('goes on when the limit is only watched, and is counted', async () => {
    for (const _ of [1, 2]) expect(await attempt('watched')).toMatchObject({ kind: 'done' })
    expect(hub.wouldHave).toEqual(['rate_limits.connector'])
    expect(await blocks()).toEqual([])
  })
})

test('refusals are counted by the rule', async () => {
  const metrics = createMetrics('test', false)
  const guardMetrics = createGuardMetrics(metrics)
  const handle = createJobHandler({ ...hub, guardMetrics, platform: hub.database.platform })
  const job = sampleClaimed({
    leaseId: 1,
    tenantId: hub.tenantId,
    connector: 'hourly',
    operation: 'get',
    input: {},
  })
  for (const _ of [1, 2]) await handle(job, new AbortController().signal)
  expect(await metrics.registry.metrics()).toMatch(
    /orchestrator_calls_refused_total\{rule="rate_limit",limit="connector",.*\} [12]\n/,
  )
})

describe('an attempt that meets an open breaker', () => {
  test('sends nothing and spends nothing, and its lane waits until the breaker tries again', async () => {
    for (const _ of [1, 2]) expect(await attempt('broken')).toMatchObject({ kind: 'retry' })
    expect(hub.transitions).toMatchObject([{ to: 'open', key: 'broken' }])
    expect(await attempt('broken')).toMatchObject({
      kind: 'snooze',
      why: expect.stringMatching(/circuit breaker .* No attempt is spent/),
    })
    const [block] = await blocks()
    expect(block).toMatchObject({ reason: 'circuit_open' })
    // 40 s with a jitter of a fifth.
    expect(block?.seconds).toBeGreaterThan(30)
    expect(block?.seconds).toBeLessThan(50)
  })
})
