import type { Clock } from '../../platform/clock.ts'
import { breakerStage } from '../../resilience/breaker-stage.ts'
import type { BreakerRule } from '../../resilience/breakers.ts'
import { bulkhead } from '../../resilience/bulkhead.ts'
import type { Stage } from '../../resilience/pipeline.ts'
import { type RateLimitOptions, rateLimit } from '../../resilience/rate-limit.ts'
import type { RetryBudgetOptions, RetryOptions } from '../../resilience/retry.ts'
import { breakerSettings, type Policy, retryBudgetSettings } from '../policies/policies.ts'
import type { Guards } from './guard-memory.ts'
import { rateRules } from './rate-rules.ts'

/** A call as the rules know it. */
export interface GuardedCall {
  readonly tenantId: string
  readonly connector: string
  readonly operation: string
  /** What limits per caller are counted by. */
  readonly callerKey?: string | undefined
  readonly policy: Policy
  /** Of the connector itself: one breaker serves all its operations and callers. */
  readonly connectorPolicy: Policy
  /**
   * What the policy of the operation gives an attempt, without what the request asks for: the breaker judges by it
   * whether the upstream had its time.
   */
  readonly attemptMs: number
  /** An attempt of a job, see `rateRules`. */
  readonly ofJob?: boolean
  /** Told the name of each shadow rule that would have refused the call. */
  readonly onWouldHave: (rule: string) => void
}

/** All rate limits that match the call, charged in one step. */
export const limitStage = (
  { store }: Guards,
  call: GuardedCall,
  onCharged?: RateLimitOptions['onCharged'],
): Stage =>
  rateLimit({
    store,
    group: call.tenantId,
    rules: rateRules(call.policy, call),
    onWouldHave: call.onWouldHave,
    ...(onCharged && { onCharged }),
  })

/**
 * Takes the permits of a repetition from all rate limits of the call, if they have room; undefined for a call without
 * limits.
 */
export function permitsOf({ store }: Guards, call: GuardedCall): RetryOptions['takePermits'] {
  const rules = rateRules(call.policy, call)
  if (rules.length === 0) return undefined
  return () => {
    const charged = store.charge(call.tenantId, rules)
    return charged instanceof Promise ? charged.then(({ allowed }) => allowed) : charged.allowed
  }
}

/** Places of this process for the connector and its workspace. */
export function placeStage(
  { bulkheads }: Guards,
  { tenantId, connector, policy, onWouldHave }: GuardedCall,
): Stage {
  const { bulkhead: rule } = policy
  return bulkhead({
    bulkheads,
    group: tenantId,
    key: connector,
    settings: {
      mode: rule.mode,
      maxInFlight: rule.max_in_flight,
      maxWaiting: rule.max_waiting,
      waitMs: rule.wait_ms,
      workspaceMode: rule.workspace_mode,
      workspaceMaxInFlight: rule.workspace_max_in_flight,
    },
    onWouldHave,
  })
}

/** What the call and its repetitions may take from the budget of its upstream. */
export const budgetOf = (
  { budgets }: Guards,
  { tenantId, connector, policy, onWouldHave }: GuardedCall,
): RetryBudgetOptions => ({
  budgets,
  group: tenantId,
  key: connector,
  settings: retryBudgetSettings(policy),
  onWouldHave,
})

/** Made once for each policy of a connector and each time that its operations give, not for each call. */
const breakerRules = new WeakMap<Policy, Map<number, BreakerRule>>()

function breakerRuleOf(policy: Policy, attemptMs: number): BreakerRule {
  const ofPolicy = breakerRules.get(policy) ?? new Map<number, BreakerRule>()
  breakerRules.set(policy, ofPolicy)
  const known = ofPolicy.get(attemptMs)
  if (known) return known
  const made: BreakerRule = { mode: policy.breaker.mode, settings: breakerSettings(policy, attemptMs) }
  ofPolicy.set(attemptMs, made)
  return made
}

/** The circuit breaker of the connector. */
export const circuitStage = (
  { breakers }: Guards,
  { tenantId, connector, connectorPolicy, attemptMs, onWouldHave }: GuardedCall,
  clock: Clock,
): Stage =>
  breakerStage({
    breakers,
    group: tenantId,
    key: connector,
    rule: breakerRuleOf(connectorPolicy, attemptMs),
    clock,
    onWouldHave,
  })
