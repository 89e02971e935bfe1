import type { Clock, Random } from '../platform/clock.ts'
import type { Log } from '../platform/log.ts'
import { createLatch } from './latch.ts'

export interface LoopOptions {
  readonly name: string
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** One round; gives the milliseconds until the next one. */
  work(): Promise<number>
}

export interface Loop {
  /** Starts the next round now, or as soon as the running one has ended. */
  ring(): void
  /** Lets the running round end and starts no other. */
  stop(): Promise<void>
}

const FIRST_BACKOFF_MS = 100
const LAST_BACKOFF_MS = 5_000

/** Pause after the n-th failure in a row: doubling, capped, with jitter so that nodes do not return as a herd. */
export const backoffMs = (failures: number, random: Random): number =>
  Math.min(LAST_BACKOFF_MS, FIRST_BACKOFF_MS * 2 ** (failures - 1)) * (0.5 + random() / 2)

/** Runs a round of background work for ever. A failed round is logged and tried again: nothing ends the loop but `stop`. */
export function startLoop({ name, clock, random, log, work }: LoopOptions): Loop {
  const latch = createLatch(clock)
  let stopping = false
  const rounds = async (): Promise<void> => {
    let failures = 0
    while (!stopping) {
      let pauseMs: number
      try {
        pauseMs = await work()
        failures = 0
      } catch (err) {
        failures += 1
        pauseMs = backoffMs(failures, random)
        log.warn({ err, loop: name, failures }, 'background work of the queue failed and will be tried again')
      }
      await latch.wait(pauseMs)
    }
  }
  const running = rounds()
  return {
    ring: () => latch.ring(),
    stop: () => {
      stopping = true
      latch.ring()
      return running
    },
  }
}
