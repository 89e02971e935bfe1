import type { Platform } from '../../platform/platform.ts'
import { forgetExpiredEvents } from './webhooks.ts'

const EVERY_MS = 60_000
/** Small enough to be over in a moment; what is left waits for the next time. */
const BATCH = 5_000

export interface InboxCare {
  start(): void
  /** Resolves when nothing of it runs any more. */
  stop(): Promise<void>
}

/** Forgets the dedupe keys of events that no provider sends again. Any number of workers may do it at once. */
export function createInboxCare({ db, log, clock }: Pick<Platform, 'db' | 'log' | 'clock'>): InboxCare {
  const stopping = new AbortController()
  let running: Promise<void> = Promise.resolve()

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await forgetExpiredEvents(db, BATCH).catch((error: unknown) =>
        log.warn({ err: error }, 'expired webhook keys could not be forgotten; tried again in a minute'),
      )
      await clock.sleep(EVERY_MS, stopping.signal).catch(() => undefined)
    }
  }

  return {
    start: () => {
      running = loop()
    },
    stop: () => {
      stopping.abort()
      return running
    },
  }
}
