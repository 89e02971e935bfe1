/**
 * How long history is kept, for the whole hub. The engine is `platform/db/retention.ts`; what may hold a day is said
 * by those who own its rows. Every partitioned table has its place in one of the rules.
 */
import type { RetentionRule } from '../../platform/db/retention.ts'
import { jobHistoryRetention } from '../../queue/job-history.ts'
import { inboxRetention } from '../webhooks/webhooks.ts'

/** The work that one worker has taken on for all: its name among the leaders. */
export const LEADER = 'retention'

/** In days after the end of the day, and for jobs also after the end of the job. */
export interface KeepDays {
  readonly jobs: number
  readonly events: number
  readonly requestLog: number
  readonly webhookInbox: number
}

export const retentionRules = (keep: KeepDays): readonly RetentionRule[] => [
  jobHistoryRetention(keep.jobs),
  inboxRetention(keep.webhookInbox),
  { tables: ['request_log'], keepDays: keep.requestLog },
  { tables: ['event'], keepDays: keep.events },
]
