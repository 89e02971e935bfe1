import type { Clock } from '../../platform/clock.ts'
import { hasRoom, isPaid, noDebt, reserveOf, settleDebt, stateOf, take } from '../gcra.ts'
import { keyedStates } from '../keyed-states.ts'
import type { Charge, Charged, SharedOpening, SharedStore } from './store.ts'

/** A `SharedStore` that answers at once: `charge` and `takeProbe` give no promise. */
export interface MemoryStore extends SharedStore {
  charge(group: string, charges: readonly Charge[]): Charged
  takeProbe(group: string, key: string, leaseMs: number): boolean
  /** How many limits, openings and probes are kept. */
  readonly size: number
}

/**
 * Limits that are in use at the same time. Beyond it some are forgotten: a few calls too many pass, but
 * callers who invent keys cannot fill the memory.
 */
const MAX_LIMITS = 250_000

/**
 * The store of a single Node process. All processes of `start all` share one, so that what one of them sees is
 * seen by all. It is as large as what is in use: a limit that is back at rest is dropped.
 */
export function createMemoryStore(options: {
  readonly clock: Clock
  readonly maxLimits?: number
}): MemoryStore {
  const { clock } = options
  // Whole µs: a ms would be too coarse for a limit of thousands per second.
  const nowUs = () => Math.floor(clock.monotonic() * 1_000)
  const limits = keyedStates({
    create: noDebt,
    idle: (debt) => isPaid(debt, nowUs()),
    atMost: options.maxLimits ?? MAX_LIMITS,
  })
  const openings = expiring<SharedOpening>(clock)
  const probes = expiring<true>(clock)
  const listeners = new Set<(opening: SharedOpening) => void>()

  const shareOpening = (opening: SharedOpening): void => {
    if (opening.forMs > 0) openings.keep(opening.group, opening.key, opening, opening.forMs)
    else openings.end(opening.group, opening.key)
    // Not at once: who shares must not run the code of who listens.
    for (const listener of listeners)
      queueMicrotask(() => {
        if (listeners.has(listener)) listener(opening)
      })
  }

  return {
    charge: (group, charges) => {
      const now = nowUs()
      let allowed = true
      const settled = charges.map((charge) => {
        const debt = limits.of(group, charge.key)
        settleDebt(debt, charge.limit, now)
        const reserve = charge.reserve ? reserveOf(charge) : 0
        const room = hasRoom(debt, charge.limit, charge.cost, reserve)
        if (charge.enforced && !room) allowed = false
        return { charge, debt, room, reserve }
      })
      const states = settled.map(({ charge, debt, room, reserve }) => {
        if (allowed && room) take(debt, charge.cost)
        return stateOf(debt, charge.limit, charge.cost, room, reserve)
      })
      limits.tidy()
      return { allowed, states }
    },

    shareOpening,
    onOpening: (listener) => {
      listeners.add(listener)
      return () => {
        listeners.delete(listener)
      }
    },
    opening: async (group, key) => {
      const found = openings.find(group, key)
      return found && { ...found.value, forMs: found.leftMs }
    },
    endOpening: (group, key) => shareOpening({ group, key, forMs: 0, why: '' }),

    takeProbe: (group, key, leaseMs) => {
      if (probes.find(group, key) !== undefined) return false
      probes.keep(group, key, true, leaseMs)
      return true
    },
    endProbe: probes.end,

    close: async () => listeners.clear(),
    get size() {
      return limits.size + openings.size + probes.size
    },
  }
}

/** Values that end by themselves. */
function expiring<T>(clock: Clock) {
  const states = keyedStates<{ kept?: { readonly value: T; readonly until: number } }>({
    create: () => ({}),
    idle: ({ kept }) => kept === undefined || kept.until <= clock.monotonic(),
  })
  return {
    keep: (group: string, key: string, value: T, forMs: number) => {
      states.tidy()
      states.of(group, key).kept = { value, until: clock.monotonic() + forMs }
    },
    find: (group: string, key: string) => {
      const kept = states.find(group, key)?.kept
      const leftMs = kept === undefined ? 0 : kept.until - clock.monotonic()
      return kept && leftMs > 0 ? { value: kept.value, leftMs } : undefined
    },
    end: (group: string, key: string) => {
      const state = states.find(group, key)
      if (state) delete state.kept
    },
    get size() {
      return states.size
    },
  }
}
