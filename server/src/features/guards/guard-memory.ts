import type { Clock, Random } from '../../platform/clock.ts'
import { type Breakers, type BreakerTransition, createBreakers } from '../../resilience/breakers.ts'
import { type Bulkheads, createBulkheads } from '../../resilience/bulkhead-places.ts'
import { type CallsUnderWay, createCallsUnderWay } from '../../resilience/coalesce.ts'
import { createLatencies, type Latencies } from '../../resilience/latency.ts'
import type { LoadShed } from '../../resilience/load-shed.ts'
import { createResponseCache, type ResponseCache } from '../../resilience/response-cache.ts'
import { createRetryBudgets, type RetryBudgets } from '../../resilience/retry-budget.ts'
import type { SharedStore } from '../../resilience/stores/store.ts'

/** The memory of all rules, shared by the processes of one Node process. */
export interface Guards {
  readonly store: SharedStore
  readonly breakers: Breakers
  readonly bulkheads: Bulkheads
  readonly budgets: RetryBudgets
  readonly latencies: Latencies
  /** Answers of safe operations, for policies that keep them. */
  readonly responses: ResponseCache
  readonly callsUnderWay: CallsUnderWay
  readonly loadShed: LoadShed
}

export const createGuards = (options: {
  readonly clock: Clock
  readonly random: Random
  readonly store: SharedStore
  readonly loadShed: LoadShed
  /** Told when a breaker opens, tries and closes. Must not throw. */
  readonly onTransition: (transition: BreakerTransition) => void
}): Guards => ({
  store: options.store,
  loadShed: options.loadShed,
  breakers: createBreakers(options),
  bulkheads: createBulkheads(options),
  budgets: createRetryBudgets(options),
  latencies: createLatencies(),
  responses: createResponseCache(options),
  callsUnderWay: createCallsUnderWay(),
})
