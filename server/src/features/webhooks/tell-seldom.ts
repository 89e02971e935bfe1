import type { Clock } from '../../platform/clock.ts'

/** So many lines of one kind in one time; what comes beyond is counted and told with the next line. */
const WINDOW = { ms: 10_000, lines: 5 }
const MOST_KINDS = 1_000

/**
 * For log lines that strangers cause: undefined = do not write this one, else how many of its kind were not written
 * before it. Metrics have the exact numbers.
 */
export type TellSeldom = (kind: string) => number | undefined

export function createTellSeldom(clock: Pick<Clock, 'now'>): TellSeldom {
  const kinds = new Map<string, { until: number; lines: number; untold: number }>()
  return (kind) => {
    const now = clock.now()
    const held = kinds.get(kind)
    if (held && now < held.until && held.lines >= WINDOW.lines) {
      held.untold += 1
      return undefined
    }
    const inWindow = held !== undefined && now < held.until
    // Deleted first, so that the order of the map stays the order of age.
    kinds.delete(kind)
    const oldest = kinds.size >= MOST_KINDS ? kinds.keys().next().value : undefined
    if (oldest !== undefined) kinds.delete(oldest)
    kinds.set(kind, {
      until: inWindow ? held.until : now + WINDOW.ms,
      lines: inWindow ? held.lines + 1 : 1,
      untold: 0,
    })
    return held?.untold ?? 0
  }
}
