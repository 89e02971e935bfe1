/**
 * The end of a workspace whose grace is over. Its rows go in small steps, each a transaction of its own, so a crash costs
 * nothing: whoever comes next goes on. Which tables have rows of it the database itself knows (`workspace_table`).
 */
import type { CallContext } from '../../platform/call-context.ts'
import { notify } from '../../platform/db/notifications.ts'
import { newId } from '../../platform/ids.ts'
import { recordAudit } from '../audit/audit.ts'
import type { WorkspaceDeps } from './workspace.ts'
import { WORKSPACE_CHANNEL } from './workspace-directory.ts'
import { buryWorkspace, listToPurge, purgeRows } from './workspaces.sql.ts'

/** A step locks so many rows at most and is over in a moment. */
const ROWS_PER_STEP = 2_000

const ownCall = (): CallContext => {
  const id = newId()
  return { requestId: id, correlationId: id, traceId: id.replaceAll('-', ''), traceparent: '' }
}

/**
 * Purges every workspace of this environment whose time has come; gives those that are gone now. Several at once do
 * no harm. Ends early when `stop` is aborted.
 */
export async function purgeDueWorkspaces(
  { db, environment }: WorkspaceDeps,
  { stop, rowsPerStep = ROWS_PER_STEP }: { readonly stop?: AbortSignal; readonly rowsPerStep?: number } = {},
): Promise<string[]> {
  const buried: string[] = []
  for (const { id, slug } of await listToPurge(db, { environment }))
    for (;;) {
      if (stop?.aborted) return buried
      const over = await db.transaction(async (tx) => {
        if ((await purgeRows(tx, { id, rows: rowsPerStep })).gone > 0) return 'more'
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
      if (over === 'buried') buried.push(slug)
      if (over !== 'more') break
    }
  return buried
}
