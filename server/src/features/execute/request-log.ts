import type { Db } from '../../platform/db/db.ts'
import type { EventRecord } from '../../platform/event-log.ts'
import type { Log } from '../../platform/log.ts'
import type { Metrics } from '../../platform/metrics.ts'
import { insertRequestLog, type RequestLogRow } from './request-log.sql.ts'

interface Entry {
  readonly row: RequestLogRow
  readonly event: EventRecord
}

export interface RequestLog {
  /** Takes the row of a finished execution; it is in the database some milliseconds later. Never throws, never waits. */
  record(entry: Entry): void
  /** Resolves when everything taken so far is written or given up. */
  flush(): Promise<void>
}

const MAX_BATCH = 200
/** About a minute of a busy process. Beyond it the oldest rows go: the log must not take the memory of the calls. */
const MAX_WAITING = 10_000
const RETRY_MS = 1_000
const FLUSH_ATTEMPTS = 3

/**
 * Writes the request log behind the answers, in batches: an execution promises its answer, not its log row, so
 * the caller does not wait for the disk. With the database down rows wait, bounded; what is dropped is counted.
 */
export function createRequestLog(options: {
  readonly db: Db
  readonly log: Log
  readonly metrics: Metrics
  readonly onWritten?: () => void
}): RequestLog {
  const dropped = options.metrics.counter(
    'request_log_dropped_total',
    'Request log rows lost because the database was away for too long',
  )
  const waiting: Entry[] = []
  let writing: Promise<boolean> | undefined
  let retry: NodeJS.Timeout | undefined

  /** Writes until nothing waits; false when the database refused. */
  const writeAll = async (): Promise<boolean> => {
    while (waiting.length > 0) {
      const batch = waiting.splice(0, MAX_BATCH)
      try {
        await insertRequestLog(options.db, {
          rows: batch.map((entry) => entry.row),
          events: batch.map((entry) => entry.event),
        })
        options.onWritten?.()
      } catch (error) {
        waiting.unshift(...batch)
        trim()
        options.log.warn({ err: error, waiting: waiting.length }, 'the request log could not be written')
        return false
      }
    }
    return true
  }

  const trim = (): void => {
    const excess = waiting.length - MAX_WAITING
    if (excess <= 0) return
    waiting.splice(0, excess)
    dropped.inc(excess)
  }

  const start = (): Promise<boolean> => {
    clearTimeout(retry)
    retry = undefined
    writing ??= writeAll().then((written) => {
      writing = undefined
      if (!written) retry = setTimeout(start, RETRY_MS).unref()
      return written
    })
    return writing
  }

  return {
    record: (entry) => {
      waiting.push(entry)
      trim()
      if (retry === undefined) void start()
    },
    flush: async () => {
      for (let attempt = 0; attempt < FLUSH_ATTEMPTS; attempt += 1) if (await start()) break
      clearTimeout(retry)
    },
  }
}
