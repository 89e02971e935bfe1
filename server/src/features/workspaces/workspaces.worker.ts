import type { Platform } from '../../platform/platform.ts'
import { type RepeatedWork, repeatedWork } from '../../platform/repeated-work.ts'
import { purgeDueWorkspaces } from './purge.ts'
import type { Environment } from './workspaces.ts'

const EVERY_MS = 30_000
const NOT_REMOVED = 'a deleted workspace could not be removed; tried again in half a minute'

/** Removes the workspaces whose grace is over. Any number of workers may do it at once. */
export function createWorkspaceCare(
  { db, log, clock, metrics }: Pick<Platform, 'db' | 'log' | 'clock' | 'metrics'>,
  environment: Environment,
): RepeatedWork {
  const stuck = metrics.gauge(
    'workspace_purges_failed',
    'Deleted workspaces whose data could not be removed in the last round',
  )
  return repeatedWork({
    clock,
    everyMs: EVERY_MS,
    work: async (stop) => {
      const { buried, failed } = await purgeDueWorkspaces({ db, environment }, { stop })
      for (const workspace of buried) log.info({ workspace }, 'a deleted workspace was removed')
      stuck.set(failed.length)
      for (const { slug: workspace, error: err } of failed) log.error({ workspace, err }, NOT_REMOVED)
    },
    failed: (err) =>
      log.warn({ err }, 'deleted workspaces could not be looked for; tried again in half a minute'),
  })
}
