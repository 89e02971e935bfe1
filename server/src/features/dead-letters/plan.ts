import { type QueueName, queueName } from '../../queue/job.ts'
import type { PlanAction, PlanRow, PlanState, SampleLetter, StoredFilter } from './dead-letters.sql.ts'

/** What a bulk action is about: jobs by their ids, or every letter that fits a filter. */
export type Selection = { readonly ids: readonly string[] } | { readonly filter: StoredFilter }

/** One bulk action, from its preview to its end. */
export interface Plan {
  readonly tenantId: string
  readonly id: string
  readonly queue: QueueName
  readonly action: PlanAction
  readonly selection: Selection
  readonly ratePerSecond: number
  readonly newEffect: boolean
  /** Letters it is about. */
  readonly total: number
  readonly oldestAt: Date | null
  readonly sample: readonly SampleLetter[]
  readonly createdBy: string
  readonly createdAt: Date
  readonly expiresAt: Date
  readonly expired: boolean
  readonly state: PlanState
  readonly committedBy: string | null
  readonly committedAt: Date | null
  /** Of the commit. */
  readonly reason: string | null
  readonly endedAt: Date | null
  /** Who aborted it. */
  readonly endedBy: string | null
  /** Why it ended before its end. */
  readonly endedWhy: string | null
  readonly done: number
  /** Why letters were left out, and how many. */
  readonly skipped: Readonly<Record<string, number>>
}

export const skippedOf = ({ skipped }: Pick<Plan, 'skipped'>): number =>
  Object.values(skipped).reduce((sum, count) => sum + count, 0)

export function planOf(row: PlanRow): Plan {
  // A check of the table: exactly one of the two is set.
  const selection = row.job_ids === null ? { filter: row.filter ?? {} } : { ids: row.job_ids }
  return {
    tenantId: row.tenant_id,
    id: row.id,
    queue: queueName(row.queue),
    action: row.action,
    selection,
    ratePerSecond: row.rate_per_second,
    newEffect: row.new_effect,
    total: row.total,
    oldestAt: row.oldest_at,
    sample: row.sample,
    createdBy: row.created_by,
    createdAt: row.created_at,
    expiresAt: row.expires_at,
    expired: row.expired,
    state: row.state,
    committedBy: row.committed_by,
    committedAt: row.committed_at,
    reason: row.reason,
    endedAt: row.ended_at,
    endedBy: row.ended_by,
    endedWhy: row.ended_why,
    done: row.done,
    skipped: row.skipped,
  }
}
