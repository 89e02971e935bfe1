import { createRetention, retentionMetrics } from '../../platform/db/retention.ts'
import type { Platform } from '../../platform/platform.ts'
import { pruneAudit } from '../audit/audit.ts'
import { readOwnDays } from './keep-days.ts'
import { currentRules } from './rules.ts'
import type { KeepDays } from './subjects.ts'
import { trimAll } from './trim.ts'

/**
 * One run of retention: drops the days that nobody keeps any more, takes rows of workspaces that keep less out of those
 * that stay, and shortens audit logs. Runs at the same time do no harm.
 */
export function createRetentionRun(
  { db, log, clock, metrics }: Pick<Platform, 'db' | 'log' | 'clock' | 'metrics'>,
  hub: KeepDays,
) {
  const dropDays = createRetention({ db, log, metrics, clock, rules: () => currentRules(db, hub) })
  const { removed } = retentionMetrics(metrics)
  return async (stop?: AbortSignal) => {
    const days = await dropDays(stop)
    const own = await readOwnDays(db)
    const rows = new Map<string, number>(await trimAll(db, { hub, own }, stop))
    rows.set('audit', await pruneAudit(db, { days: hub.audit }, stop))
    for (const [subject, count] of rows) if (count > 0) removed.inc({ subject }, count)
    return { days, rows }
  }
}
