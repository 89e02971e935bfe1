import { type Breaker, createBreaker } from '../../resilience/breaker.ts'
import { MIN_LEFT_MS } from '../../resilience/deadline.ts'
import { CallFailure } from '../../resilience/failure.ts'
import type { Health } from '../../resilience/health-of.ts'
import { decideRetry } from '../../resilience/retry.ts'
import { createRetryBudgets, type RetryAllowance } from '../../resilience/retry-budget.ts'
import { createMemoryStore } from '../../resilience/stores/memory.ts'
import type { LoggedCall } from '../execute/execute.ts'
import { rateRules } from '../guards/guards.ts'
import { attemptMsOf, callSchedule, type Policy } from './policy.ts'
import { breakerSettings, retryBudgetSettings } from './stage-settings.ts'
import { type Simulated, tally } from './tally.ts'
import { virtualTime } from './virtual-time.ts'

/** What a call runs under. */
export interface CallRules {
  readonly policy: Policy
  /** Of the connector itself: its operations share one breaker. */
  readonly connectorPolicy: Policy
  /** The operation may be repeated after an unclear end. */
  readonly repeatable: boolean
}

/** The middle of every random wait: a simulation gives the same answer each time. */
const MIDDLE = () => 0.5
const WORKSPACE = 'workspace'
/** A failure that is repeated as long as the policy lets it. */
const AGAIN = new CallFailure({ class: 'safe_to_repeat', kind: 'recorded', message: 'As the log tells.' })

/** Outcomes that are repeated as long as the policy lets them. */
const FAILED = new Set(['upstream_error', 'upstream_timeout'])

/** A call on its way through the simulation. */
interface Underway {
  readonly call: LoggedCall
  readonly rules: CallRules
  readonly startedAt: number
  readonly allowance: RetryAllowance
}

/**
 * Sends logged calls once more, at their times and with their recorded attempts, through the rules of policies: the
 * state machines that real calls go through. `rulesOf` gives undefined for calls that no policy applies to any more;
 * they are left out.
 *
 * What the log does not tell is not guessed: the attempts of a call count as equally long and their waits as a part
 * of them, so that only the attempt of a call with a single one can be slow or too long; attempts that were never
 * made have no answer (`repeated_further`, `not_known`); what a request asked for itself, its caller key, its cost, is
 * not there; bulkhead and load shedding are of one process, and left out.
 */
export function simulate(
  calls: readonly LoggedCall[],
  rulesOf: (call: LoggedCall) => CallRules | undefined,
): Simulated {
  const counts = tally()
  const time = virtualTime()
  const { clock } = time
  const store = createMemoryStore({ clock })
  const budgets = createRetryBudgets({ clock })
  const breakers = new Map<string, { readonly breaker: Breaker; shadow: boolean }>()

  const breakerOf = (connector: string, shadow: boolean): Breaker => {
    const known = breakers.get(connector)
    if (known) {
      known.shadow = shadow
      return known.breaker
    }
    const breaker = createBreaker({
      clock,
      random: MIDDLE,
      onChange: ({ to, openMs = 0, why }) => {
        if (to === 'open')
          counts.opened({ connector, at: clock.now(), forMs: openMs, why, shadow: kept.shadow })
      },
    })
    const kept = { breaker, shadow }
    breakers.set(connector, kept)
    return breaker
  }

  const arrive = (call: LoggedCall, rules: CallRules): void => {
    const { connector, requestId } = call
    const { policy } = rules
    counts.arrived()
    // Without a caller key, which the log does not know: the limit of the caller is left out.
    const limits = rateRules(policy, { connector, operation: call.operation })
    const { allowed, states } = store.charge(WORKSPACE, limits)
    for (const [index, { name, enforced }] of limits.entries())
      if (states[index]?.allowed === false) {
        counts.byLimit(name, enforced)
        if (!enforced) counts.shadow('limited', requestId)
      }
    if (!allowed) {
      counts.count('limited', requestId)
      return
    }
    const allowance = budgets.begin(WORKSPACE, connector, retryBudgetSettings(policy), () =>
      counts.shadow('given_up_earlier', requestId),
    )
    attempt({ call, rules, startedAt: clock.now(), allowance }, 1)
  }

  const attempt = (underway: Underway, number: number): void => {
    const { call, rules, allowance } = underway
    const { mode } = rules.connectorPolicy.breaker
    const settings = breakerSettings(rules.connectorPolicy, attemptMsOf(rules.policy))
    const breaker = breakerOf(call.connector, mode === 'shadow')
    const answer = mode === 'off' ? undefined : breaker.ask(settings)
    if (answer?.pass === false) {
      if (mode === 'enforce') {
        counts.count('refused_by_breaker', call.requestId)
        allowance.end(false)
        return
      }
      counts.shadow('refused_by_breaker', call.requestId)
    }
    const { ms, cut } = durationOf(underway, number, clock.now())
    if (number > 1) counts.count('retried', call.requestId)
    time.at(clock.now() + ms, () => {
      const health = healthOf(underway, number, ms, cut)
      // Of a call with several attempts no one knows how long each was: none of them is slow.
      if (answer?.pass) breaker.settle(answer.ticket, health, call.attempts === 1 ? ms : 0, settings)
      if (cut || (number === call.attempts && call.outcome === 'upstream_timeout'))
        counts.count('timed_out', call.requestId)
      if (call.attempts === 0) counts.count('not_known', call.requestId)
      if (cut || !follow(underway, number))
        allowance.end(!cut && call.outcome === 'ok' && number >= call.attempts)
    })
  }

  /** What a repetition costs. */
  const takePermits = ({ call, rules, allowance }: Underway): boolean => {
    const { connector, operation } = call
    const { allowed } = store.charge(WORKSPACE, rateRules(rules.policy, { connector, operation }))
    if (!allowed) allowance.giveBack()
    return allowed
  }

  /** Begins the attempt that follows one that was neither refused nor cut; false when there is none. */
  const follow = (underway: Underway, number: number): boolean => {
    const { call, rules, startedAt, allowance } = underway
    const last = number >= call.attempts
    if (last && !(rules.repeatable && FAILED.has(call.outcome))) return false
    const decision = decideRetry({
      failure: AGAIN,
      failedAttempts: number,
      schedule: callSchedule(rules.policy),
      random: MIDDLE,
    })
    const leftMs = startedAt + rules.policy.timeouts.total_ms - clock.now()
    const again = decision.again && decision.delayMs + MIN_LEFT_MS <= leftMs
    if (last) {
      if (again) counts.count('repeated_further', call.requestId)
      return false
    }
    if (again && allowance.tryTake('transient') && takePermits(underway)) {
      attempt(underway, number + 1)
      return true
    }
    counts.count('given_up_earlier', call.requestId)
    return false
  }

  const ordered = inOrder(calls)
  const next = (index: number): void => {
    const call = ordered[index]
    if (!call) return
    const rules = rulesOf(call)
    time.at(startOf(call), () => {
      if (rules) arrive(call, rules)
      next(index + 1)
    })
  }
  next(0)
  time.run()
  return counts.result()
}

const startOf = ({ endedAt, latencyMs }: LoggedCall): number => endedAt - latencyMs
const inOrder = (calls: readonly LoggedCall[]): LoggedCall[] =>
  [...calls].sort((one, other) => startOf(one) - startOf(other))

/** How long an attempt takes, and whether a time limit ends it. */
function durationOf(
  { call, rules, startedAt }: Underway,
  number: number,
  now: number,
): { readonly ms: number; readonly cut: boolean } {
  const { attempt_ms, total_ms } = rules.policy.timeouts
  if (call.attempts === 0) return { ms: 0, cut: false }
  // The end of the last one is known exactly.
  const ms =
    number === call.attempts ? call.latencyMs - (now - startedAt) : Math.round(call.latencyMs / call.attempts)
  const leftMs = startedAt + total_ms - now
  const limitMs = call.attempts === 1 ? Math.min(attempt_ms, leftMs) : leftMs
  return ms > limitMs ? { ms: Math.max(0, limitMs), cut: true } : { ms: Math.max(0, ms), cut: false }
}

/** What an attempt says about its upstream; the attempts of a failed call are taken to have failed alike. */
function healthOf({ call, rules }: Underway, number: number, ms: number, cut: boolean): Health {
  const { outcome, httpStatus, attempts } = call
  if (cut || outcome === 'upstream_timeout') {
    // As the real breaker has it: who gives the upstream little time learns nothing about it.
    const enough = cut || attempts === 1 ? ms >= attemptMsOf(rules.policy) / 2 : true
    return enough ? 'transport' : 'none'
  }
  if (outcome === 'ok') return number === attempts ? 'ok' : 'failed'
  if (outcome !== 'upstream_error' && outcome !== 'upstream_rejected') return 'none'
  if (httpStatus === 429) return 'busy'
  if (httpStatus === null) return outcome === 'upstream_error' ? 'transport' : 'none'
  return httpStatus >= 500 ? 'failed' : 'ok'
}
