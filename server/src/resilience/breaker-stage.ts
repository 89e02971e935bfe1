import type { Clock } from '../platform/clock.ts'
import type { BreakerRule, Breakers, Entrance } from './breakers.ts'
import { MIN_LEFT_MS, remainingMs } from './deadline.ts'
import { CallFailure } from './failure.ts'
import { healthOf } from './health-of.ts'
import type { CallScope, Next, Stage } from './pipeline.ts'

export interface BreakerStageOptions {
  readonly breakers: Breakers
  /** The workspace. */
  readonly group: string
  /** The connector. */
  readonly key: string
  /** From the policies of the connector and its operation, without what a request asks for: one breaker serves all. */
  readonly rule: BreakerRule
  readonly clock: Clock
  /** Told `breaker` when a shadow breaker would have refused the call. */
  readonly onWouldHave?: (rule: string) => void
}

/** Refuses calls of an upstream that is down (`circuit_open`, nothing sent), and learns from those that pass. */
export function breakerStage(options: BreakerStageOptions): Stage {
  const { breakers, group, key, rule, clock, onWouldHave } = options
  const inside = async <T>(entrance: Entrance, scope: CallScope, next: Next<T>): Promise<T> => {
    if (entrance.refused) throw circuitOpen(entrance)
    const began = clock.monotonic()
    let result: T
    try {
      result = await next(scope)
    } catch (error) {
      const durationMs = clock.monotonic() - began
      entrance.end(healthOf(error, durationMs, rule.settings.attemptMs), durationMs)
      throw error
    }
    entrance.end('ok', clock.monotonic() - began)
    return result
  }
  return (scope, next) => {
    // The time limit inside refuses it; that is no fault of the upstream.
    if (remainingMs(scope, clock) < MIN_LEFT_MS) return next(scope)
    const entrance = breakers.enter(group, key, rule, onWouldHave)
    return entrance instanceof Promise
      ? entrance.then((later) => inside(later, scope, next))
      : inside(entrance, scope, next)
  }
}

const circuitOpen = ({ retryAfterMs, why }: { readonly retryAfterMs: number; readonly why: string }) =>
  new CallFailure({
    class: 'never_sent',
    kind: 'circuit_open',
    refusedBy: 'breaker',
    retryAfterMs: Math.ceil(retryAfterMs),
    message: `The circuit breaker of the connector refuses calls: ${why}.`,
  })
