import type { SessionRow } from './break-glass.sql.ts'

export interface EmergencySession {
  readonly id: string
  readonly subject: string
  readonly reason: string
  readonly ticket: string
  readonly ip: string
  readonly startedAt: Date
  readonly expiresAt: Date
  readonly endedAt: Date | null
  readonly endedBy: string | null
  readonly reviewedAt: Date | null
  readonly reviewedBy: string | null
  readonly review: string | null
}

export const toSession = (row: SessionRow): EmergencySession => ({
  id: row.id,
  subject: row.subject,
  reason: row.reason,
  ticket: row.ticket,
  ip: row.ip,
  startedAt: row.started_at,
  expiresAt: row.expires_at,
  endedAt: row.ended_at,
  endedBy: row.ended_by,
  reviewedAt: row.reviewed_at,
  reviewedBy: row.reviewed_by,
  review: row.review,
})
