import type { Platform } from '../../platform/platform.ts'
import { purgeDueWorkspaces } from './purge.ts'
import type { Environment } from './workspaces.ts'

const EVERY_MS = 30_000

export interface WorkspaceCare {
  start(): void
  /** Resolves when nothing of it runs any more. */
  stop(): Promise<void>
}

/** Removes the workspaces whose grace is over. Any number of workers may do it at once. */
export function createWorkspaceCare(
  { db, log, clock }: Pick<Platform, 'db' | 'log' | 'clock'>,
  environment: Environment,
): WorkspaceCare {
  const stopping = new AbortController()
  let running: Promise<void> = Promise.resolve()

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        for (const slug of await purgeDueWorkspaces({ db, environment }, { stop: stopping.signal }))
          log.info({ workspace: slug }, 'a deleted workspace was removed')
      } catch (error) {
        log.warn({ err: error }, 'a deleted workspace could not be removed; tried again in half a minute')
      }
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
