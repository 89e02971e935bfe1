import { isUtf8 } from 'node:buffer'
import type { Queryable } from '../../platform/db/statement.ts'
import { Problem } from '../../problems.ts'
import {
  findInbox,
  findPayload,
  type InboxFilter,
  type InboxRow,
  listByEvent,
  listByTrace,
  listNewest,
} from './webhooks.sql.ts'

/** `ignored`: no delivery; `archived`: its job is over and no longer kept; else the state of the delivery job. */
export const INBOX_STATUSES = [
  'ignored',
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

/** The states of jobs by id; a job that is no longer kept is not in the map. */
export type JobStates = (
  tenantId: string,
  jobIds: readonly string[],
) => Promise<ReadonlyMap<string, Exclude<InboxStatus, 'ignored' | 'archived'>>>

export interface InboxDeps {
  readonly db: Queryable
  readonly jobStates: JobStates
}

export interface InboxItem {
  readonly row: InboxRow
  readonly status: InboxStatus
}

export interface InboxPayload {
  readonly headers: Readonly<Record<string, string>>
  /** Null when the bytes are not UTF-8. */
  readonly text: string | null
  /** Hex. */
  readonly sha256: string
}

export interface InboxSlice {
  readonly items: readonly InboxItem[]
  /** The id before which the next page begins; null = nothing older. */
  readonly next: string | null
}

/** Rows that one filtered page looks at: with a rare type it may be short, even empty, and still have a `next`. */
const WINDOW = 2_000

/** Newest first. The status is read from the jobs of the page: nothing of it is written while events come in. */
export async function listInboxItems(
  { db, jobStates }: InboxDeps,
  filter: Omit<InboxFilter, 'window'>,
): Promise<InboxSlice> {
  const filtered = filter.provider !== undefined || filter.type !== undefined
  const window = filtered ? WINDOW : filter.limit
  const list =
    filter.eventId !== undefined ? listByEvent : filter.traceId !== undefined ? listByTrace : listNewest
  const found = await list(db, { ...filter, window })
  const rows = found
    .filter((row): row is typeof row & InboxRow => row.id !== null)
    // With both given, the trace is what is left to be compared.
    .filter((row) => filter.traceId === undefined || row.trace_id === filter.traceId)
  const items = await withStatus(jobStates, filter.tenantId, rows)
  if (rows.length === filter.limit) return { items, next: rows.at(-1)?.id ?? null }
  const [first] = found
  return { items, next: list === listNewest && first?.examined === window ? first.oldest : null }
}

async function withStatus(
  jobStates: JobStates,
  tenantId: string,
  rows: readonly InboxRow[],
): Promise<InboxItem[]> {
  const jobIds = rows.flatMap((row) => row.job_id ?? [])
  const states = jobIds.length > 0 ? await jobStates(tenantId, jobIds) : undefined
  return rows.map((row) => ({
    row,
    status: row.job_id === null ? 'ignored' : (states?.get(row.job_id) ?? 'archived'),
  }))
}

/** One inbox row with what is kept of its request. Errors: `not_found`, also for a row of another workspace. */
export async function getInboxItem(
  { db, jobStates }: InboxDeps,
  tenantId: string,
  id: string,
): Promise<InboxItem & { readonly payload: InboxPayload | undefined }> {
  const row = await findInbox(db, { tenantId, id })
  const [item] = row ? await withStatus(jobStates, tenantId, [row]) : []
  if (!item) throw new Problem('not_found', 'There is no such webhook in the inbox.')
  const payload = await findPayload(db, { tenantId, id })
  return {
    ...item,
    payload: payload && {
      headers: payload.headers,
      text: isUtf8(payload.body) ? payload.body.toString('utf8') : null,
      sha256: payload.sha256.toString('hex'),
    },
  }
}
