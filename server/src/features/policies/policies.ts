/**
 * The door of the policies feature (the functions follow in the next commits; their signatures are final):
 *
 *   SYSTEM_POLICY: Policy
 *   effectivePolicy({ workspace?, connector?, request? }): EffectivePolicy     Problem policy_violation
 *   checkPolicy(document: unknown, inherited?: Policy): ProblemDetail[]        paths relative to the policy, e.g. `/retry/cap_ms`
 *   callSchedule(policy) / jobSchedule(policy): BackoffSchedule of resilience/backoff.ts
 */
export interface ExponentialRetry {
  readonly max_attempts: number
  readonly base_ms: number
  readonly factor: number
  readonly cap_ms: number
}

/** A policy with every value decided. */
export interface Policy {
  readonly timeouts: { readonly connect_ms: number; readonly attempt_ms: number; readonly total_ms: number }
  readonly retry: ExponentialRetry
  readonly job_retry: { readonly schedule_ms: readonly number[] } | ExponentialRetry
}

export type PolicySource = 'system' | 'workspace' | 'connector' | 'request'

export interface EffectivePolicy {
  readonly policy: Policy
  /** Where each value came from, by its dotted name: `timeouts.connect_ms`, `job_retry.schedule_ms`, … */
  readonly sources: Readonly<Record<string, PolicySource>>
}
