import type { Clock } from './clock.ts'

export interface RepeatedWork {
  /** Begins with a round at once; more calls change nothing. */
  start(): void
  /** Lets the round that runs end and begins no other. */
  stop(): Promise<void>
}

/** Does the same again and again, with a rest of `everyMs` between two rounds. A round that fails is told and tried again. */
export function repeatedWork(options: {
  readonly clock: Clock
  readonly everyMs: number
  /** One round; the signal says that the process stops. */
  readonly work: (stopping: AbortSignal) => Promise<unknown>
  readonly failed: (error: unknown) => void
}): RepeatedWork {
  const { clock, everyMs, work, failed } = options
  const stopping = new AbortController()
  let running: Promise<void> | undefined

  const rounds = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await work(stopping.signal).catch(failed)
      // A rest that is cut short ends the loop, nothing else.
      await clock.sleep(everyMs, stopping.signal).catch(() => undefined)
    }
  }
  return {
    start: () => {
      running ??= rounds()
    },
    stop: async () => {
      stopping.abort()
      await running
    },
  }
}
