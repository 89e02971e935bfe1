import type { BackoffSchedule } from '../../resilience/backoff.ts'

/**
 * How a rule of the hub works. `shadow` looks and reports what it would have done and never changes an answer, so
 * that a rule can be tried out on real calls.
 */
export const RULE_MODES = ['enforce', 'shadow', 'off'] as const
export type RuleMode = (typeof RULE_MODES)[number]

/** In the order in which an overloaded process gives calls up: `low` first. */
export const PRIORITIES = ['low', 'default', 'critical'] as const
export type Priority = (typeof PRIORITIES)[number]

export interface ExponentialRetry {
  readonly max_attempts: number
  readonly base_ms: number
  readonly factor: number
  readonly cap_ms: number
}

/** So many permits per period on average, `burst` of them at once. */
export interface RateLimitRule {
  readonly mode: RuleMode
  readonly permits: number
  readonly period_ms: number
  readonly burst: number
}

/** What calls are counted by. */
export const RATE_LIMIT_SCOPES = ['workspace', 'connector', 'operation', 'caller'] as const
export type RateLimitScope = (typeof RATE_LIMIT_SCOPES)[number]

/** A policy with every value decided, in its wire names. Times are milliseconds. Frozen: many calls share it. */
export interface Policy {
  readonly timeouts: { readonly connect_ms: number; readonly attempt_ms: number; readonly total_ms: number }
  readonly retry: ExponentialRetry
  readonly retry_budget: {
    readonly mode: RuleMode
    readonly tokens: number
    readonly max_ratio: number
    readonly min_concurrent: number
  }
  readonly breaker: {
    readonly mode: RuleMode
    readonly consecutive_failures: number
    readonly failure_rate: number
    readonly slow_rate: number
    /** null = see `slowCallMs`. */
    readonly slow_call_ms: number | null
    readonly min_calls: number
    readonly window_ms: number
    readonly open_ms: number
    readonly open_cap_ms: number
    readonly probes: number
    readonly close_rate: number
  }
  /** null = no limit. */
  readonly rate_limits: Readonly<Record<RateLimitScope, RateLimitRule | null>> & { readonly cost: number }
  readonly bulkhead: {
    readonly mode: RuleMode
    readonly max_in_flight: number
    readonly max_waiting: number
    readonly wait_ms: number
    /** The mode of `workspace_max_in_flight`: a connector that switches its own bulkhead off stays inside the other. */
    readonly workspace_mode: RuleMode
    readonly workspace_max_in_flight: number
  }
  readonly load_shedding: { readonly mode: RuleMode; readonly priority: Priority }
  readonly fallback: {
    readonly type: 'none' | 'stale' | 'static'
    readonly max_stale_ms: number
    /** The answer of `static`; null otherwise. */
    readonly output: unknown
  }
  /** 0 = nothing is kept. */
  readonly cache: { readonly ttl_ms: number }
  readonly coalesce: { readonly enabled: boolean }
  /** `delay_ms` null = the 95th percentile of the connector, at least 100. */
  readonly hedge: { readonly enabled: boolean; readonly delay_ms: number | null }
  readonly idempotency: { readonly required: boolean; readonly keep_ms: number }
  readonly job_retry: { readonly schedule_ms: readonly number[] } | ExponentialRetry
  readonly job_wait: { readonly upstream_ms: number }
  /** Jobs that run at once, of the connector and of its workspace (null = no cap), and the workspace's share. */
  readonly concurrency: {
    readonly max_running: number | null
    readonly workspace_max_running: number | null
    readonly workspace_weight: number
  }
}

export type PolicySource = 'system' | 'kind' | 'workspace' | 'connector' | 'operation' | 'request'

export interface EffectivePolicy {
  readonly policy: Policy
  /** Where each value came from, by its dotted name: `timeouts.connect_ms`, `job_retry.schedule_ms`, … */
  readonly sources: Readonly<Record<string, PolicySource>>
}

/** What an attempt of an execution may take, whatever a request asks for. */
export const attemptMsOf = ({ timeouts }: Policy): number => Math.min(timeouts.attempt_ms, timeouts.total_ms)

/** From which duration on an answer to an attempt that may take `attemptMs` counts as slow for the breaker. */
export const slowCallMs = ({ breaker }: Policy, attemptMs: number): number =>
  breaker.slow_call_ms ?? Math.round(0.8 * attemptMs)

/** The retries of one execution. */
export const callSchedule = (policy: Policy): BackoffSchedule => exponentialSchedule(policy.retry)

/** The retries of a job. */
export const jobSchedule = (policy: Policy): BackoffSchedule =>
  'schedule_ms' in policy.job_retry
    ? { kind: 'table', delaysMs: policy.job_retry.schedule_ms }
    : exponentialSchedule(policy.job_retry)

const exponentialSchedule = (retry: ExponentialRetry): BackoffSchedule => ({
  kind: 'exponential',
  maxAttempts: retry.max_attempts,
  baseMs: retry.base_ms,
  factor: retry.factor,
  capMs: retry.cap_ms,
})
