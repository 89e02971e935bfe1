import type { PolicyDocument } from '../src/features/policies/policies.ts'

/**
 * For the policy `default` of tests that are about something else: none of the hub's own rules refuses a call or
 * makes it wait. A test of such a rule names the rule in its own policy.
 */
export const UNLIMITED = {
  retry_budget: { mode: 'off' },
  breaker: { mode: 'off' },
  rate_limits: { workspace: null, connector: null },
  bulkhead: { max_in_flight: 10_000, max_waiting: 10_000, workspace_max_in_flight: 100_000 },
  load_shedding: { mode: 'off' },
} satisfies PolicyDocument
