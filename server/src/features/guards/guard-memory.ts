import type { Clock } from '../../platform/clock.ts'
import { type Bulkheads, createBulkheads } from '../../resilience/bulkhead-places.ts'
import type { LoadShed } from '../../resilience/load-shed.ts'
import { createRetryBudgets, type RetryBudgets } from '../../resilience/retry-budget.ts'
import type { SharedStore } from '../../resilience/stores/store.ts'

/** The memory of all rules, shared by the processes of one Node process. */
export interface Guards {
  readonly store: SharedStore
  readonly bulkheads: Bulkheads
  readonly budgets: RetryBudgets
  readonly loadShed: LoadShed
}

export const createGuards = (options: {
  readonly clock: Clock
  readonly store: SharedStore
  readonly loadShed: LoadShed
}): Guards => ({
  store: options.store,
  loadShed: options.loadShed,
  bulkheads: createBulkheads(options),
  budgets: createRetryBudgets(options),
})
