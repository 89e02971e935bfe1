import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { type CallingHub, callingHub } from '../../../testing/calling-hub.ts'
import type { CallServer } from '../../../testing/checked-answers.ts'
import { newId } from '../../platform/ids.ts'
import { policiesControl } from './policies.control.ts'

interface Outcome {
  readonly calls: number
  readonly limited: number
  readonly examples: Record<string, string[]>
}
interface Answer {
  readonly logged: number
  readonly from: string | null
  readonly to: string | null
  readonly would_have: Outcome
  readonly active: Outcome
  readonly code: string
  readonly details: { path: string }[]
}

let hub: CallingHub
let call: CallServer
let token: string
const NOON = Date.UTC(2026, 10, 22, 12)

beforeAll(async () => {
  hub = await callingHub('orchestrator-control')
  call = await hub.serve((app) => policiesControl(app, hub.configDeps))
  token = await hub.access.bearer(hub.tenantId)
  const operations = { get: { method: 'GET', path: '/' }, list: { method: 'GET', path: '/all' } }
  const api = { kind: 'http', settings: { base_url: 'https://api.example.com', operations } }
  await hub.configure({
    policies: { default: { rate_limits: { workspace: null, connector: null } }, slow: {} },
    connectors: { api: { ...api, policy: 'slow' }, other: api },
  })
})
beforeEach(() => hub.query('truncate request_log'))
afterAll(() => hub.close())

/** Logged calls, a tenth of a second apart, named by their number. */
async function logged(calls: readonly object[], tenantId = hub.tenantId): Promise<void> {
  const rows = calls.map((change, index) => ({
    tenant_id: tenantId,
    id: newId(),
    at: new Date(NOON + index * 100).toISOString(),
    connector: 'api',
    operation: 'get',
    subject: 'svc:test',
    outcome: 'ok',
    http_status: 200,
    attempts: 1,
    latency_ms: 10,
    dry_run: false,
    config_version: 1,
    request_id: String(index),
    correlation_id: 'c',
    trace_id: 'a'.repeat(32),
    metadata: {},
    ...change,
  }))
  await hub.query('insert into request_log select * from json_populate_recordset(null::request_log, $1)', [
    JSON.stringify(rows),
  ])
}
const simulate = (body: object, as = token) => call<Answer>('POST', '/policies/simulate', as, { body })

const connector = { permits: 2, period_ms: 60_000 }
const ofConnector = { policy: { rate_limits: { connector } }, as: 'connector', connector: 'api' }
const times = (count: number, change: object = {}) => Array.from({ length: count }, () => change)

describe('a draft', () => {
  test('is compared with the active config on the same calls, of its connector only', async () => {
    await logged([...times(3), { connector: 'other' }, { dry_run: true }])
    const { status, body } = await simulate(ofConnector)
    expect(status).toBe(200)
    expect(body).toMatchObject({
      logged: 3,
      from: new Date(NOON).toISOString(),
      to: new Date(NOON + 200).toISOString(),
      would_have: { calls: 3, limited: 1, by_limit: { connector: 1 }, examples: { limited: ['2'] } },
      active: { calls: 3, limited: 0 },
    })
  })

  test('as the policy of the workspace is met by all calls, unless a connector says otherwise', async () => {
    await logged([...times(3), ...times(3, { connector: 'other' })])
    const { body } = await simulate({
      policy: { rate_limits: { workspace: connector, connector: null } },
      as: 'workspace',
    })
    expect(body.would_have).toMatchObject({ calls: 6, limited: 4, by_limit: { workspace: 4 } })
  })

  test('as the policy of one operation leaves the others alone', async () => {
    await logged([...times(3), ...times(3, { operation: 'list' })])
    const policy = { rate_limits: { operation: connector } }
    const { body } = await simulate({ policy, as: 'operation', connector: 'api', operation: 'get' })
    expect(body).toMatchObject({ logged: 3, would_have: { limited: 1 } })
    expect((await simulate({ ...ofConnector, policy })).body.would_have).toMatchObject({
      calls: 6,
      limited: 2,
    })
  })

  test('in the place of a policy is met wherever that is used', async () => {
    await logged([...times(3), ...times(3, { connector: 'other' })])
    const { body } = await simulate({ policy: { rate_limits: { connector } }, as: 'policy', name: 'slow' })
    expect(body.would_have).toMatchObject({ calls: 6, limited: 1, examples: { limited: ['2'] } })
  })

  test('meets the last calls, in their order', async () => {
    await logged(times(5))
    const { body } = await simulate({ ...ofConnector, last: 4 })
    expect(body).toMatchObject({ logged: 4, would_have: { examples: { limited: ['3', '4'] } } })
  })

  test('leaves out what is gone, and stores nothing', async () => {
    await logged([{ connector: 'gone' }, { operation: 'gone' }, {}])
    const before = await hub.query('select count(*) from config_version')
    const { body } = await simulate({ policy: {}, as: 'workspace' })
    expect(body).toMatchObject({ logged: 3, would_have: { calls: 1 }, active: { calls: 1 } })
    expect(await hub.query('select count(*) from config_version')).toEqual(before)
  })

  test('sees no call of another workspace', async () => {
    await logged(times(3), hub.otherId)
    expect((await simulate({ policy: {}, as: 'workspace' })).body).toMatchObject({
      logged: 0,
      from: null,
      to: null,
      would_have: { calls: 0 },
    })
    const foreign = await simulate(ofConnector, await hub.access.bearer(hub.otherId))
    expect(foreign).toMatchObject({ status: 404, body: { code: 'connector_not_found' } })
  })
})

test.each([
  [
    'a contradiction',
    { policy: { timeouts: { attempt_ms: 20_000 } } },
    422,
    '/body/policy/timeouts/attempt_ms',
  ],
  [
    'a limit of the workspace',
    { policy: { rate_limits: { workspace: connector } } },
    422,
    '/body/policy/rate_limits/workspace',
  ],
  [
    'what is of the connector',
    { policy: { breaker: { probes: 1 } }, as: 'operation', operation: 'get' },
    422,
    '/body/policy/breaker',
  ],
  ['an operation that is not there', { as: 'operation', operation: 'no' }, 404, '/body/operation'],
  ['no connector', { connector: undefined }, 400, '/body/connector'],
  ['no operation', { as: 'operation' }, 400, '/body/operation'],
  ['an unknown connector', { connector: 'nobody' }, 404, '/body/connector'],
  ['an unknown policy', { as: 'policy', name: 'nothing' }, 404, '/body/name'],
  ['an unknown section', { policy: { breakers: {} } }, 400, '/body/policy/breakers'],
  ['too many calls', { last: 10_001 }, 400, '/body/last'],
])('%s is refused', async (_what, change, status, path) => {
  const answer = await simulate({ ...ofConnector, ...change })
  expect(answer.status).toBe(status)
  expect(answer.body.details.map((detail) => detail.path)).toContain(path)
})
