import type { RetryAllowance } from './retry-budget.ts'

/** What the stages around a call hand inwards. Each stage may narrow it for the stages inside. */
export interface CallScope {
  /** Aborted when the work inside has to end; its reason says why. */
  readonly signal: AbortSignal
  /** `clock.monotonic()` at which the total time is over; Infinity = no limit. */
  readonly deadlineAt: number
  /** 1 for the first attempt. A hedge has the number of the attempt that it helps. */
  readonly attempt: number
  /** What the call may still repeat; `retry` hands it inwards to whoever else sends a second request. */
  readonly allowance?: RetryAllowance
}

export type Next<T> = (scope: CallScope) => Promise<T>

/**
 * One stage of the pipeline: it may refuse, delay, repeat, limit or observe what is inside by calling `next`
 * never, once or several times. Failures travel outwards as `CallFailure`.
 */
export type Stage = <T>(scope: CallScope, next: Next<T>) => Promise<T>

/** A stage that looks into the result, or makes one; every `Stage` is one, too. */
export type StageOf<T> = (scope: CallScope, next: Next<T>) => Promise<T>

/** Who answered a call. `stale` and `static` are what a fallback gave instead of a failure. */
export type ServedFrom = 'upstream' | 'cache' | 'coalesced' | 'stale' | 'static'

/** The result of a call for the stages that keep, share or replace it. */
export interface CallResult {
  /** Plain JSON. Frozen when it is shared with other calls. */
  readonly output: unknown
  /** Null when no answer of HTTP stands behind it. */
  readonly httpStatus: number | null
  /** Missing means the upstream, asked by this very call. */
  readonly servedFrom?: ServedFrom
  /** How old a result from `cache` or a `stale` one is. */
  readonly ageMs?: number
}

/** The scope of a call that nothing limits yet. */
export const outermost = (signal: AbortSignal): CallScope => ({
  signal,
  deadlineAt: Number.POSITIVE_INFINITY,
  attempt: 1,
})

/**
 * Runs a call through stages, the outermost first. A caller writes them down in the order of DESIGN §8:
 *
 *     runPipeline([totalDeadline(…), retry(…), attemptTimeout(…)], outermost(signal), call)
 */
export function runPipeline<T>(
  stages: readonly StageOf<NoInfer<T>>[],
  scope: CallScope,
  call: Next<T>,
  /** The first stage that runs; those before it have begun. */
  from = 0,
): Promise<T> {
  const stage = stages[from]
  return stage ? stage(scope, (inner) => runPipeline(stages, inner, call, from + 1)) : call(scope)
}
