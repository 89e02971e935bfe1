import type { Clock } from '../platform/clock.ts'

/** Lets a loop sleep until something happens or a time has passed. Remembers one ring while nobody waits. */
export interface Latch {
  ring(): void
  wait(ms: number): Promise<void>
}

export function createLatch(clock: Clock): Latch {
  let rung = false
  let waiting: AbortController | undefined
  return {
    ring: () => {
      rung = true
      waiting?.abort()
    },
    wait: async (ms) => {
      if (!rung) {
        waiting = new AbortController()
        await clock.sleep(ms, waiting.signal).catch(() => undefined)
        waiting = undefined
      }
      rung = false
    },
  }
}
