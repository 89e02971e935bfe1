import { type Static, Type } from 'typebox'
import { Cache, Coalesce, Fallback, Idempotency } from './answers.schema.ts'
import { Breaker, Bulkhead, Concurrency, LoadShedding, priority, RateLimits } from './limits.schema.ts'
import { Hedge, JobRetry, JobWait, Retry, RetryBudget, Timeouts } from './repeating.schema.ts'
import { closed, count } from './schema-fields.ts'

/** One policy of a workspace. Everything is optional: what is absent is inherited. */
export const PolicyDocument = Type.Object(
  {
    timeouts: Type.Optional(Timeouts),
    retry: Type.Optional(Retry),
    retry_budget: Type.Optional(RetryBudget),
    breaker: Type.Optional(Breaker),
    rate_limits: Type.Optional(RateLimits),
    bulkhead: Type.Optional(Bulkhead),
    load_shedding: Type.Optional(LoadShedding),
    fallback: Type.Optional(Fallback),
    cache: Type.Optional(Cache),
    coalesce: Type.Optional(Coalesce),
    hedge: Type.Optional(Hedge),
    idempotency: Type.Optional(Idempotency),
    job_retry: Type.Optional(JobRetry),
    job_wait: Type.Optional(JobWait),
    concurrency: Type.Optional(Concurrency),
  },
  { ...closed, description: 'A policy. What is absent is inherited from the level above.' },
)
export type PolicyDocument = Static<typeof PolicyDocument>

/** What `options` of a request may say about its policy: only less than the policy grants. */
export const RequestLimitFields = {
  timeout_ms: count(
    1,
    60_000,
    'Total time including retries; may only be shorter than the policy allows. Milliseconds.',
  ),
  max_attempts: count(1, 10, 'Attempts, the first one included; at most as many as the policy allows.'),
  priority: priority(
    'Who gives way first when a process is overloaded: `low`, then `default`, then `critical`; not above the ' +
      'priority of the policy.',
  ),
  cost: count(
    1,
    1_000,
    'Permits that this call takes of every rate limit; at least as many as the policy says.',
  ),
  rate_limit_key: Type.Optional(
    Type.String({
      minLength: 1,
      maxLength: 200,
      description:
        'On whose behalf the call is made, e.g. your user’s id: what the policy’s rate limit `caller` counts by. ' +
        'Absent = that limit does not count the call.',
    }),
  ),
}
const RequestLimits = Type.Object(RequestLimitFields)
/** What a single request asks for, in its wire names (`options.timeout_ms`, …). */
export type RequestLimits = Readonly<Static<typeof RequestLimits>>
