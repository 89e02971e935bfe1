import { createRetention, retentionMetrics } from '../../platform/db/retention.ts'
import { newId } from '../../platform/ids.ts'
import type { Platform } from '../../platform/platform.ts'
import { takesLead } from '../../queue/leader.ts'
import { type Loop, startLoop } from '../../queue/loop.ts'
import { type KeepDays, LEADER, retentionRules } from './retention.ts'

export interface RetentionWork {
  start(): void
  /** Ends after the day that is being looked at. */
  stop(): Promise<void>
}

const LEAD_MS = 180_000
const POLL_MS = 60_000
const EVERY_MS = 3_600_000

/** Drops the days of history that are past their time, each hour, in one of the workers. */
export function createRetentionWork(platform: Platform, keep: KeepDays): RetentionWork {
  const { db, log, clock, random, metrics } = platform
  const owner = newId()
  const round = createRetention({ db, log, metrics, clock, rules: retentionRules(keep) })
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
      await round(stopping.signal)
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
