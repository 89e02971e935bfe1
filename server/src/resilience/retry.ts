import type { Clock, Random } from '../platform/clock.ts'
import { attemptsOf, type BackoffSchedule, backoffDelay } from './backoff.ts'
import { MIN_LEFT_MS, remainingMs } from './deadline.ts'
import { CallFailure } from './failure.ts'
import type { CallScope, Stage } from './pipeline.ts'
import type { RetryAllowance, RetryBudgetSettings, RetryBudgets, RetryKind } from './retry-budget.ts'

/** An upstream that asks for more than a day is believed a day. */
const RETRY_AFTER_CAP_MS = 24 * 3_600_000

/** What follows a failed attempt. `why` is one sentence for the timeline. */
export type RetryDecision =
  | { readonly again: true; readonly delayMs: number; readonly why: string }
  | {
      readonly again: false
      readonly why: string
      /** The rule of the hub that would not have another attempt. */
      readonly refusedBy?: 'retry_budget' | 'rate_limit'
    }

const REFUSALS = {
  outcome_unknown: 'it may have had its effect, and the operation is neither safe nor keyed',
  permanent: 'repeating would not change the answer',
}

/**
 * Whether and when to repeat, by the class of the failure alone: `never_sent` and `safe_to_repeat` are
 * repeated while the schedule has attempts, but never what a rule of the hub refused. The wait is the longer one of the schedule's and of the upstream's
 * Retry-After. For jobs this is the whole rule; an execution has a deadline on top (`retry`).
 */
export function decideRetry(input: {
  readonly failure: CallFailure
  /** How many attempts have failed, this one included. */
  readonly failedAttempts: number
  readonly schedule: BackoffSchedule
  readonly random: Random
}): RetryDecision {
  const { failure, failedAttempts, schedule, random } = input
  // Asking the same rule again at once would only cost more; the caller is told how long to wait.
  if (failure.refusedBy) return { again: false, why: 'not repeated: refused by the hub' }
  if (failure.class === 'outcome_unknown' || failure.class === 'permanent')
    return { again: false, why: `not repeated: ${REFUSALS[failure.class]}` }
  const backoff = backoffDelay(schedule, failedAttempts, random)
  if (backoff === undefined)
    return { again: false, why: `not repeated: all ${attemptsOf(schedule)} attempts are spent` }
  const asked = Math.min(failure.retryAfterMs ?? 0, RETRY_AFTER_CAP_MS)
  return asked > backoff
    ? { again: true, delayMs: asked, why: `again in ${asked} ms, as the upstream asks` }
    : { again: true, delayMs: backoff, why: `again in ${backoff} ms` }
}

export interface FailedAttempt {
  readonly attempt: number
  readonly failure: CallFailure
  readonly decision: RetryDecision
}

export interface RetryOptions {
  readonly schedule: BackoffSchedule
  readonly clock: Clock
  readonly random: Random
  /** Told of every failed attempt, before the wait. */
  readonly onFailure?: (failed: FailedAttempt) => void
  /** What all calls of the upstream together may repeat. */
  readonly budget?: RetryBudgetOptions
  /** Asked last before each repetition: takes what it costs from the rate limits of the call, if they have room. */
  readonly takePermits?: (() => boolean | Promise<boolean>) | undefined
}

export interface RetryBudgetOptions {
  readonly budgets: RetryBudgets
  /** The workspace. */
  readonly group: string
  /** The connector. */
  readonly key: string
  readonly settings: RetryBudgetSettings
  /** Told `retry_budget` when a shadow budget would have said no. */
  readonly onWouldHave?: (rule: string) => void
}

/**
 * Repeats what is inside. A wait that would outlast the total deadline is not begun: the caller gets the
 * failure at once, with the upstream's Retry-After. Errors that are no `CallFailure` pass through.
 */
export function retry(options: RetryOptions): Stage {
  const { clock, budget } = options
  return async (outer, next) => {
    const allowance = budget?.budgets.begin(budget.group, budget.key, budget.settings, budget.onWouldHave)
    const scope = allowance === undefined ? outer : { ...outer, allowance }
    let maybeSent = false
    let succeeded = false
    try {
      for (let attempt = scope.attempt; ; attempt += 1) {
        try {
          const result = await next(attempt === scope.attempt ? scope : { ...scope, attempt })
          succeeded = true
          return result
        } catch (error) {
          if (!(error instanceof CallFailure)) throw error
          maybeSent ||= error.class !== 'never_sent'
          const decided = decide(options, scope, error, attempt)
          const decision =
            decided.again && options.takePermits
              ? await ifRoom(decided, options.takePermits, allowance)
              : decided
          options.onFailure?.({ attempt, failure: error, decision })
          // "Never sent" would be a lie when an earlier attempt may have arrived.
          const failure = maybeSent && error.class === 'never_sent' ? error.as('safe_to_repeat') : error
          if (!decision.again) throw failure
          await clock.sleep(decision.delayMs, scope.signal).catch(() => {
            throw failure
          })
        }
      }
    } finally {
      allowance?.end(succeeded)
    }
  }
}

/** The rule, then the time that is left; the budget last, because asking it spends it. */
function decide(
  options: RetryOptions,
  scope: CallScope,
  failure: CallFailure,
  attempt: number,
): RetryDecision {
  if (scope.signal.aborted) return { again: false, why: 'not repeated: the call was given up' }
  const decision = withinTime(
    decideRetry({ ...options, failure, failedAttempts: attempt }),
    remainingMs(scope, options.clock),
  )
  if (!decision.again || (scope.allowance?.tryTake(kindOf(failure)) ?? true)) return decision
  return {
    again: false,
    why: 'not repeated: the retry budget of the upstream is spent',
    refusedBy: 'retry_budget',
  }
}

/** A repetition is a call to whoever counts calls, a provider for one. */
async function ifRoom(
  decision: RetryDecision,
  takePermits: NonNullable<RetryOptions['takePermits']>,
  allowance: RetryAllowance | undefined,
): Promise<RetryDecision> {
  if (await takePermits()) return decision
  allowance?.giveBack()
  return { again: false, why: 'not repeated: the rate limit has no room', refusedBy: 'rate_limit' }
}

const kindOf = ({ httpStatus, retryAfterMs }: CallFailure): RetryKind =>
  httpStatus === 429 || (httpStatus === 503 && retryAfterMs !== undefined) ? 'throttle' : 'transient'

function withinTime(decision: RetryDecision, leftMs: number): RetryDecision {
  if (!decision.again || decision.delayMs + MIN_LEFT_MS <= leftMs) return decision
  return {
    again: false,
    why: `not repeated: the wait of ${decision.delayMs} ms is longer than the ${Math.max(0, Math.floor(leftMs))} ms left`,
  }
}
