import type { Clock } from '../../platform/clock.ts'
import type { Db } from '../../platform/db/db.ts'
import type { EventRecord } from '../../platform/event-log.ts'
import type { Log } from '../../platform/log.ts'
import type { Metrics } from '../../platform/metrics.ts'
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
/**
 * What comes within this time after a batch shares the next one: the rows of a busy process cost the database a third
 * less than in batches as large as they happen to be after a round trip. Alone, a row is written at once.
 */
const GATHER_MS = 10
/** About a minute of a busy process. Beyond it the oldest rows go: the log must not take the memory of the calls. */
const MAX_WAITING = 10_000
const RETRY_MS = 1_000
const CLOSE_ATTEMPTS = 3

/**
 * Writes the request log behind the answers, in batches: an execution promises its answer, not its log row, so
 * the caller does not wait for the disk. With the database down rows wait, bounded; a row that the database refuses
 * takes no other with it. What is lost is counted.
 */
export function createRequestLog(options: {
  readonly db: Db
  readonly clock: Clock
  readonly log: Log
  readonly metrics: Metrics
  readonly onWritten?: () => void
  readonly maxWaiting?: number
}): RequestLog {
  const { db, clock, log, maxWaiting = MAX_WAITING } = options
  const dropped = options.metrics.counter(
    'request_log_dropped_total',
    'Request log rows that are lost: the database was away for too long, or refused them',
  )
  const waiting: Entry[] = []
  const closing = new AbortController()
  let attemptsLeft = CLOSE_ATTEMPTS
  let writing: Promise<void> | undefined

  const drop = (entries: readonly Entry[], why: string, err?: unknown): void => {
    if (entries.length === 0) return
    dropped.inc(entries.length)
    log.error({ err, rows: entries.length, id: entries[0]?.row.id }, `request log rows are lost: ${why}`)
  }

  /** Counted and not logged: it would be a line for every execution of an outage. */
  const trim = (): void => {
    if (waiting.length > maxWaiting) dropped.inc(waiting.splice(0, waiting.length - maxWaiting).length)
  }

  /** Gives the rows that have to wait. A batch that the database refuses is halved until the row at fault is alone. */
  const write = async (batch: readonly Entry[]): Promise<readonly Entry[]> => {
    try {
      await insertRequestLog(db, { entries: batch.map(({ row, event }) => ({ ...row, event })) })
      options.onWritten?.()
      return []
    } catch (error) {
      if (!isRefusal(error)) {
        log.warn({ err: error, rows: batch.length + waiting.length }, 'the request log could not be written')
        return batch
      }
      if (batch.length === 1) {
        drop(batch, 'the database refuses it', error)
        return []
      }
      const half = Math.ceil(batch.length / 2)
      const left = await write(batch.slice(0, half))
      return left.length > 0 ? [...left, ...batch.slice(half)] : write(batch.slice(half))
    }
  }

  const writeAll = async (): Promise<void> => {
    while (waiting.length > 0) {
      const left = await write(waiting.splice(0, MAX_BATCH))
      if (left.length === 0) {
        if (waiting.length < MAX_BATCH) await clock.sleep(GATHER_MS, closing.signal).catch(() => undefined)
        continue
      }
      waiting.unshift(...left)
      trim()
      if (closing.signal.aborted) attemptsLeft -= 1
      if (attemptsLeft === 0) drop(waiting.splice(0), 'the process stops while the database is away')
      else await clock.sleep(RETRY_MS, closing.signal).catch(() => undefined)
    }
    // In the same turn as the last look at `waiting`: what is recorded from now on starts anew.
    writing = undefined
  }

  return {
    record: (entry) => {
      waiting.push(entry)
      trim()
      writing ??= writeAll()
    },
    close: async () => {
      closing.abort()
      await writing
    },
  }
}

/** SQLSTATE classes 22 and 23: the row is at fault, and would be the next time. */
const isRefusal = (error: unknown): boolean =>
  /^2[23]/.test(String((error as { readonly code?: unknown } | null)?.code ?? ''))
