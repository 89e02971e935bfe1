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
  const { clock, totalMs } = options
  return (scope, next) => {
    const now = clock.monotonic()
    const deadlineAt = Math.min(scope.deadlineAt, now + totalMs)
    return within(scope.signal, deadlineAt - now, clock, (signal) => next({ ...scope, signal, deadlineAt }))
  }
}

/** Limits one attempt, by its own limit or by what is left of the total. */
export function attemptTimeout(options: { readonly attemptMs: number; readonly clock: Clock }): Stage {
  const { clock, attemptMs } = options
  return (scope, next) => {
    const ms = Math.min(attemptMs, remainingMs(scope, clock))
    return within(scope.signal, ms, clock, (signal) => next({ ...scope, signal }))
  }
}

/** By hand and without a race of promises: every call runs through here twice. */
function within<T>(
  outer: AbortSignal,
  ms: number,
  clock: Clock,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (ms < MIN_LEFT_MS)
    return Promise.reject(
      new CallFailure({
        class: 'never_sent',
        kind: 'timeout',
        message: 'There was no time left for the call.',
      }),
    )
  return new Promise<T>((resolve, reject) => {
    const own = new AbortController()
    const passOn = () => stop(outer.reason)
    let takeBack = clock.after(ms, () => stop(new DOMException('The time limit is over.', 'TimeoutError')))
    const finish = () => {
      takeBack()
      outer.removeEventListener('abort', passOn)
    }
    const stop = (reason: unknown) => {
      finish()
      takeBack = clock.after(GRACE_MS, () => reject(gaveUp(reason)))
      own.abort(reason)
    }
    const fail = (error: unknown) => {
      finish()
      reject(error)
    }
    // Not AbortSignal.any: the outer signal may live as long as the process and must not collect followers.
    if (outer.aborted) passOn()
    else outer.addEventListener('abort', passOn)
    try {
      work(own.signal).then((result) => {
        finish()
        resolve(result)
      }, fail)
    } catch (error) {
      fail(error)
    }
  })
}

function gaveUp(reason: unknown): CallFailure {
  const late = reason instanceof Error && reason.name === 'TimeoutError'
  return new CallFailure({
    class: 'outcome_unknown',
    kind: late ? 'timeout' : 'aborted',
    message: late ? 'The upstream did not answer in time.' : 'The call was given up.',
    cause: reason,
  })
}
