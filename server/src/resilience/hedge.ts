import type { Clock } from '../platform/clock.ts'
import { MIN_LEFT_MS, remainingMs } from './deadline.ts'
import { CallFailure } from './failure.ts'
import type { Latency } from './latency.ts'
import type { CallScope, Next, Stage } from './pipeline.ts'

/** A hedge after less than this would double the load of an upstream that is well. */
const MIN_DELAY_MS = 100

export interface HedgeOptions {
  /** Null: what 95 of 100 calls of the operation stay below; while that is unknown nothing is sent twice. */
  readonly delayMs: number | null
  readonly latency: Latency
  readonly clock: Clock
  /** Told when the second call begins; it is an attempt like the first. */
  readonly onHedge?: () => void
}

/**
 * Sends a second, equal call when the first takes long, and gives the first answer of the two; the other one is
 * told to stop. For safe operations only. The second call spends the retry budget that `retry` hands inwards.
 */
export function hedge(options: HedgeOptions): Stage {
  const { delayMs, latency, clock, onHedge } = options
  return <T>(scope: CallScope, next: Next<T>) => {
    const wait = Math.max(MIN_DELAY_MS, delayMs ?? latency.p95() ?? Number.POSITIVE_INFINITY)
    return new Promise<T>((resolve, reject) => {
      /** With the time at which each began. */
      const running = new Map<AbortController, number>()
      let firstFailure: unknown
      let settled = false
      const finish = (how: () => void) => {
        if (settled) return
        settled = true
        takeBack()
        scope.signal.removeEventListener('abort', stopAll)
        how()
        for (const other of running.keys())
          other.abort(new DOMException('Another call was faster.', 'AbortError'))
      }
      const stopAll = () => {
        takeBack()
        for (const one of running.keys()) one.abort(scope.signal.reason)
      }
      const begin = () => {
        const own = new AbortController()
        running.set(own, clock.monotonic())
        const done = (result: T) => {
          // The slower one, too: it took at least so long. Without it the delay would shrink with every hedge.
          if (!settled) for (const beganAt of running.values()) latency.observe(clock.monotonic() - beganAt)
          running.delete(own)
          finish(() => resolve(result))
        }
        const failed = (error: unknown) => {
          running.delete(own)
          firstFailure = moreTelling(firstFailure, error)
          if (running.size === 0 || isAnswer(error))
            finish(() => reject(isAnswer(error) ? error : firstFailure))
        }
        try {
          next({ ...scope, signal: own.signal }).then(done, failed)
        } catch (error) {
          failed(error)
        }
      }
      const takeBack =
        wait + MIN_LEFT_MS > remainingMs(scope, clock) || wait === Number.POSITIVE_INFINITY
          ? () => undefined
          : clock.after(wait, () => {
              if (scope.allowance && !scope.allowance.tryTake('transient')) return
              onHedge?.()
              begin()
            })
      begin()
      if (scope.signal.aborted) stopAll()
      else if (!settled) scope.signal.addEventListener('abort', stopAll)
    })
  }
}

/** No other call of the pair could end better: the upstream has decided, or it is no failure of a call at all. */
const isAnswer = (error: unknown): boolean =>
  !(error instanceof CallFailure) || (error.class === 'permanent' && error.refusedBy === undefined)

/** Of two failures the one of a call that may have arrived. */
const moreTelling = (first: unknown, second: unknown): unknown =>
  first === undefined || (first instanceof CallFailure && first.class === 'never_sent') ? second : first
