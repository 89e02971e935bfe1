import type { Clock } from '../platform/clock.ts'
import { keyedStates } from './keyed-states.ts'

/**
 * `throttle`: the upstream said that it has too much to do (429, 503 with Retry-After). `transient`: every other
 * failure that may be repeated.
 */
export type RetryKind = 'transient' | 'throttle'

export interface RetryBudgetSettings {
  readonly mode: 'enforce' | 'shadow' | 'off'
  /** How many tokens the bucket holds; it begins full. */
  readonly tokens: number
  /** At most this share of the calls in flight may be calls that repeat: 0.2 is one of five. */
  readonly maxRatio: number
  /** So many may repeat at once, however few are in flight. */
  readonly minConcurrent: number
}

/** What one call, with all its attempts, may take from the budget of its upstream. */
export interface RetryAllowance {
  /** Asks before each repetition (a hedge is one, too). False: it must not be made. */
  tryTake(kind: RetryKind): boolean
  /** The repetition that was allowed last is not made. */
  giveBack(): void
  /** The call is over. Must be called once, whatever happened; later calls change nothing. */
  end(succeeded: boolean): void
}

/** The budgets of one process. */
export interface RetryBudgets {
  /**
   * A call begins. `group` is the workspace, `key` the connector. `onWouldHave('retry_budget')` is told when a
   * shadow budget would have said no.
   */
  begin(
    group: string,
    key: string,
    settings: RetryBudgetSettings,
    onWouldHave?: (rule: string) => void,
  ): RetryAllowance
  /** How many budgets are kept. */
  readonly size: number
}

const COSTS: Readonly<Record<RetryKind, number>> = { transient: 14, throttle: 5 }
/** What a call that succeeds at once puts back. */
const FIRST_TRY_REFUND = 1
/** A budget that nobody has used for so long begins anew. */
const FORGET_AFTER_MS = 10 * 60_000

interface Budget {
  /** Tokens that are out of the bucket. Not those that are in it: the size of the bucket may change. */
  spent: number
  inFlight: number
  /** Calls in flight that have repeated at least once. */
  repeating: number
  usedAt: number
}

/**
 * Keeps repetitions from making an outage worse. Two rules, and a repetition needs both:
 * - a bucket of tokens (the retry quota of the AWS SDKs: 500 tokens; a repetition costs 14, after throttling 5;
 *   success gives the cost of the last repetition back, or 1 when there was none). An upstream that fails for
 *   good empties it, and then each call is tried once;
 * - a share of the calls in flight (Envoy's retry budget: 20 %, at least 3), which holds from the first moment.
 */
export function createRetryBudgets(options: { readonly clock: Clock }): RetryBudgets {
  const { clock } = options
  const budgets = keyedStates<Budget>({
    create: () => ({ spent: 0, inFlight: 0, repeating: 0, usedAt: clock.monotonic() }),
    idle: ({ inFlight, spent, usedAt }) =>
      inFlight === 0 && (spent === 0 || clock.monotonic() - usedAt > FORGET_AFTER_MS),
  })
  return {
    begin: (group, key, settings, onWouldHave) => {
      if (settings.mode === 'off') return UNLIMITED
      budgets.tidy()
      const budget = budgets.of(group, key)
      const now = clock.monotonic()
      if (now - budget.usedAt > FORGET_AFTER_MS) budget.spent = 0
      budget.usedAt = now
      return allowance(budget, settings, onWouldHave)
    },
    get size() {
      return budgets.size
    },
  }
}

const UNLIMITED: RetryAllowance = { tryTake: () => true, giveBack: () => undefined, end: () => undefined }

function allowance(
  budget: Budget,
  settings: RetryBudgetSettings,
  onWouldHave: ((rule: string) => void) | undefined,
): RetryAllowance {
  let lastCost = 0
  let repeats = false
  let ended = false
  budget.inFlight += 1
  return {
    tryTake: (kind) => {
      if (ended) return false
      const cost = COSTS[kind]
      const share = Math.max(settings.minConcurrent, Math.floor(settings.maxRatio * budget.inFlight))
      const hasRoom = budget.spent + cost <= settings.tokens && budget.repeating - (repeats ? 1 : 0) < share
      if (!hasRoom) {
        if (settings.mode === 'enforce') return false
        onWouldHave?.('retry_budget')
      }
      // A shadow budget that is empty stays empty: it must not owe what it would not have given.
      lastCost = hasRoom ? cost : 0
      budget.spent += lastCost
      if (!repeats) budget.repeating += 1
      repeats = true
      return true
    },
    giveBack: () => {
      if (ended) return
      budget.spent = Math.max(0, budget.spent - lastCost)
      lastCost = 0
    },
    end: (succeeded) => {
      if (ended) return
      ended = true
      budget.inFlight -= 1
      if (repeats) budget.repeating -= 1
      if (succeeded) budget.spent = Math.max(0, budget.spent - (repeats ? lastCost : FIRST_TRY_REFUND))
    },
  }
}
