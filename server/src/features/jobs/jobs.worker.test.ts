import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest'
import { type CallingHub, callingHub, KEY } from '../../../testing/calling-hub.ts'
import { capturedLog } from '../../../testing/captured-log.ts'
import { testPlatform } from '../../../testing/database.ts'
import { tcpRelay } from '../../../testing/tcp-relay.ts'
import { CHANGE } from '../../../testing/tenant-access.ts'
import { UNLIMITED } from '../../../testing/unlimited.ts'
import { json, silence } from '../../../testing/upstream.ts'
import { newId } from '../../platform/ids.ts'
import type { ClaimedJob, Outcome } from '../../queue/job.ts'
import { type ConfigDocument, createActiveConfigs, editConfig } from '../configs/configs.ts'
import { createSecretResolver } from '../secrets/secrets.ts'
import { createJobHandler, type JobHandlerDeps } from './jobs.worker.ts'

let hub: CallingHub
const captured = capturedLog()
const cleanUps: (() => unknown)[] = []

beforeAll(async () => {
  hub = await callingHub('orchestrator-exec')
  await hub.configure(document(hub.upstream.url))
})
afterEach(async () => {
  hub.upstream.reset(json(200, {}))
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
  await hub.query('truncate lane_policy')
})
afterAll(() => hub.close())

const INPUT = { type: 'object', properties: { id: { type: 'string' } }, required: ['id'] }
const operations = {
  get: { method: 'GET', path: '/items/{id}', input: INPUT },
  charge: { method: 'POST', path: '/charges', body: '{{input}}', idempotency_key_header: 'Idempotency-Key' },
  mail: { method: 'POST', path: '/mails' },
  strict: { method: 'GET', path: '/strict', output: { type: 'object', required: ['ok'] } },
}
const api = (url: string, more: object = {}) => ({
  kind: 'http',
  settings: { base_url: url, auth: { type: 'bearer' }, operations },
  secrets: { token: 'key' },
  ...more,
})
const document = (url: string): ConfigDocument => ({
  policies: {
    default: { job_retry: { schedule_ms: [0, 5_000, 60_000] }, ...UNLIMITED },
    hasty: { timeouts: { connect_ms: 100, attempt_ms: 100 } },
  },
  connectors: {
    api: api(url),
    hasty: api(url, { policy: 'hasty' }),
    unarmed: api(url, { secrets: { token: 'nowhere' } }),
    closed: api('http://127.0.0.1:1'),
    open: { kind: 'http', settings: { base_url: url, operations } },
  },
})

const claimed = (change: Partial<ClaimedJob> = {}): ClaimedJob => ({
  id: newId(),
  inputRef: null,
  tenantId: hub.tenantId,
  queue: 'default',
  lane: 1,
  connector: 'api',
  operation: 'get',
  input: { id: 'i1' },
  metadata: {},
  completion: null,
  attempt: 1,
  leaseId: 1,
  idempotencyKey: 'orch-key-of-the-job',
  inboxId: null,
  createdBy: 'svc:test',
  createdAt: new Date(),
  call: { requestId: 'request-1', correlationId: 'correlation-1', traceId: 'a'.repeat(32), traceparent: '' },
  ...change,
})

/** One attempt with jitter in the middle, so that waits are what the schedule says. */
const attempt = (change: Partial<ClaimedJob> = {}, deps: Partial<JobHandlerDeps> = {}): Promise<Outcome> =>
  createJobHandler({
    platform: { ...hub.database.platform, log: captured.log, random: () => 0.5 },
    activeConfigs: hub.activeConfigs,
    directory: hub.directory,
    dial: hub.dial,
    resolveSecret: hub.resolveSecret,
    guards: hub.guards,
    guardMetrics: hub.guardMetrics,
    readInput: hub.readInput,
    payloads: hub.payloads,
    gate: hub.gate,
    ...deps,
  })(claimed(change), new AbortController().signal)

const requests = () => hub.upstream.requests
const blockedLanes = () =>
  hub.query(
    `select lane, blocked_reason as reason, blocked_why as why,
            round(extract(epoch from blocked_until - clock_timestamp()) / 10)::int * 10 as seconds
     from lane_policy where tenant_id = $1 and blocked_until > clock_timestamp()`,
    [hub.tenantId],
  )

describe('an attempt', () => {
  test('that succeeds is done, with what the upstream said', async () => {
    hub.upstream.reset(json(201, { id: 'ch_1' }))
    expect(await attempt({ operation: 'charge', attempt: 2 })).toEqual({
      kind: 'done',
      configVersion: 1,
      result: { id: 'ch_1' },
      httpStatus: 201,
      why: 'Attempt 2 succeeded with HTTP 201.',
    })
    expect(requests()).toMatchObject([
      {
        body: '{"id":"i1"}',
        headers: { 'idempotency-key': 'orch-key-of-the-job', authorization: `Bearer ${KEY}` },
      },
    ])
  })

  test('leaves a line with the ids of its call, and without its secret', async () => {
    hub.upstream.reset((...exchange) => json(400, exchange[1].headers)(...exchange))
    await attempt()
    const line = captured.lines().at(-1)
    expect(line).toMatchObject({
      connector: 'api',
      outcome: 'dead',
      request_id: 'request-1',
      correlation_id: 'correlation-1',
      trace_id: 'a'.repeat(32),
    })
    expect(captured.text()).not.toContain(KEY)
  })

  test('of a suspended workspace waits, with all that is behind it, and calls nobody', async () => {
    hub.upstream.reset(silence)
    const directory = {
      find: async (id: string) => ({ id, slug: 'x-dev', environment: 'dev', status: 'suspended' }) as const,
    }
    expect(await attempt({}, { directory })).toMatchObject({
      kind: 'snooze',
      why: expect.stringContaining('suspended'),
    })
    expect(requests()).toHaveLength(0)
    const why = 'The workspace is suspended; no attempt is spent.'
    expect(await blockedLanes()).toEqual([{ lane: 1, reason: 'workspace_suspended', why, seconds: 30 }])
  })

  test('is told to stop and stops', async () => {
    hub.upstream.reset(silence)
    const stop = new AbortController()
    const handler = createJobHandler({ ...hub, platform: hub.database.platform })
    const running = handler(claimed(), stop.signal)
    await vi.waitFor(() => expect(requests()).toHaveLength(1), 20_000)
    stop.abort(new Error('cancelled'))
    // What it says then does not count: the queue knows why it was stopped.
    expect(await running).toMatchObject({ error: { class: 'aborted' } })
  })
})

describe('a failed attempt is repeated by the schedule of the policy', () => {
  test.each([
    ['a failure of a safe operation', { attempt: 1 }, json(500, {}), 5_000, 'http_5xx', 500],
    ['the next one', { attempt: 2 }, json(500, {}), 60_000, 'http_5xx', 500],
    ['a failure of a keyed operation', { operation: 'charge' }, json(503, {}), 5_000, 'http_5xx', 503],
    [
      'a longer wait that the upstream asks for',
      {},
      json(503, {}, { 'retry-after': '90' }),
      90_000,
      'http_5xx',
      503,
    ],
    ['a shorter one', { attempt: 2 }, json(503, {}, { 'retry-after': '1' }), 60_000, 'http_5xx', 503],
    [
      'no connection, also when the operation is not safe',
      { connector: 'closed', operation: 'mail' },
      json(200, {}),
      5_000,
      'refused',
      undefined,
    ],
    ['silence', { connector: 'hasty' }, silence, 5_000, 'timeout', undefined],
  ] as const)('%s', async (_what, change, upstream, delayMs, failure, httpStatus) => {
    hub.upstream.reset(upstream)
    const outcome = await attempt(change)
    expect(outcome).toMatchObject({ kind: 'retry', delayMs, error: { class: failure } })
    expect(outcome.kind === 'retry' && outcome.error.httpStatus).toBe(httpStatus)
    // The queue repeats, not the attempt.
    expect(requests().length).toBeLessThanOrEqual(1)
  })

  test('and says so in a sentence', async () => {
    hub.upstream.reset(json(500, {}))
    expect((await attempt()).why).toBe(
      'Attempt 1 failed (http_5xx): The upstream answered with HTTP 500. Again in 5000 ms.',
    )
  })

  test('also when a secret has no value: it can be put in place meanwhile', async () => {
    expect(await attempt({ connector: 'unarmed' })).toMatchObject({
      kind: 'retry',
      delayMs: 5_000,
      error: { class: 'secret_unresolved' },
    })
    expect(requests()).toEqual([])
  })
})

describe('a job becomes a dead letter', () => {
  test.each([
    ['when its attempts are spent', { attempt: 3 }, json(500, {}), 'attempts_spent', 'http_5xx'],
    [
      'when its secret stays away',
      { attempt: 3, connector: 'unarmed' },
      json(200, {}),
      'attempts_spent',
      'secret_unresolved',
    ],
    ['when the upstream refuses', {}, json(404, {}), 'permanent', 'http_4xx'],
    [
      'when it may have had its effect, and may not be repeated',
      { operation: 'mail' },
      json(500, {}),
      'outcome_unknown',
      'http_5xx',
    ],
    ['when the answer does not fit', { operation: 'strict' }, json(200, {}), 'permanent', 'output_invalid'],
    [
      'when its connector has gone',
      { connector: 'gone' },
      json(200, {}),
      'connector_not_found',
      'connector_not_found',
    ],
    [
      'when its operation has gone',
      { operation: 'gone' },
      json(200, {}),
      'operation_not_found',
      'operation_not_found',
    ],
    ['when its input fits no longer', { input: { id: 5 } }, json(200, {}), 'input_invalid', 'input_invalid'],
  ] as const)('%s', async (_what, change, upstream, reason, failure) => {
    hub.upstream.reset(upstream)
    expect(await attempt(change)).toMatchObject({ kind: 'dead', reason, error: { class: failure } })
  })

  test('with the field named that fits no longer', async () => {
    expect((await attempt({ input: {} })).why).toContain('/input/id is missing')
  })

  test('when its target may not be dialled', async () => {
    const { refusal: _unchecked, ...deps } = hub.configDeps
    const inside = api('http://127.0.0.2:1')
    const edit = (old: ConfigDocument) => ({ ...old, connectors: { ...old.connectors, inside } })
    await editConfig(deps, { tenantId: hub.tenantId }, 'x', edit, CHANGE)
    expect(await attempt({ connector: 'inside' })).toMatchObject({
      kind: 'dead',
      reason: 'permanent',
      error: { class: 'address_forbidden', message: 'The target address is not allowed.' },
    })
  })
})

describe('the hub’s own troubles spend no attempt', () => {
  /** A process whose database is away. */
  async function cutOff() {
    const wire = await tcpRelay(hub.database.url)
    const platform = testPlatform(wire.url)
    await wire.cut()
    cleanUps.push(async () => {
      await platform.notifications.close()
      await platform.db.close()
      await wire.close()
    })
    return { wire, platform }
  }

  test('the config cannot be read', async () => {
    const { wire, platform } = await cutOff()
    const activeConfigs = createActiveConfigs(platform)
    cleanUps.push(() => activeConfigs.close())
    expect(await attempt({}, { activeConfigs })).toMatchObject({ kind: 'snooze' })
    await wire.mend()
    expect(await attempt({}, { activeConfigs })).toMatchObject({ kind: 'done' })
    await wire.cut()
    // It is known, but a connector that somebody has just made cannot be told from one that is missing.
    expect(await attempt({ connector: 'gone' }, { activeConfigs })).toMatchObject({ kind: 'snooze' })
    expect(await attempt({ connector: 'open' }, { activeConfigs })).toMatchObject({ kind: 'done' })
  })

  test('the secret refs cannot be read', async () => {
    const { db, clock } = (await cutOff()).platform
    const { directory } = hub.access
    const resolveSecret = createSecretResolver({
      db,
      clock,
      directory,
      readRef: () => expect.unreachable(),
      lastUsed: { touch: () => undefined },
    })
    expect(await attempt({ attempt: 3 }, { resolveSecret })).toMatchObject({ kind: 'snooze' })
    expect(requests()).toEqual([])
  })

  test('the connector is of a kind that only a newer hub has', async () => {
    const { rows } = await hub.database.db.execute<{ document: ConfigDocument; version: number }>(
      {
        name: '',
        text: 'select document, version from config_version where tenant_id = $1 order by version desc limit 1',
      },
      [hub.tenantId],
    )
    const newest = rows[0]
    const newer = {
      ...newest?.document,
      connectors: { ...newest?.document.connectors, api: { ...api(''), kind: 'newer' } },
    }
    await hub.query(`insert into config_version values ($1, $2, $3, '\\x00', 'x', 'x')`, [
      hub.tenantId,
      (newest?.version ?? 0) + 1,
      JSON.stringify(newer),
    ])
    await hub.query('update config_pointer set version = version + 1 where tenant_id = $1', [hub.tenantId])
    const activeConfigs = createActiveConfigs(hub.database.platform)
    cleanUps.push(() => activeConfigs.close())
    expect(await attempt({}, { activeConfigs })).toMatchObject({ kind: 'snooze' })
    const why = 'The attempt has to wait: The connector api is of a kind that this hub does not have.'
    expect(await blockedLanes()).toEqual([{ lane: 1, reason: 'connector_unusable', why, seconds: 60 }])
    const elsewhere = { connector: 'open', lane: 5 }
    expect(await attempt(elsewhere, { activeConfigs })).toMatchObject({ kind: 'done' })
    expect(await blockedLanes()).toHaveLength(1)
  })
})
