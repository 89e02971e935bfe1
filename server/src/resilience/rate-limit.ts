import { CallFailure } from './failure.ts'
import type { CallScope, Next, Stage } from './pipeline.ts'
import type { Charge, Charged, ChargeState, RateLimit, SharedStore } from './stores/store.ts'

/** A limit that matches a call. */
export interface RateRule extends Charge {
  /** What the limit is of, for people and in headers; printable ASCII: `workspace`, `connector`, … */
  readonly name: string
}

export interface RateLimitOptions {
  readonly store: SharedStore
  /** The workspace. */
  readonly group: string
  /** All limits that match the call; those that are off are not among them. */
  readonly rules: readonly RateRule[]
  /** Told of every decision, also of a refusal: `states[i]` belongs to `rules[i]`. */
  readonly onCharged?: (rules: readonly RateRule[], states: readonly ChargeState[]) => void
  /** Told `rate_limits.<name>` of each shadow rule that would have refused the call. */
  readonly onWouldHave?: (rule: string) => void
}

/**
 * Charges all limits of a call in one step, or refuses it: `rate_limited`, nothing sent, with the exact wait. A
 * store that answers at once costs the call no turn of the event loop.
 */
export function rateLimit(options: RateLimitOptions): Stage {
  const { store, group, rules } = options
  if (rules.length === 0) return (scope, next) => next(scope)
  return (scope, next) => {
    const charged = store.charge(group, rules)
    return charged instanceof Promise
      ? charged.then((answer) => judged(options, answer, scope, next))
      : judged(options, charged, scope, next)
  }
}

function judged<T>(
  { rules, onCharged, onWouldHave }: RateLimitOptions,
  { allowed, states }: Charged,
  scope: CallScope,
  next: Next<T>,
): Promise<T> {
  onCharged?.(rules, states)
  for (let index = 0; index < rules.length; index += 1) {
    const rule = rules[index]
    if (rule?.enforced === false && states[index]?.allowed === false)
      onWouldHave?.(`rate_limits.${rule.name}`)
  }
  return allowed ? next(scope) : Promise.reject(refusal(rules, states))
}

/** The failure names the limit that keeps the call waiting longest: after that wait, all of them have room. */
function refusal(rules: readonly RateRule[], states: readonly ChargeState[]): CallFailure {
  const full = rules
    .map((rule, index) => {
      const { retryAfterMs: waitMs = 0, remaining = 0 } = states[index] ?? {}
      return { rule, waitMs, remaining }
    })
    .filter(({ rule, waitMs }) => rule.enforced && waitMs > 0)
    .sort((a, b) => b.waitMs - a.waitMs)
  const [longest] = full
  const fullLimits = full.map(({ rule: { name, limit }, remaining }) => ({
    name,
    remaining,
    refillMs: (limit.burst * limit.periodMs) / limit.permits,
  }))
  const names = full.map(({ rule }) => rule.name).join(', ')
  if (longest?.waitMs === Number.POSITIVE_INFINITY) {
    const { name, limit, cost } = longest.rule
    return new CallFailure({
      // No wait helps, so nothing may repeat it: only another policy or another cost does.
      class: 'permanent',
      kind: 'rate_limited',
      refusedBy: 'rate_limit',
      fullLimits,
      message: `The call costs ${cost} permits, and the rate limit of the ${name} lets at most ${limit.burst} through at once.`,
    })
  }
  const waitMs = longest?.waitMs ?? 0
  return new CallFailure({
    class: 'never_sent',
    kind: 'rate_limited',
    refusedBy: 'rate_limit',
    fullLimits,
    retryAfterMs: waitMs,
    message:
      full.length > 1
        ? `The rate limits of ${names} are used up; there is room again in ${waitMs} ms.`
        : `The rate limit of the ${names} (${inWords(longest?.rule.limit)}) is used up; there is room again in ${waitMs} ms.`,
  })
}

const inWords = (limit: RateLimit | undefined): string =>
  limit === undefined ? '' : `${limit.permits} per ${limit.periodMs} ms, ${limit.burst} at once`
