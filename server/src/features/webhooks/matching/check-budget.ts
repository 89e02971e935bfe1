import type { Clock } from '../../../platform/clock.ts'

/** What setting up an HMAC costs, in bytes that could be hashed in the same time. */
const PER_CHECK_BYTES = 2_048
/** Some milliseconds of hashing: what every request may cost, so that no flood keeps small genuine ones out. */
const ALWAYS_FREE_BYTES = 2 * 1_048_576

/** Bytes hashed by `checks` checks of a body: each secret hashes the whole of it. */
export const workOf = (checks: number, bodyBytes: number): number => checks * (bodyBytes + PER_CHECK_BYTES)

/** How many bytes of strangers' requests are hashed in a second, by key. */
export interface CheckBudget {
  /** True = the work may be done, and is charged. */
  take(key: string, bytes: number): boolean
  /** The same, but work of a few milliseconds is always allowed and charges nothing. */
  takeUnlessSmall(key: string, bytes: number): boolean
}

/**
 * What is left over is kept for one second. Whoever takes more than is left goes into debt, so that a single large
 * request finds its way, and those after it wait until the debt is paid.
 */
export function createCheckBudget(clock: Pick<Clock, 'now'>, bytesPerSecond: number): CheckBudget {
  const accounts = new Map<string, { left: number; at: number }>()
  const take: CheckBudget['take'] = (key, bytes) => {
    const now = clock.now()
    const account = accounts.get(key) ?? { left: bytesPerSecond, at: now }
    accounts.set(key, account)
    const earned = (Math.max(0, now - account.at) / 1_000) * bytesPerSecond
    account.left = Math.min(bytesPerSecond, account.left + earned)
    account.at = now
    if (account.left <= 0) return false
    account.left -= bytes
    return true
  }
  return { take, takeUnlessSmall: (key, bytes) => bytes <= ALWAYS_FREE_BYTES || take(key, bytes) }
}
