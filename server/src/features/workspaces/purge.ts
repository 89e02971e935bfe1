/**
 * The end of a workspace whose grace is over. Its rows go in small steps, each a transaction of its own, so a crash costs
 * nothing: whoever comes next goes on. Which tables have rows of it the database itself knows (`workspace_table`).
 */
import { ownCall } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import { notify } from '../../platform/db/notifications.ts'
import { recordAudit } from '../audit/audit.ts'
import type { WorkspaceDeps } from './workspace.ts'
import { WORKSPACE_CHANNEL } from './workspace-directory.ts'
import { buryWorkspace, listToPurge, purgeRows } from './workspaces.sql.ts'

/** A step locks so many rows at most and is over in a moment. */
const ROWS_PER_STEP = 2_000

export interface Purged {
  /** Slugs of those that are gone now. */
  readonly buried: readonly string[]
  /** What could not be removed this time, and why: the next round tries it again. */
  readonly failed: readonly { readonly slug: string; readonly error: unknown }[]
}

/**
 * Purges every workspace of this environment whose time has come; one that fails does not hold up the others. Several at
 * once do no harm. Ends early when `stop` is aborted.
 */
export async function purgeDueWorkspaces(
  { db, environment }: WorkspaceDeps,
  { stop, rowsPerStep = ROWS_PER_STEP }: { readonly stop?: AbortSignal; readonly rowsPerStep?: number } = {},
): Promise<Purged> {
  const buried: string[] = []
  const failed: { slug: string; error: unknown }[] = []
  for (const due of await listToPurge(db, { environment }))
    try {
      if (await purgeWorkspace(db, due, rowsPerStep, stop)) buried.push(due.slug)
    } catch (error) {
      failed.push({ slug: due.slug, error })
    }
  return { buried, failed }
}

/** Whether this call has buried it. */
async function purgeWorkspace(
  db: Db,
  { id, slug }: { readonly id: string; readonly slug: string },
  rows: number,
  stop: AbortSignal | undefined,
): Promise<boolean> {
  while (stop?.aborted !== true) {
    const over = await db.transaction(async (tx) => {
      if ((await purgeRows(tx, { id, rows })).gone > 0) return 'more'
      // Another worker was faster.
      if ((await buryWorkspace(tx, { id })) === 0) return 'gone'
      await notify(tx, { channel: WORKSPACE_CHANNEL, payload: id })
      await recordAudit(tx, {
        tenantId: id,
        actor: 'system:worker',
        reason: 'the grace of the deletion is over',
        call: ownCall(),
        action: 'workspace.deleted',
        object: `workspace:${slug}`,
        diff: [{ path: '/status', before: 'deleting', after: 'deleted' }],
      })
      return 'buried'
    })
    if (over !== 'more') return over === 'buried'
  }
  return false
}
