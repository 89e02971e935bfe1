import type { Platform } from '../../platform/platform.ts'
import { purgeDueWorkspaces } from './purge.ts'
import type { Environment } from './workspaces.ts'

const EVERY_MS = 30_000
const NOT_REMOVED = 'a deleted workspace could not be removed; tried again in half a minute'

export interface WorkspaceCare {
  start(): void
  /** Resolves when nothing of it runs any more. */
  stop(): Promise<void>
}

/** Removes the workspaces whose grace is over. Any number of workers may do it at once. */
export function createWorkspaceCare(
  { db, log, clock, metrics }: Pick<Platform, 'db' | 'log' | 'clock' | 'metrics'>,
  environment: Environment,
): WorkspaceCare {
  const stopping = new AbortController()
  const stuck = metrics.gauge(
    'workspace_purges_failed',
    'Deleted workspaces whose data could not be removed in the last round',
  )
  let running: Promise<void> = Promise.resolve()

  const loop = async (): Promise<void> => {
    while (!stopping.signal.aborted) {
      try {
        const { buried, failed } = await purgeDueWorkspaces({ db, environment }, { stop: stopping.signal })
        for (const workspace of buried) log.info({ workspace }, 'a deleted workspace was removed')
        stuck.set(failed.length)
        for (const { slug: workspace, error: err } of failed) log.error({ workspace, err }, NOT_REMOVED)
      } catch (error) {
        log.warn({ err: error }, 'deleted workspaces could not be looked for; tried again in half a minute')
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
