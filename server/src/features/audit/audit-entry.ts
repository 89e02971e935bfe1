import type { EntryRow } from './audit.sql.ts'

/** One changed field: a JSON pointer (RFC 6901) into the object; no `before` = added, no `after` = removed. Never secrets. */
export interface DiffEntry {
  readonly path: string
  readonly before?: unknown
  readonly after?: unknown
}

/** An entry as it is shown. */
export interface AuditEntry {
  readonly seq: number
  readonly at: Date
  readonly actor: string
  readonly role: string | null
  readonly impersonator: string | null
  readonly action: string
  readonly object: string
  readonly reason: string
  readonly diff: readonly DiffEntry[]
  readonly ip: string | null
  readonly userAgent: string | null
  readonly requestId: string | null
  readonly traceId: string | null
  /** Lower-case hex. */
  readonly hash: string
}

export const toEntry = (row: EntryRow): AuditEntry => ({
  seq: row.seq,
  at: row.at,
  actor: row.actor,
  role: row.role,
  impersonator: row.impersonator,
  action: row.action,
  object: row.object,
  reason: row.reason,
  diff: row.diff as readonly DiffEntry[],
  ip: row.ip,
  userAgent: row.user_agent,
  requestId: row.request_id,
  traceId: row.trace_id,
  hash: row.hash.toString('hex'),
})
