import { one } from '../../platform/db/statement.ts'
import type { KeptCopy, KeptEvent } from './quarantine.sql.ts'

export interface NewRow {
  readonly tenantId: string
  readonly id: string
  readonly becauseOf: string
  readonly provider: string
  readonly pathRoute: string | null
  readonly routeId: string | null
  readonly reason: string
  readonly authentic: boolean
  readonly sealed: boolean
  readonly accounts: readonly string[]
  readonly livemode: boolean | null
  readonly events: readonly KeptEvent[]
  readonly body: Buffer
  readonly copy: KeptCopy
  readonly requestId: string
  readonly correlationId: string
  readonly traceId: string
}

export interface Room {
  readonly keepDays: number
  readonly maxRows: number
  readonly maxBytes: number
}

export interface Kept {
  readonly outcome: 'kept' | 'repeated' | 'full'
  /** Older ones that made room for it. */
  readonly evicted: number
}

export const keepRow = one<NewRow & Room, Kept>(
  'quarantine.keep',
  'select outcome, evicted from keep_in_quarantine($1, $2, $3)',
  (row) => [
    JSON.stringify({
      tenant_id: row.tenantId,
      id: row.id,
      because_of: row.becauseOf,
      provider: row.provider,
      path_route: row.pathRoute,
      route_id: row.routeId,
      reason: row.reason,
      authentic: row.authentic,
      sealed: row.sealed,
      accounts: row.accounts,
      livemode: row.livemode,
      events: row.events,
      copy: row.copy,
      request_id: row.requestId,
      correlation_id: row.correlationId,
      trace_id: row.traceId,
    }),
    row.body,
    JSON.stringify({ keep_days: row.keepDays, max_rows: row.maxRows, max_bytes: row.maxBytes }),
  ],
)
