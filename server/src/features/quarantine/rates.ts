import type { Clock } from '../../platform/clock.ts'
import { hasRoom, isPaid, noDebt, settleDebt, take } from '../../resilience/gcra.ts'
import { keyedStates } from '../../resilience/keyed-states.ts'

/** So many per second on average, and `burst` at once after a rest. */
export interface Rate {
  readonly permits: number
  readonly periodMs: number
  readonly burst: number
}

/** Limits of one process, each under a key. */
export interface Rates {
  /** Takes one of each limit, or nothing when one of them has none left. */
  take(limits: Readonly<Record<string, Rate>>): boolean
}

const US_PER_MS = 1_000
/** Keys hold nothing that a sender chooses freely; this is for what nobody has thought of. */
const MAX_KEYS = 10_000

export function createRates(clock: Pick<Clock, 'monotonic'>): Rates {
  const nowUs = () => Math.floor(clock.monotonic() * US_PER_MS)
  const debts = keyedStates({ create: noDebt, idle: (debt) => isPaid(debt, nowUs()), atMost: MAX_KEYS })
  return {
    take: (limits) => {
      debts.tidy()
      const now = nowUs()
      const due = Object.entries(limits).map(([key, limit]) => {
        const debt = debts.of('', key)
        settleDebt(debt, limit, now)
        return { debt, limit }
      })
      if (!due.every(({ debt, limit }) => hasRoom(debt, limit, 1))) return false
      for (const { debt } of due) take(debt, 1)
      return true
    },
  }
}
