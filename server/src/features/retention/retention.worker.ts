import { retentionMetrics } from '../../platform/db/retention.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { takesLead } from '../../queue/leader.ts'
import { type Loop, startLoop } from '../../queue/loop.ts'
import { createRetentionRun, type KeepDays, LEADER } from './retention.ts'

export interface RetentionWork {
  start(): void
  /** Ends after the day that is being looked at. */
  stop(): Promise<void>
}

const LEAD_MS = 180_000
const POLL_MS = 60_000
const EVERY_MS = 3_600_000

/** Runs retention each hour, in one of the workers. */
export function createRetentionWork(platform: Platform, hub: KeepDays): RetentionWork {
  const { db, log, clock, random, metrics } = platform
  const owner = newId()
  const run = createRetentionRun(platform, hub)
  const stopping = new AbortController()
  let dueAt = clock.monotonic()
  let loop: Loop | undefined

  const work = async (): Promise<number> => {
    if (!(await takesLead(db, { name: LEADER, owner, ttlMs: LEAD_MS }))) {
      // What a former leader saw would stay in its metrics for ever.
      retentionMetrics(metrics).overdue.reset()
      return POLL_MS
    }
    if (clock.monotonic() >= dueAt) {
      await run(stopping.signal)
      dueAt = clock.monotonic() + EVERY_MS
    }
    return POLL_MS
  }

  return {
    start: () => {
      loop = startLoop({ name: 'retention', clock, random, log, work })
    },
    stop: async () => {
      stopping.abort()
      await loop?.stop()
    },
  }
}
