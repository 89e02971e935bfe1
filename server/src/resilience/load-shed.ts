import type { Clock } from '../platform/clock.ts'

/**
 * Classes of work. `low`, `default` and `critical` are calls by the priority of their policy; `read` are questions
 * of people and dashboards; `ingress` are webhooks, which a provider may not send again.
 */
export type Work = 'low' | 'default' | 'critical' | 'read' | 'ingress'

/**
 * What is shed:
 * 0 nothing · 1 low · 2 default and reads, too · 3 critical, too · 4 everything
 */
export type ShedLevel = 0 | 1 | 2 | 3 | 4

/** From this level on a class is shed. */
const SHED_FROM: Readonly<Record<Work, ShedLevel>> = {
  low: 1,
  default: 2,
  read: 2,
  critical: 3,
  ingress: 4,
}

/**
 * The delay of the event loop in ms at which each level begins. 200 ms is research/resilience-security.md §1 ("Load
 * shedding"); each further level begins at the double. The delay alone decides: a node at full use that answers in
 * time harms nobody, so event-loop utilization is no reason to refuse work.
 */
export const SHED_AT_MS = [0, 200, 400, 800, 1_600] as const
/** A level ends when the delay has been below half of what begins it for so long. */
export const SHED_HOLD_MS = 3_000

export interface ShedState {
  readonly level: ShedLevel
  readonly lastDelayMs: number
  /** Since when the delay has been low enough for the next lower level; undefined while it is not. */
  readonly calmSince: number | undefined
}

export const CALM: ShedState = { level: 0, lastDelayMs: 0, calmSince: undefined }

/**
 * What follows from one more reading. Two readings in a row must be high: one long turn (a collection, a large
 * answer) is over when it is seen, and refusing work would not undo it. It goes up to the level of the lower of
 * the two at once, and down by one level at a time, each after `SHED_HOLD_MS` of calm. So it cannot flap faster
 * than the hold, and what is let in again comes back class by class.
 */
export function nextShedState(state: ShedState, delayMs: number, nowMs: number): ShedState {
  const reached = levelOf(Math.min(delayMs, state.lastDelayMs))
  if (reached > state.level) return { level: reached, lastDelayMs: delayMs, calmSince: undefined }
  if (state.level === 0 || delayMs >= SHED_AT_MS[state.level] / 2)
    return { level: state.level, lastDelayMs: delayMs, calmSince: undefined }
  const calmSince = state.calmSince ?? nowMs
  return nowMs - calmSince < SHED_HOLD_MS
    ? { level: state.level, lastDelayMs: delayMs, calmSince }
    : { level: (state.level - 1) as ShedLevel, lastDelayMs: delayMs, calmSince: nowMs }
}

function levelOf(delayMs: number): ShedLevel {
  if (delayMs >= SHED_AT_MS[4]) return 4
  if (delayMs >= SHED_AT_MS[3]) return 3
  if (delayMs >= SHED_AT_MS[2]) return 2
  return delayMs >= SHED_AT_MS[1] ? 1 : 0
}

/** True when work of this class is taken at this level. */
export const takes = (level: ShedLevel, work: Work): boolean => level < SHED_FROM[work]

/** The shedding of one Node process: all its servers share the thread, so they share the level. */
export interface LoadShed {
  /** To be called with every reading of the event loop's delay. */
  heard(delayMs: number): void
  /**
   * True when work of this class is taken. A shadow rule always takes it, and tells `onWouldHave('load_shedding')`
   * when it would not have.
   */
  takes(work: Work, mode?: 'enforce' | 'shadow' | 'off', onWouldHave?: (rule: string) => void): boolean
  readonly level: ShedLevel
  /** For Retry-After: no class comes back earlier. */
  readonly retryAfterMs: number
}

export function createLoadShed(options: {
  readonly clock: Clock
  /** Told of every change of the level, for logs and metrics. */
  readonly onLevel?: (level: ShedLevel, delayMs: number) => void
  /** Told of every refusal. */
  readonly onRefused?: (work: Work) => void
}): LoadShed {
  let state = CALM
  return {
    heard: (delayMs) => {
      const { level } = state
      state = nextShedState(state, delayMs, options.clock.monotonic())
      if (state.level !== level) options.onLevel?.(state.level, delayMs)
    },
    takes: (work, mode = 'enforce', onWouldHave) => {
      if (mode === 'off' || takes(state.level, work)) return true
      if (mode === 'enforce') {
        options.onRefused?.(work)
        return false
      }
      onWouldHave?.('load_shedding')
      return true
    },
    get level() {
      return state.level
    },
    retryAfterMs: SHED_HOLD_MS,
  }
}
