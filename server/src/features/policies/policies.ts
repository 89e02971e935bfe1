/**
 * The door of the policies feature: how a workspace's calls are limited, repeated and given up.
 *
 * Inheritance: system ← kind (what the connector's kind needs) ← workspace (the policy named `default`) ←
 * connector (the policy it names) ← operation (the policy that the connector names for it) ← request. Each level
 * overrides the values it names and no others; a request may only tighten. A policy is part of the config document
 * (features/configs), so it is immutable once stored and read from memory. Policies in force are made once per
 * config, and frozen.
 */
export { checkPolicy, type PolicyLevel } from './check-policy.ts'
export { effectivePolicy, type PolicyLevels } from './effective-policy.ts'
export { PolicyDocument, RequestLimitFields, type RequestLimits } from './policies.schema.ts'
export {
  attemptMsOf,
  callSchedule,
  type EffectivePolicy,
  type ExponentialRetry,
  jobSchedule,
  type Policy,
  type PolicySource,
  type Priority,
  type RateLimitRule,
  type RateLimitScope,
  type RuleMode,
} from './policy.ts'
export { breakerSettings, retryBudgetSettings } from './stage-settings.ts'
export { STANDARD_WEBHOOKS_SCHEDULE_MS, SYSTEM_POLICY } from './system-policy.ts'
export { tightened } from './tightened.ts'
