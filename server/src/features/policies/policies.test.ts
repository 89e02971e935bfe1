import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Problem } from '../../problems.ts'
import {
  callSchedule,
  checkPolicy,
  effectivePolicy,
  jobSchedule,
  type PolicyDocument,
  STANDARD_WEBHOOKS_SCHEDULE_MS,
  SYSTEM_POLICY,
} from './policies.ts'

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

  test('no document makes the check fail', () => {
    fc.assert(fc.property(fc.jsonValue(), (document) => Array.isArray(checkPolicy(document))))
  })
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
