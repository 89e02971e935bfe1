/**
 * How long what is kept: defaults of the hub, and of each workspace what it says instead (docs/decisions/0026).
 *
 * Invariants. A day of history is dropped only when no workspace keeps it any more, and never while something in it is
 * not over; what may hold a day is said by those who own its rows. Every partitioned table has its place in one of
 * the rules. A workspace that keeps less than others has its rows taken out of the days that stay.
 */

import type { Db } from '../../platform/db/db.ts'
import { previewRetention } from '../../platform/db/retention.ts'
import { longest, type OwnDays, readOwnDays } from './keep-days.ts'
import { countOld, countRows } from './retention.sql.ts'
import { retentionRules } from './rules.ts'
import type { KeepDays, Subject } from './subjects.ts'
import { daysToTrim } from './trim.ts'

export { retentionRules } from './rules.ts'
export { createRetentionRun } from './run-retention.ts'
export { type KeepDays, SUBJECTS, type Subject } from './subjects.ts'
export { type KeptDays, retentionOf, setRetention } from './workspace-retention.ts'

/** The work that one worker has taken on for all: its name among the leaders. */
export const LEADER = 'retention'

export interface RetentionPreview {
  /** Days of history that are past their time for everybody. */
  readonly days: readonly {
    readonly tables: readonly string[]
    readonly day: string
    readonly bytes: number
    /** Why it stays all the same; null = a run drops it. */
    readonly heldBy: string | null
  }[]
  /** Rows of workspaces that keep less than the day stays; jobs among them that are not over stay. */
  readonly rows: readonly {
    readonly tenantId: string
    readonly subject: Subject
    readonly day: string
    readonly rows: number
  }[]
  /** Dead letters that go into the bin. */
  readonly deadLetters: number
  readonly auditEntries: number
}

/** What a run would do now. Changes nothing, takes no locks. */
export async function previewRun(db: Db, hub: KeepDays): Promise<RetentionPreview> {
  const own: OwnDays = await readOwnDays(db)
  const days = await previewRetention(db, retentionRules(longest(hub, own)))
  const rows: RetentionPreview['rows'][number][] = []
  for await (const at of daysToTrim(db, hub, own)) {
    const counted = await countRows(db, at)
    if (counted && counted.rows > 0)
      rows.push({ tenantId: at.tenantId, subject: at.subject, day: at.day, rows: counted.rows })
  }
  const old = await countOld(db, { letterDays: hub.dead_letters, auditDays: hub.audit })
  return { days, rows, deadLetters: old.letters, auditEntries: old.entries }
}
