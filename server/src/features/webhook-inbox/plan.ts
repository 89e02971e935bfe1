// One bulk action as the other files know it; how it is stored is in plans.sql.ts.

import type { PlanAction, PlanRow, PlanState, SampleEvent } from './plans.sql.ts'
import type { Selection } from './selection.ts'

/** One bulk action, from its search to its end. */
export interface InboxPlan {
  readonly tenantId: string
  readonly id: string
  readonly action: PlanAction
  readonly selection: Selection
  readonly ratePerSecond: number
  readonly newMessageId: boolean | null
  readonly configVersion: number | null
  readonly state: PlanState
  readonly looked: number
  readonly searchedId: string | null
  /** Events it is about, as far as the search has come. */
  readonly total: number
  readonly oldestAt: Date | null
  readonly sample: readonly SampleEvent[]
  /** Events whose payloads nobody can read, so that nobody knows whom they are about; the first of them by ids. */
  readonly unreadable: number
  readonly unreadableIds: readonly string[]
  /** What its next step waits for. */
  readonly waitingFor: string | null
  readonly waitingSince: Date | null
  /** How often that was tried in vain. */
  readonly waits: number
  readonly createdBy: string
  readonly createdAt: Date
  readonly expiresAt: Date | null
  readonly expired: boolean
  readonly committedBy: string | null
  readonly committedAt: Date | null
  readonly reason: string | null
  readonly endedAt: Date | null
  readonly endedBy: string | null
  readonly endedWhy: string | null
  readonly done: number
  /** Why events were left out, and how many. */
  readonly skipped: Readonly<Record<string, number>>
}

export const skippedOf = ({ skipped }: Pick<InboxPlan, 'skipped'>): number =>
  Object.values(skipped).reduce((sum, count) => sum + count, 0)

export const planOf = (row: PlanRow): InboxPlan => ({
  tenantId: row.tenant_id,
  id: row.id,
  action: row.action,
  selection: row.selection,
  ratePerSecond: row.rate_per_second,
  newMessageId: row.new_message_id,
  configVersion: row.config_version,
  state: row.state,
  looked: row.looked,
  searchedId: row.searched_id,
  total: row.total,
  oldestAt: row.oldest_at,
  sample: row.sample,
  unreadable: row.unreadable,
  unreadableIds: row.unreadable_ids,
  waitingFor: row.waiting_for,
  waitingSince: row.waiting_since,
  waits: row.waits,
  createdBy: row.created_by,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  expired: row.expired,
  committedBy: row.committed_by,
  committedAt: row.committed_at,
  reason: row.reason,
  endedAt: row.ended_at,
  endedBy: row.ended_by,
  endedWhy: row.ended_why,
  done: row.done,
  skipped: row.skipped,
})
