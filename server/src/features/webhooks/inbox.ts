import { isUtf8 } from 'node:buffer'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import { findInbox, findPayload, type InboxFilter, type InboxRow, listInbox } from './webhooks.sql.ts'

/** The states of jobs by id; a job that is no longer kept is not in the map. */
export type JobStates = (tenantId: string, jobIds: readonly string[]) => Promise<ReadonlyMap<string, string>>

export interface InboxDeps {
  readonly db: Queryable
  readonly jobStates: JobStates
}

export interface InboxItem {
  readonly row: InboxRow
  /** `ignored`, `archived`, or the state of the delivery job. */
  readonly status: string
}

export interface InboxPayload {
  readonly headers: Readonly<Record<string, string>>
  /** Null when the bytes are not UTF-8. */
  readonly text: string | null
  /** Hex. */
  readonly sha256: string
}

/** Newest first. The status is read from the jobs of the page: nothing of it is written while events come in. */
export async function listInboxItems(
  { db, jobStates }: InboxDeps,
  filter: InboxFilter,
): Promise<InboxItem[]> {
  const rows = await listInbox(db, filter)
  const jobIds = rows.flatMap((row) => row.job_id ?? [])
  const states = jobIds.length > 0 ? await jobStates(filter.tenantId, jobIds) : new Map<string, string>()
  return rows.map((row) => ({
    row,
    status: row.job_id === null ? 'ignored' : (states.get(row.job_id) ?? 'archived'),
  }))
}

/** One inbox row with what is kept of its request. Errors: `not_found`, also for a row of another workspace. */
export async function getInboxItem(
  { db, jobStates }: InboxDeps,
  tenantId: string,
  id: string,
): Promise<InboxItem & { readonly payload: InboxPayload | undefined }> {
  const row = await findInbox(db, { tenantId, id })
  if (!row) throw new Problem('not_found', 'There is no such webhook in the inbox.')
  const payload = await findPayload(db, { tenantId, id })
  const states = row.job_id === null ? undefined : await jobStates(tenantId, [row.job_id])
  return {
    row,
    status: row.job_id === null ? 'ignored' : (states?.get(row.job_id) ?? 'archived'),
    payload: payload && {
      headers: payload.headers,
      text: isUtf8(payload.body) ? payload.body.toString('utf8') : null,
      sha256: payload.sha256.toString('hex'),
    },
  }
}
