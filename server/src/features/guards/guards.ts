/**
 * The door of the guards feature: what stands between a call and its upstream, for executions and for attempts of
 * jobs alike (docs/decisions/0014).
 *
 * The rules are pure and stand in `resilience/`; a policy says which of them apply. This feature holds their memory,
 * once per Node process, and turns a policy into stages. Invariants. A call that a rule refuses has sent nothing, and
 * says so (`CallFailure.refusedBy`). A rule in shadow mode never changes an answer: it is counted as what it would
 * have done.
 */
import type { Clock } from '../../platform/clock.ts'
import { type Bulkheads, createBulkheads } from '../../resilience/bulkhead-places.ts'
import type { LoadShed } from '../../resilience/load-shed.ts'
import { createRetryBudgets, type RetryBudgets } from '../../resilience/retry-budget.ts'
import type { SharedStore } from '../../resilience/stores/store.ts'

export { allowanceOf, type GuardedCall, limitStage, placeStage } from './guard-stages.ts'
export { createWouldHave, type WouldHave } from './would-have.ts'

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
