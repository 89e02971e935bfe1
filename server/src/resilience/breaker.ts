import type { Clock, Random } from '../platform/clock.ts'
import { breakerWindow } from './breaker-window.ts'
import type { Health } from './health-of.ts'

/** When a breaker opens, for how long, and how it closes. Rates are shares from 0 (not included) to 1. */
export interface BreakerSettings {
  /** So many transport errors in a row open it. */
  readonly consecutiveFailures: number
  /** The share of failed calls in the window that opens it. */
  readonly failureRate: number
  /** The share of slow calls in the window that opens it. */
  readonly slowRate: number
  readonly slowCallMs: number
  /** With fewer calls in the window no rate opens it. */
  readonly minCalls: number
  readonly windowMs: number
  /** The first opening; each one that follows without a closing lasts twice as long as the one before. */
  readonly openMs: number
  readonly openCapMs: number
  /**
   * So many calls, one at a time, decide what comes after an opening. So many in a row that say nothing about the
   * upstream count as one that failed: it must not probe for ever.
   */
  readonly probes: number
  /** The share of healthy probes that closes it. */
  readonly closeRate: number
  /** How long an attempt of this call may take by the policy of its operation. A probe that has not ended long after it is given up. */
  readonly attemptMs: number
}

export type BreakerState = 'closed' | 'open' | 'half_open'

/** A change of state; `openMs` is how long it is open now, when it is. */
export interface BreakerChange {
  readonly from: BreakerState
  readonly to: BreakerState
  readonly why: string
  readonly openMs?: number
}

/**
 * What a breaker says to a call. Whoever gets a `ticket` must hand it to `settle` once. `probe` is true when
 * the call decides whether the breaker closes.
 */
export type BreakerAnswer =
  | { readonly pass: true; readonly probe: boolean; readonly ticket: number }
  | { readonly pass: false; readonly retryAfterMs: number; readonly why: string }

export interface Breaker {
  readonly state: BreakerState
  /** Why it is in this state; empty when it never changed. */
  readonly why: string
  /** Until an open one lets a probe pass; 0 when it is not open or its time is over. */
  openForMs(): number
  ask(settings: BreakerSettings): BreakerAnswer
  /** How the call with this ticket ended. What began before the last change of state says nothing any more. */
  settle(ticket: number, health: Health, durationMs: number, settings: BreakerSettings): void
  /** The probe with this ticket was not made. */
  giveBack(ticket: number): void
  /** Opens it because somebody else knows. An open one stays so at least as long. */
  openFor(ms: number, why: string): void
  /** Closes it and forgets what was counted. */
  close(why: string): void
  /** Nobody would notice if it were forgotten. */
  readonly idle: boolean
}

/** How long a call should wait that was refused because a probe is under way. */
const PROBE_WAIT_MS = 1_000
const JITTER = 0.2
/** Shares are decimal fractions: 0.55 × 20 must be 11. */
const ROUNDING = 1e-9

/** How long a probe may take until another one is let through. */
export const probeLeaseMs = (settings: BreakerSettings): number => settings.attemptMs + 1_000

/**
 * A circuit breaker without I/O. Closed: calls pass and are counted. Open: calls are refused until the time is
 * over. Half open: one call at a time passes as a probe; as soon as enough were healthy it closes, as soon as
 * they cannot be any more it opens again, for twice as long.
 */
export function createBreaker(deps: {
  readonly clock: Clock
  readonly random: Random
  readonly onChange: (change: BreakerChange) => void
}): Breaker {
  const { clock, random, onChange } = deps
  const window = breakerWindow()
  let state: BreakerState = 'closed'
  let why = ''
  /** Tickets of an earlier state are void. */
  let ticket = 0
  let passing: BreakerAnswer = { pass: true, probe: false, ticket }
  let consecutive = 0
  /** Openings since it was closed last. */
  let openings = 0
  let openUntil = 0
  let probing = false
  let probeEndsAt = 0
  let healthy = 0
  let unhealthy = 0
  /** Probes in a row that said nothing. */
  let undecided = 0

  const become = (to: BreakerState, because: string, openMs?: number) => {
    const from = state
    state = to
    why = because
    ticket += 1
    passing = { pass: true, probe: false, ticket }
    consecutive = 0
    probing = false
    healthy = 0
    unhealthy = 0
    undecided = 0
    window.clear()
    if (to === 'closed') openings = 0
    if (to === 'open') {
      openings += 1
      openUntil = clock.monotonic() + (openMs ?? 0)
    }
    onChange({ from, to, why, ...(openMs !== undefined && { openMs }) })
  }

  const open = (because: string, { openMs, openCapMs }: BreakerSettings) => {
    const full = Math.min(openCapMs, openMs * 2 ** openings)
    become('open', because, Math.round(full * (1 - JITTER + 2 * JITTER * random())))
  }

  const settleProbe = (health: Health, slow: boolean, settings: BreakerSettings) => {
    probing = false
    const { probes, closeRate } = settings
    undecided = health === 'none' ? undecided + 1 : 0
    if (undecided > 0 && undecided < probes) return
    undecided = 0
    // That it has no room shows that it lives; its pace has rules of its own.
    if ((health === 'ok' || health === 'busy') && !slow) healthy += 1
    else unhealthy += 1
    const needed = Math.max(1, Math.ceil(closeRate * probes - ROUNDING))
    if (healthy >= needed) become('closed', `${healthy} of ${healthy + unhealthy} probes were healthy`)
    else if (unhealthy > probes - needed)
      open(`${unhealthy} of ${healthy + unhealthy} probes failed, were slow or said nothing`, settings)
  }

  const settleCall = (health: Health, slow: boolean, settings: BreakerSettings) => {
    if (health === 'none' || health === 'busy') return
    consecutive = health === 'transport' ? consecutive + 1 : 0
    const seen = window.add(clock.monotonic(), settings.windowMs, { failed: health !== 'ok', slow })
    if (consecutive >= settings.consecutiveFailures) {
      open(`${consecutive} calls in a row did not get through`, settings)
    } else if (seen.calls >= settings.minCalls) {
      const limit = seen.calls - ROUNDING
      const seconds = settings.windowMs / 1_000
      if (seen.failed > 0 && seen.failed >= settings.failureRate * limit)
        open(`${seen.failed} of ${seen.calls} calls failed within ${seconds} s`, settings)
      else if (seen.slow > 0 && seen.slow >= settings.slowRate * limit)
        open(`${seen.slow} of ${seen.calls} calls were slow within ${seconds} s`, settings)
    }
  }

  const openForMs = () => (state === 'open' ? Math.max(0, openUntil - clock.monotonic()) : 0)

  return {
    get state() {
      return state
    },
    get why() {
      return why
    },
    get idle() {
      return state === 'closed'
    },
    openForMs,
    ask: (settings) => {
      if (state === 'closed') return passing
      const now = clock.monotonic()
      if (state === 'open') {
        if (now < openUntil) return { pass: false, retryAfterMs: openUntil - now, why }
        become('half_open', 'the time is over, probes decide')
      }
      if (probing && now < probeEndsAt)
        return { pass: false, retryAfterMs: PROBE_WAIT_MS, why: 'a probe is under way' }
      // A number of its own: a probe that was given up must not end the next one.
      ticket += 1
      probing = true
      probeEndsAt = now + probeLeaseMs(settings)
      return { pass: true, probe: true, ticket }
    },
    settle: (given, health, durationMs, settings) => {
      if (given !== ticket || state === 'open') return
      const slow = durationMs >= settings.slowCallMs
      if (state === 'half_open') settleProbe(health, slow, settings)
      else settleCall(health, slow, settings)
    },
    giveBack: (given) => {
      if (given === ticket && state === 'half_open') probing = false
    },
    openFor: (ms, because) => {
      if (state === 'open') openUntil = Math.max(openUntil, clock.monotonic() + ms)
      else become('open', because, ms)
    },
    close: (because) => {
      if (state === 'closed') {
        consecutive = 0
        window.clear()
      } else become('closed', because)
    },
  }
}
