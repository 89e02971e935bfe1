import type { BreakerSettings } from '../../resilience/breaker.ts'
import type { RetryBudgetSettings } from '../../resilience/retry-budget.ts'
import { type Policy, slowCallMs } from './policy.ts'

/** The breaker of a policy, as its state machine wants it. */
export const breakerSettings = (policy: Policy): BreakerSettings => {
  const { breaker } = policy
  return {
    consecutiveFailures: breaker.consecutive_failures,
    failureRate: breaker.failure_rate,
    slowRate: breaker.slow_rate,
    slowCallMs: slowCallMs(policy),
    minCalls: breaker.min_calls,
    windowMs: breaker.window_ms,
    openMs: breaker.open_ms,
    openCapMs: breaker.open_cap_ms,
    probes: breaker.probes,
    closeRate: breaker.close_rate,
    attemptMs: policy.timeouts.attempt_ms,
  }
}

/** The retry budget of a policy, as its state machine wants it. */
export const retryBudgetSettings = ({ retry_budget: budget }: Policy): RetryBudgetSettings => ({
  mode: budget.mode,
  tokens: budget.tokens,
  maxRatio: budget.max_ratio,
  minConcurrent: budget.min_concurrent,
})
