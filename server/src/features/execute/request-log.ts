import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { EventRecord } from '../../platform/event-log.ts'
import type { Log } from '../../platform/log.ts'
import type { Metrics } from '../../platform/metrics.ts'
import { createWriteBehind } from '../../platform/write-behind.ts'
import { insertRequestLog, type RequestLogRow } from './request-log.sql.ts'

export interface Entry {
  readonly row: RequestLogRow
  readonly event: EventRecord
}

export interface RequestLog {
  /** Takes the row of a finished execution; it is in the database some milliseconds later. Never throws, never waits. */
  record(entry: Entry): void
  /** Resolves when everything is written, or given up after some attempts. */
  close(): Promise<void>
}

const MAX_BATCH = 500
/** The rows of a busy process cost the database a third less than in batches as large as they happen to be. */
const GATHER_MS = 10
/** About a minute of a busy process. */
const MAX_WAITING = 10_000

/**
 * Writes the request log behind the answers: an execution promises its answer, not its log row, so the caller does not
 * wait for the disk.
 */
export function createRequestLog(options: {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly onWritten?: () => void
  readonly maxWaiting?: number
}): RequestLog {
  const { db, clock, log, metrics, maxWaiting = MAX_WAITING } = options
  const behind = createWriteBehind<Entry>({
    clock,
    log,
    what: 'request log rows',
    dropped: metrics.counter(
      'request_log_dropped_total',
      'Request log rows that are lost: the database was away for too long, or refused them',
    ),
    write: async (batch) => {
      await insertRequestLog(db, { entries: batch.map(({ row, event }) => ({ ...row, event })) })
      options.onWritten?.()
    },
    isFault: isRefusal,
    factsOf: ({ row }) => ({ id: row.id }),
    maxBatch: MAX_BATCH,
    maxWaiting,
    gatherMs: GATHER_MS,
  })
  return { record: behind.add, close: behind.close }
}

/** SQLSTATE classes 22 and 23, a day without a partition included: the row is at fault, and would be the next time. */
const isRefusal = (error: unknown): boolean =>
  /^2[23]/.test(String((error as { readonly code?: unknown } | null)?.code ?? ''))
