import type { Charge, ChargeState, RateLimit } from './stores/store.ts'

/**
 * Generic cell rate algorithm with burst and cost, as redis-cell has it. What is kept is how much of the limit is
 * in use and since when, so that nothing has to run when nobody calls.
 *
 * `debt` is in permits × period, in µs: one permit is `period`, and each µs pays back `permits`. So everything is
 * a whole number, and no rounding can let a call in too early or tell it to come back too early.
 */
export interface Debt {
  /** What is owed at `at`: 0 … burst × period. */
  debt: number
  /** In whole µs of the caller's clock. */
  at: number
  permits: number
  period: number
}

const US_PER_MS = 1_000

/** A limit that nobody has used. */
export const noDebt = (): Debt => ({ debt: 0, at: 0, permits: 1, period: 1 })

/** True when the limit is as if nobody had ever called. */
export const isPaid = (debt: Debt, nowUs: number): boolean => debt.debt <= (nowUs - debt.at) * debt.permits

/**
 * Brings the debt up to `nowUs`. A limit that has changed since keeps how many permits are in use, but at most its
 * whole burst: nobody waits by a limit that is gone. Time that goes back counts as no time.
 */
export function settleDebt(debt: Debt, limit: RateLimit, nowUs: number): void {
  const period = limit.periodMs * US_PER_MS
  if (nowUs > debt.at) {
    debt.debt = Math.max(0, debt.debt - (nowUs - debt.at) * debt.permits)
    debt.at = nowUs
  }
  if (debt.permits === limit.permits && debt.period === period && debt.debt <= limit.burst * period) return
  debt.debt = Math.min(Math.ceil((debt.debt / debt.period) * period), limit.burst * period)
  debt.permits = limit.permits
  debt.period = period
}

/** What a call leaves of the burst: never so much that its own cost has no room in what is left. */
export const reserveOf = ({ reserve = 0, limit, cost }: Pick<Charge, 'reserve' | 'limit' | 'cost'>): number =>
  Math.max(0, Math.min(reserve, limit.burst - cost))

/** Room for a call of `cost` permits that leaves `reserve` of the burst. `debt` must be settled. */
export const hasRoom = (debt: Debt, limit: RateLimit, cost: number, reserve = 0): boolean =>
  debt.debt + cost * debt.period <= (limit.burst - reserve) * debt.period

/** Takes `cost` permits. `debt` must be settled and have room. */
export function take(debt: Debt, cost: number): void {
  debt.debt += cost * debt.period
}

/**
 * The figures of a decision; `debt` must be settled, and taken from already if the call was charged. Waits are in
 * whole ms, rounded up: the call has room exactly then, and not a ms before.
 */
export function stateOf(
  debt: Debt,
  limit: RateLimit,
  cost: number,
  allowed: boolean,
  reserve = 0,
): ChargeState {
  const capacity = (limit.burst - reserve) * debt.period
  return {
    allowed,
    remaining: Math.max(0, Math.floor((capacity - debt.debt) / debt.period)),
    retryAfterMs: allowed ? 0 : waitMs(debt, debt.debt + cost * debt.period - capacity, cost > limit.burst),
    resetMs: waitMs(debt, debt.debt, false),
  }
}

const waitMs = (debt: Debt, owed: number, never: boolean): number =>
  never ? Number.POSITIVE_INFINITY : Math.ceil(owed / (debt.permits * US_PER_MS))
