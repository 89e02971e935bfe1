import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../problems.ts'
import {
  attemptMsOf,
  breakerSettings,
  callSchedule,
  checkPolicy,
  effectivePolicy,
  jobSchedule,
  type PolicyDocument,
  type PolicyLevel,
  type PolicyLevels,
  type RequestLimits,
  STANDARD_WEBHOOKS_SCHEDULE_MS,
  SYSTEM_POLICY,
  tightened,
} from './policies.ts'

/** A section with some of its values. */
const someOf = (values: Record<string, fc.Arbitrary<unknown>>) => fc.record(values, { requiredKeys: [] })
const limit = fc.option(
  fc.record({ mode: fc.constant('shadow'), permits: fc.nat(), period_ms: fc.nat(), burst: fc.nat() }),
)
const at = (policy: unknown, path: string): unknown =>
  path.split('.').reduce((part, key) => (part as Record<string, unknown> | undefined)?.[key], policy)

describe('the policy in force', () => {
  test('with nothing said it is the system policy, and every value says so', () => {
    const { policy, sources } = effectivePolicy({})
    expect(policy).toEqual(SYSTEM_POLICY)
    expect(checkPolicy(policy)).toEqual([])
    expect(Object.keys(sources)).toHaveLength(52)
    expect(new Set(Object.values(sources))).toEqual(new Set(['system']))
  })

  test('each level overrides what it names and nothing else', () => {
    const { policy, sources } = effectivePolicy({
      workspace: { timeouts: { connect_ms: 1_000, total_ms: 30_000 }, retry: { max_attempts: 2 } },
      connector: { timeouts: { connect_ms: 500 }, job_retry: { max_attempts: 3 } },
      request: { timeout_ms: 5_000 },
    })
    expect(policy.timeouts).toEqual({ connect_ms: 500, attempt_ms: 10_000, total_ms: 5_000 })
    expect(policy.retry).toEqual({ ...SYSTEM_POLICY.retry, max_attempts: 2 })
    expect(policy.job_retry).toEqual({ ...SYSTEM_POLICY.job_retry, max_attempts: 3 })
    expect(sources).toMatchObject({
      'timeouts.connect_ms': 'connector',
      'timeouts.attempt_ms': 'system',
      'timeouts.total_ms': 'request',
      'retry.max_attempts': 'workspace',
      'retry.base_ms': 'system',
      'job_retry.max_attempts': 'connector',
      'job_retry.cap_ms': 'system',
    })
  })

  test('a kind’s own values stand between the system’s and the workspace’s', () => {
    const kind = { timeouts: { attempt_ms: 15_000 }, job_retry: { schedule_ms: [0, 5_000] } }
    expect(effectivePolicy({ kind })).toMatchObject({
      policy: { timeouts: { attempt_ms: 15_000 }, job_retry: { schedule_ms: [0, 5_000] } },
      sources: { 'timeouts.attempt_ms': 'kind', 'job_retry.schedule_ms': 'kind' },
    })
    const workspace = { job_retry: { max_attempts: 2 } }
    expect(effectivePolicy({ kind, workspace }).policy.job_retry).toMatchObject({ max_attempts: 2 })
  })

  test('a connector’s policy caps its own jobs, never those of the workspace', () => {
    const workspace = { concurrency: { max_running: 5, workspace_max_running: 20, workspace_weight: 3 } }
    const capped = effectivePolicy({ workspace, connector: { concurrency: { max_running: null } } })
    expect(capped.policy.concurrency).toEqual({
      max_running: null,
      workspace_max_running: 20,
      workspace_weight: 3,
    })
    expect(capped.sources).toMatchObject({
      'concurrency.max_running': 'connector',
      'concurrency.workspace_max_running': 'workspace',
      'concurrency.workspace_weight': 'workspace',
    })
  })

  test('the innermost level decides between a table and exponential waits', () => {
    const workspace: PolicyDocument = { job_retry: { schedule_ms: [0, 5_000] } }
    const inherited = effectivePolicy({ workspace, connector: { retry: { max_attempts: 2 } } })
    expect(inherited.policy.job_retry).toEqual({ schedule_ms: [0, 5_000] })
    expect(inherited.sources['job_retry.schedule_ms']).toBe('workspace')
    expect(inherited.sources).not.toHaveProperty('job_retry.max_attempts')
    const replaced = effectivePolicy({ workspace, connector: { job_retry: { base_ms: 1_000 } } })
    expect(replaced.policy.job_retry).toEqual({ ...SYSTEM_POLICY.job_retry, base_ms: 1_000 })
    expect(replaced.sources).not.toHaveProperty('job_retry.schedule_ms')
  })

  test('a request may ask for as much or less, and for more it is refused with the field named', () => {
    const workspace: PolicyDocument = { timeouts: { total_ms: 20_000 } }
    const same = effectivePolicy({ workspace, request: { timeout_ms: 20_000 } })
    expect(same.sources['timeouts.total_ms']).toBe('workspace')
    const more = () => effectivePolicy({ workspace, request: { timeout_ms: 20_001 } })
    expect(more).toThrow(Problem)
    expect(more).toThrow(
      expect.objectContaining({
        code: 'policy_violation',
        extra: {
          details: [
            {
              path: '/body/options/timeout_ms',
              message: 'must be at most 20000, the total time of the policy',
            },
          ],
        },
      }),
    )
  })

  test('a request may give up of everything, and every value that it asks too much of is named', () => {
    const effective = effectivePolicy({ workspace: { load_shedding: { priority: 'critical' } } })
    const less = tightened(effective, { timeout_ms: 500, max_attempts: 1, priority: 'low', cost: 20 })
    expect(less.policy).toMatchObject({
      timeouts: { total_ms: 500, attempt_ms: 10_000 },
      retry: { max_attempts: 1, base_ms: 250 },
      load_shedding: { priority: 'low', mode: 'enforce' },
      rate_limits: { cost: 20, connector: { burst: 20 } },
    })
    expect(less.sources).toMatchObject({
      'timeouts.total_ms': 'request',
      'retry.max_attempts': 'request',
      'load_shedding.priority': 'request',
      'rate_limits.cost': 'request',
      'rate_limits.connector': 'system',
    })
    const costly = effectivePolicy({ workspace: { rate_limits: { cost: 2 } } })
    const refusal = (asked: RequestLimits, of = effective) => {
      try {
        return [tightened(of, asked)]
      } catch (error) {
        return error instanceof Problem ? error.extra.details?.map(({ path }) => path) : error
      }
    }
    expect(refusal({ timeout_ms: 15_001, max_attempts: 5, cost: 21 })).toEqual([
      '/body/options/timeout_ms',
      '/body/options/max_attempts',
      '/body/options/cost',
    ])
    expect(refusal({ cost: 1 }, costly)).toEqual(['/body/options/cost'])
    expect(refusal({ priority: 'critical' }, costly)).toEqual(['/body/options/priority'])
  })

  test('a request that asks for nothing new gets the very policy of all others', () => {
    const effective = effectivePolicy({})
    const same = {
      timeout_ms: 15_000,
      max_attempts: 4,
      priority: 'default',
      cost: 1,
      rate_limit_key: 'u1',
    } as const
    expect(tightened(effective, same)).toBe(effective)
    expect(tightened(effective, {})).toBe(effective)
  })

  test('it cannot be changed, nor can the one of a request', () => {
    const workspace: PolicyDocument = { fallback: { type: 'static', output: { list: [1] } } }
    const effective = effectivePolicy({ workspace })
    for (const { policy } of [effective, tightened(effective, { cost: 2 })])
      for (const part of [
        policy,
        policy.retry,
        policy.rate_limits,
        policy.rate_limits.connector,
        policy.job_retry,
        policy.fallback.output,
      ])
        expect(Object.isFrozen(part)).toBe(true)
  })

  test('a rate limit is inherited, replaced or taken away as a whole', () => {
    const outer: PolicyDocument = {
      rate_limits: { operation: { permits: 5, period_ms: 60_000, burst: 2, mode: 'shadow' } },
    }
    const limits = (connector: PolicyDocument) =>
      effectivePolicy({ workspace: outer, connector }).policy.rate_limits
    expect(limits({}).operation).toEqual({ permits: 5, period_ms: 60_000, burst: 2, mode: 'shadow' })
    expect(limits({ rate_limits: { operation: { permits: 9 } } }).operation).toEqual({
      permits: 9,
      period_ms: 1_000,
      burst: 9,
      mode: 'enforce',
    })
    expect(limits({ rate_limits: { operation: null } }).operation).toBeNull()
  })

  test('a static answer goes with its type', () => {
    const workspace: PolicyDocument = { fallback: { type: 'static', output: 1 } }
    const inner = (fallback: PolicyDocument['fallback']) =>
      effectivePolicy({ workspace, operation: { ...(fallback && { fallback }) } })
    expect(inner({ max_stale_ms: 5_000 }).policy.fallback).toMatchObject({ type: 'static', output: 1 })
    expect(inner({ type: 'stale' })).toMatchObject({
      policy: { fallback: { type: 'stale', output: null } },
      sources: { 'fallback.output': 'operation' },
    })
  })

  test('each value is the one of the innermost level that names it, and its source says which', () => {
    const levels = ['kind', 'workspace', 'connector', 'operation'] as const
    const document = fc.record(
      {
        timeouts: someOf({ connect_ms: fc.nat(), attempt_ms: fc.nat(), total_ms: fc.nat() }),
        breaker: someOf({
          mode: fc.constantFrom('enforce', 'shadow', 'off'),
          probes: fc.nat(),
          slow_call_ms: fc.option(fc.nat()),
        }),
        rate_limits: someOf({ workspace: limit, connector: limit, caller: limit, cost: fc.nat() }),
        bulkhead: someOf({ max_in_flight: fc.nat(), workspace_max_in_flight: fc.nat() }),
        hedge: someOf({ enabled: fc.boolean() }),
        job_retry: someOf({ max_attempts: fc.nat(), base_ms: fc.nat() }),
        concurrency: someOf({ max_running: fc.option(fc.nat()), workspace_max_running: fc.option(fc.nat()) }),
      },
      { requiredKeys: [] },
    ) as fc.Arbitrary<PolicyDocument>
    const all = fc.record(Object.fromEntries(levels.map((level) => [level, document])), { requiredKeys: [] })
    fc.assert(
      fc.property(all as fc.Arbitrary<PolicyLevels>, (documents) => {
        const { policy, sources } = effectivePolicy(documents)
        for (const [path, source] of Object.entries(sources)) {
          const asked = path.includes('workspace') ? (['workspace'] as const) : levels
          const innermost = asked.findLast((level) => at(documents[level], path) !== undefined)
          expect([path, source]).toEqual([path, innermost ?? 'system'])
          expect(at(policy, path)).toEqual(
            innermost ? at(documents[innermost], path) : at(SYSTEM_POLICY, path),
          )
        }
        const leaves = Object.entries(policy).flatMap(([name, values]) =>
          Object.keys(values).map((key) => `${name}.${key}`),
        )
        expect(Object.keys(sources).sort()).toEqual(leaves.sort())
      }),
    )
  })

  test('no level changes the system policy', () => {
    const before = JSON.stringify(SYSTEM_POLICY)
    effectivePolicy({ workspace: { retry: { cap_ms: 1 } }, connector: { timeouts: { total_ms: 100 } } })
    expect(JSON.stringify(SYSTEM_POLICY)).toBe(before)
  })
})

describe('a policy that cannot be saved', () => {
  const paths = (document: unknown, inherited = SYSTEM_POLICY) =>
    checkPolicy(document, inherited).map(({ path }) => path)

  test.each([
    ['no object', 'x', ['']],
    ['an unknown section', { breakers: {} }, ['/breakers']],
    ['an unknown field', { retry: { attempts: 3 } }, ['/retry/attempts']],
    ['a wrong type', { timeouts: { total_ms: '15000' } }, ['/timeouts/total_ms']],
    ['a fraction', { timeouts: { total_ms: 100.5 } }, ['/timeouts/total_ms']],
    ['a negative value', { retry: { base_ms: -1 } }, ['/retry/base_ms']],
    ['no attempt', { retry: { max_attempts: 0 } }, ['/retry/max_attempts']],
    ['a shrinking factor', { job_retry: { factor: 0.5 } }, ['/job_retry/factor']],
    ['more than a minute', { timeouts: { total_ms: 60_001 } }, ['/timeouts/total_ms']],
    ['a wait without an end', { job_wait: { upstream_ms: 31 * 86_400_000 } }, ['/job_wait/upstream_ms']],
    ['an empty table', { job_retry: { schedule_ms: [] } }, ['/job_retry/schedule_ms']],
    ['a delayed first attempt', { job_retry: { schedule_ms: [5, 10] } }, ['/job_retry/schedule_ms/0']],
    [
      'a table beside exponential waits',
      { job_retry: { schedule_ms: [0], max_attempts: 3, cap_ms: 9 } },
      ['/job_retry/max_attempts', '/job_retry/cap_ms'],
    ],
    [
      'an attempt longer than everything',
      { timeouts: { attempt_ms: 9_000, total_ms: 8_000 } },
      ['/timeouts/attempt_ms'],
    ],
    [
      'an attempt longer than the inherited total',
      { timeouts: { attempt_ms: 20_000 } },
      ['/timeouts/attempt_ms'],
    ],
    [
      'a connection longer than its attempt',
      { timeouts: { connect_ms: 5_000, attempt_ms: 4_000 } },
      ['/timeouts/connect_ms'],
    ],
    ['a base above its cap', { retry: { base_ms: 6_000 } }, ['/retry/base_ms']],
    [
      'a base of jobs above its cap',
      { job_retry: { base_ms: 2_000, cap_ms: 1_000 } },
      ['/job_retry/base_ms'],
    ],
    ['a first opening beyond its cap', { breaker: { open_ms: 301_000 } }, ['/breaker/open_ms']],
    ['a slow call longer than an attempt', { breaker: { slow_call_ms: 10_001 } }, ['/breaker/slow_call_ms']],
    ['no probe', { breaker: { probes: 0 } }, ['/breaker/probes']],
    [
      'more calls than the limit lets into the window',
      {
        breaker: { min_calls: 21 },
        rate_limits: { connector: { permits: 10, period_ms: 60_000, burst: 15 } },
      },
      ['/breaker/min_calls'],
    ],
    [
      'a window that the limit never fills',
      { breaker: { window_ms: 1_000 }, rate_limits: { connector: { permits: 5 } } },
      ['/breaker/window_ms'],
    ],
    ['a wait longer than everything', { bulkhead: { wait_ms: 15_001 } }, ['/bulkhead/wait_ms']],
    [
      'a burst below the cost',
      { rate_limits: { cost: 3, operation: { permits: 100, burst: 2 } } },
      ['/rate_limits/operation/burst'],
    ],
    [
      'more than can be counted exactly',
      { rate_limits: { connector: { permits: 1_000_000, period_ms: 86_400_000 } } },
      ['/rate_limits/connector/period_ms'],
    ],
    ['a cost above an inherited burst', { rate_limits: { cost: 21 } }, ['/rate_limits/cost']],
    [
      'a limit without permits',
      { rate_limits: { connector: { burst: 3 } } },
      ['/rate_limits/connector/permits'],
    ],
    ['a second call that is never made', { hedge: { delay_ms: 10_000 } }, ['/hedge/delay_ms']],
    ['a static answer that is missing', { fallback: { type: 'static' } }, ['/fallback/output']],
    ['an answer that is never given', { fallback: { type: 'stale', output: 1 } }, ['/fallback/output']],
    ['an answer without its type', { fallback: { output: {} } }, ['/fallback/output']],
    [
      'an answer that is too large',
      { fallback: { type: 'static', output: 'ä'.repeat(32 * 1_024) } },
      ['/fallback/output'],
    ],
    [
      'a mode that is none',
      { load_shedding: { mode: 'on', priority: 'high' } },
      ['/load_shedding/mode', '/load_shedding/priority'],
    ],
    ['a share above all', { retry_budget: { max_ratio: 1.1 } }, ['/retry_budget/max_ratio']],
    ['a key that is kept for no time', { idempotency: { keep_ms: 0 } }, ['/idempotency/keep_ms']],
    ['a negative time to live', { cache: { ttl_ms: -1 } }, ['/cache/ttl_ms']],
    [
      'contradictions in several sections',
      {
        timeouts: { connect_ms: 5_000, attempt_ms: 4_000 },
        breaker: { open_ms: 400_000 },
        rate_limits: { cost: 21 },
      },
      ['/timeouts/connect_ms', '/breaker/open_ms', '/rate_limits/cost'],
    ],
    [
      'several faults at once',
      { timeouts: { connect_ms: 1, nothing: 2 }, retry: { factor: 11 } },
      ['/timeouts/nothing', '/timeouts/connect_ms', '/retry/factor'],
    ],
  ])('%s', (_name, document, expected) => {
    expect(paths(document).sort()).toEqual([...expected].sort())
  })

  test('the same policy may be right or wrong by what it inherits', () => {
    const document = { timeouts: { attempt_ms: 20_000 } }
    const { policy } = effectivePolicy({ workspace: { timeouts: { total_ms: 30_000 } } })
    expect(paths(document)).toEqual(['/timeouts/attempt_ms'])
    expect(paths(document, policy)).toEqual([])
    // Below an inherited table, exponential waits start from the system's.
    const table = effectivePolicy({ workspace: { job_retry: { schedule_ms: [0] } } }).policy
    expect(paths({ job_retry: { base_ms: 3_600_000 } }, table)).toEqual([])
  })

  test('a shorter total than the inherited attempt is fine: the total ends the attempt', () => {
    expect(paths({ timeouts: { total_ms: 2_000 } })).toEqual([])
  })

  test.each([
    ['a static answer of null', { fallback: { type: 'static', output: null } }],
    [
      'a limit that is taken away, whatever a call costs',
      { rate_limits: { workspace: null, connector: null, cost: 999 } },
    ],
    [
      'a limit that is off, whatever a call costs',
      { rate_limits: { workspace: null, connector: { mode: 'off', permits: 1 }, cost: 9 } },
    ],
    [
      'a limit that fills no window, when nobody asks for the window',
      { rate_limits: { connector: { permits: 1, period_ms: 60_000 } } },
    ],
    ['a hedge that waits for its percentile', { hedge: { enabled: true, delay_ms: null } }],
    ['a million a second', { rate_limits: { connector: { permits: 1_000_000 } } }],
    ['an answer of 64 KiB', { fallback: { type: 'static', output: 'x'.repeat(64 * 1_024 - 2) } }],
  ])('%s may be saved', (_name, document) => {
    expect(paths(document)).toEqual([])
  })

  test('what is of the workspace stands in its policy only, what is of the connector not in that of an operation', () => {
    const at = (level: PolicyLevel, document: PolicyDocument) =>
      checkPolicy(document, SYSTEM_POLICY, level).map(({ path }) => path)
    const ofWorkspace: PolicyDocument = {
      rate_limits: { workspace: { permits: 1 } },
      bulkhead: { workspace_mode: 'shadow', workspace_max_in_flight: 5 },
      concurrency: { workspace_max_running: 5, workspace_weight: 2 },
    }
    expect(at('workspace', ofWorkspace)).toEqual([])
    expect(at('connector', ofWorkspace)).toEqual([
      '/rate_limits/workspace',
      '/bulkhead/workspace_mode',
      '/bulkhead/workspace_max_in_flight',
      '/concurrency/workspace_max_running',
      '/concurrency/workspace_weight',
    ])
    const ofConnector: PolicyDocument = { breaker: {}, bulkhead: {}, rate_limits: { connector: null } }
    expect(at('connector', ofConnector)).toEqual([])
    expect(at('operation', ofConnector)).toEqual(['/breaker', '/bulkhead', '/rate_limits/connector'])
    expect(
      at('operation', { retry: { max_attempts: 1 }, rate_limits: { operation: { permits: 1 } } }),
    ).toEqual([])
  })

  test('no document makes the check fail', () => {
    fc.assert(fc.property(fc.jsonValue(), (document) => Array.isArray(checkPolicy(document))))
  })
})

test('a call is slow at 80 % of an attempt unless the policy says when', () => {
  const slow = (workspace: PolicyDocument) => {
    const { policy } = effectivePolicy({ workspace })
    return breakerSettings(policy, attemptMsOf(policy)).slowCallMs
  }
  expect(slow({ timeouts: { attempt_ms: 5_001 } })).toBe(4_001)
  expect(slow({ timeouts: { total_ms: 1_000 } })).toBe(800)
  expect(slow({ breaker: { slow_call_ms: 70 } })).toBe(70)
})

test('schedules for the pipeline and for jobs', () => {
  expect(callSchedule(SYSTEM_POLICY)).toEqual({
    kind: 'exponential',
    maxAttempts: 4,
    baseMs: 250,
    factor: 2,
    capMs: 5_000,
  })
  expect(jobSchedule(SYSTEM_POLICY)).toMatchObject({ kind: 'exponential', maxAttempts: 10, baseMs: 30_000 })
  const workspace = { job_retry: { schedule_ms: [...STANDARD_WEBHOOKS_SCHEDULE_MS] } }
  expect(checkPolicy(workspace)).toEqual([])
  const schedule = jobSchedule(effectivePolicy({ workspace }).policy)
  expect(schedule).toMatchObject({ kind: 'table', delaysMs: { length: 10 } })
  // The specification's sum: 75 h 35 min 5 s.
  expect(STANDARD_WEBHOOKS_SCHEDULE_MS.reduce((sum, ms) => sum + ms)).toBe(((75 * 60 + 35) * 60 + 5) * 1_000)
})
