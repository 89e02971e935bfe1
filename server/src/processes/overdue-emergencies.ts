/** Tells of emergency sessions that ran out of time, while the hub runs. Wiring only. */
import { endOverdueSessions } from '../features/break-glass/break-glass.ts'
import type { Environment } from '../features/workspaces/workspaces.ts'
import type { Clock } from '../platform/clock.ts'
import type { Db } from '../platform/db/db.ts'
import type { Log } from '../platform/log.ts'

/** So late at most is the end of a session told. Its tokens have ended long before. */
const EVERY_MS = 30_000

export interface EmergencyCare {
  start(): void
  stop(): Promise<void>
}

export function createEmergencyCare(on: {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly environment: Environment
}): EmergencyCare {
  const stopping = new AbortController()
  let running: Promise<void> | undefined

  const work = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      await endOverdueSessions(on.db, on.environment).catch((error: unknown) =>
        on.log.warn({ err: error }, 'the end of an emergency session could not be told; it is tried again'),
      )
      await on.clock.sleep(EVERY_MS, stopping.signal).catch(() => undefined)
    }
  }
  return {
    start: () => {
      running ??= work()
    },
    stop: async () => {
      stopping.abort()
      await running
    },
  }
}
