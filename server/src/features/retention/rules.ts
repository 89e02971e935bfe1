import type { Db } from '../../platform/db/db.ts'
import type { RetentionRule } from '../../platform/db/retention.ts'
import { jobHistoryRetention } from '../../queue/job-history.ts'
import { inboxRetention } from '../webhooks/webhooks.ts'
import { longest, readOwnDays } from './keep-days.ts'
import type { KeepDays } from './subjects.ts'

export const retentionRules = (keep: KeepDays): readonly RetentionRule[] => [
  jobHistoryRetention(keep.jobs),
  inboxRetention(keep.webhook_inbox),
  { tables: ['request_log'], keepDays: keep.request_log },
  { tables: ['event'], keepDays: keep.events },
]

/** The rules of this moment: a day stays as long as the workspace that keeps it longest says. */
export const currentRules = async (db: Db, hub: KeepDays): Promise<readonly RetentionRule[]> =>
  retentionRules(longest(hub, await readOwnDays(db)))
