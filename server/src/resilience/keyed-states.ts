/** States of one process, each under a group (a workspace) and a key in it. */
export interface KeyedStates<T> {
  /** The state of a key; a new one when there is none. */
  of(group: string, key: string): T
  /** The state of a key, if there is one. */
  find(group: string, key: string): T | undefined
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
 * A table that stays as small as what is in use. Every new state looks at two old ones and drops those that are
 * idle, so there is no timer and no long pause. An idle state must be equal to a new one for the caller. A busy
 * one is never dropped: it may count calls that are still in flight.
 */
export function keyedStates<T>(options: {
  readonly create: () => T
  readonly idle: (state: T) => boolean
}): KeyedStates<T> {
  const groups = new Map<string, Map<string, T>>()
  const ring: Entry<T>[] = []
  let hand = 0

  const look = () => {
    if (hand >= ring.length) hand = 0
    const entry = ring[hand]
    if (entry === undefined) return
    if (!options.idle(entry.state)) {
      hand += 1
      return
    }
    const last = ring.pop()
    // The last one takes the free place and is looked at next.
    if (last !== undefined && last !== entry) ring[hand] = last
    const group = groups.get(entry.group)
    group?.delete(entry.key)
    if (group?.size === 0) groups.delete(entry.group)
  }

  const add = (group: string, key: string): T => {
    for (let looks = 0; looks < LOOKS_PER_NEW; looks += 1) look()
    const state = options.create()
    let states = groups.get(group)
    if (states === undefined) {
      states = new Map()
      groups.set(group, states)
    }
    states.set(key, state)
    ring.push({ group, key, state })
    return state
  }

  return {
    of: (group, key) => groups.get(group)?.get(key) ?? add(group, key),
    find: (group, key) => groups.get(group)?.get(key),
    get size() {
      return ring.length
    },
  }
}
