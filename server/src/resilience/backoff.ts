import type { Random } from '../platform/clock.ts'

/** How long to wait between the attempts of one piece of work, and how many there are. */
export type BackoffSchedule =
  | {
      readonly kind: 'exponential'
      /** The first attempt included. */
      readonly maxAttempts: number
      readonly baseMs: number
      readonly factor: number
      readonly capMs: number
    }
  /** `delaysMs[i]` is the wait before attempt i + 1: as many attempts as entries, the first entry is 0. */
  | { readonly kind: 'table'; readonly delaysMs: readonly number[] }

const TABLE_JITTER = 0.2

/**
 * The wait in ms after the `failedAttempts`-th failed attempt (1 or more); undefined when no attempt is left.
 *
 * Exponential waits have full jitter, uniform in [0, min(cap, base·factor^(n-1))): callers that failed
 * together must not come back together, and full jitter spreads them best (AWS retry standard, 2026). Waits of
 * a table are meant as they stand, so they get only ±20 %.
 */
export function backoffDelay(
  schedule: BackoffSchedule,
  failedAttempts: number,
  random: Random,
): number | undefined {
  if (schedule.kind === 'table') {
    const delay = schedule.delaysMs[failedAttempts]
    return delay === undefined
      ? undefined
      : Math.round(delay * (1 - TABLE_JITTER + 2 * TABLE_JITTER * random()))
  }
  if (failedAttempts >= schedule.maxAttempts) return undefined
  const ceiling = Math.min(schedule.capMs, schedule.baseMs * schedule.factor ** (failedAttempts - 1))
  return Math.floor(ceiling * random())
}

/** How many attempts a schedule allows, the first one included. */
export const attemptsOf = (schedule: BackoffSchedule): number =>
  schedule.kind === 'table' ? schedule.delaysMs.length : schedule.maxAttempts
