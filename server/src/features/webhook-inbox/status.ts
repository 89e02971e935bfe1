import type { Queryable } from '../../platform/db/statement.ts'
import { jobStates } from '../../queue/read.ts'
import type { InboxRow } from './inbox.sql.ts'

/**
 * `ignored`: no delivery; `held`: it has nowhere to go now; `waiting`: behind an earlier event of its key; `archived`: its
 * job is over and no longer kept; else the state of its newest delivery.
 */
export const INBOX_STATUSES = [
  'ignored',
  'held',
  'waiting',
  'queued',
  'scheduled',
  'retrying',
  'running',
  'done',
  'cancelled',
  'dead',
  'archived',
] as const
export type InboxStatus = (typeof INBOX_STATUSES)[number]

export interface InboxItem {
  readonly row: InboxRow
  readonly status: InboxStatus
}

/** The rows with their statuses, read from their jobs: nothing of it is written while events come in. */
export async function withStatus(
  on: Queryable,
  tenantId: string,
  rows: readonly InboxRow[],
): Promise<InboxItem[]> {
  const jobIds = rows.flatMap(({ state, job_id }) =>
    state === 'accepted' && job_id !== null ? [job_id] : [],
  )
  const states = jobIds.length > 0 ? await jobStates(on, tenantId, jobIds) : new Map<string, InboxStatus>()
  return rows.map((row) => ({
    row,
    status: row.state === 'accepted' ? (states.get(row.job_id ?? '') ?? 'archived') : row.state,
  }))
}
