import type { RateRule } from '../../resilience/rate-limit.ts'
import type { Policy, RateLimitRule, RateLimitScope } from '../policies/policies.ts'

export type ScopeRule = RateRule & { readonly name: RateLimitScope }

/** What a call is counted by. */
export interface Counted {
  readonly connector: string
  readonly operation: string
  /** As the caller sent it: limits per end user, per account, … of the product. */
  readonly callerKey?: string | undefined
  /** An attempt of a job: it may use the whole burst. */
  readonly ofJob?: boolean
}

/**
 * The part of a burst that executions leave to jobs. Without it, executions that take all they get would leave no
 * permit to a job for ever: they ask without a pause, and it asks after a rest. Small bursts have no part to spare.
 */
const LEFT_TO_JOBS = 0.2
const SPARES_FROM = 5
const reserveOf = (burst: number): number => (burst < SPARES_FROM ? 0 : Math.floor(LEFT_TO_JOBS * burst))

/** Rules of calls without a caller key, by operation: the policy is shared by all of them and frozen. */
const made = new WeakMap<Policy, Map<string, readonly ScopeRule[]>>()

/** All rate limits of a policy that match a call; those that are off are not among them. */
export function rateRules(policy: Policy, call: Counted): readonly ScopeRule[] {
  if (call.callerKey !== undefined) return makeRules(policy, call)
  const ofPolicy = made.get(policy) ?? new Map<string, readonly ScopeRule[]>()
  made.set(policy, ofPolicy)
  // The connector is a part of the key: connectors may share one policy.
  const key = `${call.ofJob ? 'job' : 'call'} ${call.connector} ${call.operation}`
  const rules = ofPolicy.get(key) ?? makeRules(policy, call)
  ofPolicy.set(key, rules)
  return rules
}

function makeRules({ rate_limits: limits }: Policy, call: Counted): readonly ScopeRule[] {
  const { connector, operation, callerKey } = call
  const keys: Record<RateLimitScope, string | undefined> = {
    workspace: 'workspace',
    connector: `connector/${connector}`,
    operation: `operation/${connector}/${operation}`,
    caller: callerKey === undefined ? undefined : `caller/${connector}/${callerKey}`,
  }
  return (Object.keys(keys) as RateLimitScope[]).flatMap((name) => {
    const rule: RateLimitRule | null = limits[name]
    const key = keys[name]
    if (rule === null || rule.mode === 'off' || key === undefined) return []
    return [
      {
        name,
        key,
        limit: { permits: rule.permits, periodMs: rule.period_ms, burst: rule.burst },
        cost: limits.cost,
        enforced: rule.mode === 'enforce',
        // Jobs have no caller.
        ...(!call.ofJob && name !== 'caller' && { reserve: reserveOf(rule.burst) }),
      },
    ]
  })
}
