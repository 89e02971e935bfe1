import type { Clock } from '../platform/clock.ts'
import { CallFailure } from './failure.ts'
import type { CallScope, Stage } from './pipeline.ts'

/** With less time left than this a call is not begun: it could only end as a timeout with an unknown outcome. */
export const MIN_LEFT_MS = 10
/**
 * How long work may take to end by itself once it is told to stop. Only the work knows whether its request was
 * sent, so its own failure is worth a short wait; work that ignores the signal is left behind after it.
 */
const GRACE_MS = 100

/** Milliseconds until the total time is over. */
export const remainingMs = (scope: CallScope, clock: Clock): number => scope.deadlineAt - clock.monotonic()

/** Limits everything inside, all attempts and waits together. */
export function totalDeadline(options: { readonly totalMs: number; readonly clock: Clock }): Stage {
  return (scope, next) => {
    const { clock } = options
    const deadlineAt = Math.min(scope.deadlineAt, clock.monotonic() + options.totalMs)
    return within(scope.signal, deadlineAt - clock.monotonic(), clock, (signal) =>
      next({ ...scope, signal, deadlineAt }),
    )
  }
}

/** Limits one attempt, by its own limit or by what is left of the total. */
export function attemptTimeout(options: { readonly attemptMs: number; readonly clock: Clock }): Stage {
  return (scope, next) => {
    const { clock } = options
    const ms = Math.min(options.attemptMs, remainingMs(scope, clock))
    return within(scope.signal, ms, clock, (signal) => next({ ...scope, signal }))
  }
}

async function within<T>(
  outer: AbortSignal,
  ms: number,
  clock: Clock,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (ms < MIN_LEFT_MS)
    throw new CallFailure({
      class: 'never_sent',
      kind: 'timeout',
      message: 'There was no time left for the call.',
    })
  const own = new AbortController()
  const finished = new AbortController()
  const passOn = () => own.abort(outer.reason)
  // By hand and not AbortSignal.any: the outer signal may live as long as the process and must not collect followers.
  outer.addEventListener('abort', passOn, { once: true })
  const leftBehind = new Promise<never>((_resolve, reject) => {
    own.signal.addEventListener('abort', () => {
      clock.sleep(GRACE_MS, finished.signal).then(() => reject(gaveUp(own.signal.reason)), ignore)
    })
  })
  if (outer.aborted) passOn()
  clock
    .sleep(ms, finished.signal)
    .then(() => own.abort(new DOMException('The time limit is over.', 'TimeoutError')), ignore)
  try {
    return await Promise.race([work(own.signal), leftBehind])
  } finally {
    outer.removeEventListener('abort', passOn)
    finished.abort()
  }
}

/** The sleep was ended because the work was done first. */
const ignore = () => undefined

function gaveUp(reason: unknown): CallFailure {
  const late = reason instanceof Error && reason.name === 'TimeoutError'
  return new CallFailure({
    class: 'outcome_unknown',
    kind: late ? 'timeout' : 'aborted',
    message: late ? 'The upstream did not answer in time.' : 'The call was given up.',
    cause: reason,
  })
}
