import type { ExponentialRetry, Policy } from './policy.ts'

/** DESIGN §8; jobs as Hookdeck Outpost has them: 10 attempts, 30 s doubling up to an hour. */
export const SYSTEM_JOB_RETRY: ExponentialRetry = {
  max_attempts: 10,
  base_ms: 30_000,
  factor: 2,
  cap_ms: 3_600_000,
}

/**
 * What applies where no policy says otherwise. Sources, value by value: docs/policies.md. A busy upstream gets as
 * long as Standard Webhooks gives a broken one: its schedule ends after three days.
 */
export const SYSTEM_POLICY: Policy = frozen({
  timeouts: { connect_ms: 3_000, attempt_ms: 10_000, total_ms: 15_000 },
  retry: { max_attempts: 4, base_ms: 250, factor: 2, cap_ms: 5_000 },
  retry_budget: { mode: 'enforce', tokens: 500, max_ratio: 0.2, min_concurrent: 3 },
  breaker: {
    mode: 'enforce',
    consecutive_failures: 5,
    failure_rate: 0.5,
    slow_rate: 0.8,
    slow_call_ms: null,
    min_calls: 20,
    window_ms: 30_000,
    open_ms: 30_000,
    open_cap_ms: 300_000,
    probes: 5,
    close_rate: 0.6,
  },
  rate_limits: {
    workspace: { mode: 'enforce', permits: 100, period_ms: 1_000, burst: 200 },
    connector: { mode: 'enforce', permits: 10, period_ms: 1_000, burst: 20 },
    operation: null,
    caller: null,
    cost: 1,
  },
  bulkhead: {
    mode: 'enforce',
    max_in_flight: 50,
    max_waiting: 50,
    wait_ms: 1_000,
    workspace_mode: 'enforce',
    workspace_max_in_flight: 100,
  },
  load_shedding: { mode: 'enforce', priority: 'default' },
  fallback: { type: 'none', max_stale_ms: 300_000, output: null },
  cache: { ttl_ms: 0 },
  coalesce: { enabled: false },
  hedge: { enabled: false, delay_ms: null },
  idempotency: { required: true, keep_ms: 86_400_000 },
  job_retry: SYSTEM_JOB_RETRY,
  job_wait: { upstream_ms: 3 * 86_400_000 },
  concurrency: { max_running: null, workspace_max_running: null, workspace_weight: 1 },
})

/** The waits that Standard Webhooks recommends for deliveries: 10 attempts in about three days. */
export const STANDARD_WEBHOOKS_SCHEDULE_MS: readonly number[] = [
  0, 5_000, 300_000, 1_800_000, 7_200_000, 18_000_000, 36_000_000, 50_400_000, 72_000_000, 86_400_000,
]

/** The same value, with everything in it unchangeable. */
export function frozen<Value>(value: Value): Value {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value
  for (const member of Object.values(value)) frozen(member)
  return Object.freeze(value)
}
