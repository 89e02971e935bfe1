/** What the stages around a call hand inwards. Each stage may narrow it for the stages inside. */
export interface CallScope {
  /** Aborted when the work inside has to end; its reason says why. */
  readonly signal: AbortSignal
  /** `clock.monotonic()` at which the total time is over; Infinity = no limit. */
  readonly deadlineAt: number
  /** 1 for the first attempt. */
  readonly attempt: number
}

export type Next<T> = (scope: CallScope) => Promise<T>

/**
 * One stage of the pipeline: it may refuse, delay, repeat, limit or observe what is inside by calling `next`
 * never, once or several times. Failures travel outwards as `CallFailure`.
 */
export type Stage = <T>(scope: CallScope, next: Next<T>) => Promise<T>

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
export function runPipeline<T>(stages: readonly Stage[], scope: CallScope, call: Next<T>): Promise<T> {
  const [stage, ...inside] = stages
  return stage ? stage(scope, (inner) => runPipeline(inside, inner, call)) : call(scope)
}
