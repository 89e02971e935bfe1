import { describe, expect, test } from 'vitest'
import { effectivePolicy, type PolicyDocument } from '../policies/policies.ts'
import { rateRules } from './rate-rules.ts'

const policyOf = (rate_limits: NonNullable<PolicyDocument['rate_limits']>) =>
  effectivePolicy({ workspace: { rate_limits } }).policy
const rule = (permits: number, mode: 'enforce' | 'shadow' | 'off' = 'enforce') => ({
  mode,
  permits,
  period_ms: 1_000,
  burst: permits,
})
const call = { connector: 'stripe', operation: 'refunds.create' }

describe('the rate limits of a call', () => {
  test('are those that match it, each under a key of its own', () => {
    const policy = policyOf({
      workspace: rule(100),
      connector: rule(80),
      operation: rule(5),
      caller: rule(1),
      cost: 3,
    })
    expect(rateRules(policy, { ...call, callerKey: 'user-7' })).toEqual(
      [
        ['workspace', 'workspace', 100, { reserve: 20 }],
        ['connector', 'connector/stripe', 80, { reserve: 16 }],
        ['operation', 'operation/stripe/refunds.create', 5, { reserve: 1 }],
        ['caller', 'caller/stripe/user-7', 1, {}],
      ].map(([name, key, permits, more]) => ({
        name,
        key,
        limit: { permits, periodMs: 1_000, burst: permits },
        cost: 3,
        enforced: true,
        ...(more as object),
      })),
    )
  })

  test('leave a part of a burst to jobs, which use all of it; a small one has none to spare', () => {
    const policy = policyOf({ workspace: rule(100), connector: rule(4) })
    const reserves = (ofJob: boolean) => rateRules(policy, { ...call, ofJob }).map(({ reserve }) => reserve)
    expect(reserves(false)).toEqual([20, 0])
    expect(reserves(true)).toEqual([undefined, undefined])
  })

  test('one that is off is none, one in shadow is not enforced, the caller limit needs a caller', () => {
    const policy = policyOf({
      workspace: null,
      connector: rule(80, 'shadow'),
      operation: rule(5, 'off'),
      caller: rule(1),
    })
    expect(rateRules(policy, call)).toMatchObject([{ name: 'connector', enforced: false }])
  })

  test('connectors that share a policy object are not counted together', () => {
    const policy = policyOf({ workspace: null, connector: rule(80) })
    const keys = ['stripe', 'sms'].map((connector) => rateRules(policy, { ...call, connector })[0]?.key)
    expect(keys).toEqual(['connector/stripe', 'connector/sms'])
  })
})
