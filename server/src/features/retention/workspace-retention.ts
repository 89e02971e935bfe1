import type { Db } from '../../platform/db/db.ts'
import type { Queryable } from '../../platform/db/statement.ts'
import { type Change, recordAudit } from '../audit/audit.ts'
import { getWorkspace, type WorkspaceDeps } from '../workspaces/workspaces.ts'
import { clearDays, daysOfWorkspace, forgetTrim, setDays } from './retention.sql.ts'
import { type KeepDays, SUBJECTS, type Subject } from './subjects.ts'

export interface KeptDays {
  readonly subject: Subject
  readonly days: number
  /** Whether the workspace says so itself, or the hub for all. */
  readonly own: boolean
}

/** How long a workspace keeps what. */
export async function retentionOf(on: Queryable, tenantId: string, hub: KeepDays): Promise<KeptDays[]> {
  const own = new Map((await daysOfWorkspace(on, { tenantId })).map(({ subject, days }) => [subject, days]))
  return SUBJECTS.map((subject) => ({
    subject,
    days: own.get(subject) ?? hub[subject],
    own: own.has(subject),
  }))
}

export interface RetentionDeps {
  readonly db: Db
  readonly workspaces: WorkspaceDeps
  readonly hub: KeepDays
}

/**
 * Says how long a workspace keeps what; null = as the hub says. What is not named stays. Fewer days remove what is older
 * with the next run, for good. Errors: `not_found`.
 */
export async function setRetention(
  { db, workspaces, hub }: RetentionDeps,
  { id, days }: { readonly id: string; readonly days: Partial<Record<Subject, number | null>> },
  change: Change,
): Promise<KeptDays[]> {
  const { slug } = await getWorkspace(workspaces, id)
  return db.transaction(async (tx) => {
    const before = await retentionOf(tx, id, hub)
    for (const subject of SUBJECTS) {
      const wanted = days[subject]
      if (wanted === undefined) continue
      if (wanted === null) await clearDays(tx, { tenantId: id, subject })
      else await setDays(tx, { tenantId: id, subject, days: wanted })
      await forgetTrim(tx, { tenantId: id, subject })
    }
    const after = await retentionOf(tx, id, hub)
    await recordAudit(tx, {
      ...change,
      tenantId: id,
      action: 'workspace.retention_changed',
      object: `workspace:${slug}`,
      diff: after.flatMap(({ subject, days: now }, at) =>
        before[at]?.days === now
          ? []
          : [{ path: `/retention/${subject}`, before: before[at]?.days ?? null, after: now }],
      ),
    })
    return after
  })
}
