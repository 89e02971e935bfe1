import type { BreakerSettings } from '../../resilience/breaker.ts'
import type { RetryBudgetSettings } from '../../resilience/retry-budget.ts'
import { type Policy, slowCallMs } from './policy.ts'

/**
 * The breaker of a connector's policy, as its state machine wants it for a call whose attempts may take `attemptMs`:
 * operations with other times share the breaker, and each call is judged by its own.
 */
export const breakerSettings = (policy: Policy, attemptMs: number): BreakerSettings => {
  const { breaker } = policy
  return {
    consecutiveFailures: breaker.consecutive_failures,
    failureRate: breaker.failure_rate,
    slowRate: breaker.slow_rate,
    slowCallMs: slowCallMs(policy, attemptMs),
    minCalls: breaker.min_calls,
    windowMs: breaker.window_ms,
    openMs: breaker.open_ms,
    openCapMs: breaker.open_cap_ms,
    probes: breaker.probes,
    closeRate: breaker.close_rate,
    attemptMs,
  }
}

/** The retry budget of a policy, as its state machine wants it. */
export const retryBudgetSettings = ({ retry_budget: budget }: Policy): RetryBudgetSettings => ({
  mode: budget.mode,
  tokens: budget.tokens,
  maxRatio: budget.max_ratio,
  minConcurrent: budget.min_concurrent,
})
