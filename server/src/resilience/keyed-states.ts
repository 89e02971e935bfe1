/** States of one process, each under a group (a workspace) and a key in it. */
export interface KeyedStates<T> {
  /** The state of a key; a new one when there is none. */
  of(group: string, key: string): T
  /** The state of a key, if there is one. */
  find(group: string, key: string): T | undefined
  /** All states of a group by their keys. */
  inGroup(group: string): ReadonlyMap<string, T>
  /**
   * Drops idle states, two looks for each new one since the last time. Call it once per operation, when no idle
   * state is in hand: `of` itself drops nothing, because it could drop what it gave a moment ago.
   */
  tidy(): void
  readonly size: number
}

interface Entry<T> {
  readonly group: string
  readonly key: string
  readonly state: T
}

/** Two for every new one: the whole table is seen before it has grown by half. */
const LOOKS_PER_NEW = 2

/**
 * A table that stays as small as what is in use, without a timer and without a long pause. An idle state must be
 * equal to a new one for the caller. A busy one is kept, because it may count calls that are still in flight;
 * only where the caller says `atMost` is it dropped when the table is full, unless the caller `mustKeep` it.
 */
export function keyedStates<T>(options: {
  readonly create: (group: string, key: string) => T
  readonly idle: (state: T) => boolean
  readonly atMost?: number
  readonly mustKeep?: (state: T) => boolean
}): KeyedStates<T> {
  const { create, idle, atMost = Number.POSITIVE_INFINITY, mustKeep = () => false } = options
  const groups = new Map<string, Map<string, T>>()
  const ring: Entry<T>[] = []
  let hand = 0
  let looksDue = 0

  const look = () => {
    if (hand >= ring.length) hand = 0
    const entry = ring[hand]
    if (entry === undefined) return
    if (!idle(entry.state) && (ring.length <= atMost || mustKeep(entry.state))) {
      hand += 1
      return
    }
    // The last one takes the free place and is looked at next.
    const last = ring.pop()
    if (last !== undefined && last !== entry) ring[hand] = last
    const states = groups.get(entry.group)
    states?.delete(entry.key)
    if (states?.size === 0) groups.delete(entry.group)
  }

  const add = (group: string, key: string): T => {
    const state = create(group, key)
    let states = groups.get(group)
    if (states === undefined) {
      states = new Map()
      groups.set(group, states)
    }
    states.set(key, state)
    ring.push({ group, key, state })
    looksDue += LOOKS_PER_NEW
    return state
  }

  return {
    of: (group, key) => groups.get(group)?.get(key) ?? add(group, key),
    find: (group, key) => groups.get(group)?.get(key),
    inGroup: (group) => groups.get(group) ?? new Map<string, T>(),
    tidy: () => {
      for (; looksDue > 0; looksDue -= 1) look()
    },
    get size() {
      return ring.length
    },
  }
}
