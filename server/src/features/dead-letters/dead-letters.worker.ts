import type { Platform } from '../../platform/platform.ts'
import { Problem } from '../../problems.ts'
import { emptyBin } from '../../queue/dead-letters.ts'
import { type Loop, startLoop } from '../../queue/loop.ts'
import { binOldLetters } from '../../queue/old-letters.ts'
import { queueMetrics } from '../../queue/queue-metrics.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import type { ActiveConfigs } from '../configs/configs.ts'
import { findOperation } from '../connectors/connectors.ts'
import { forgetPlans, nextDue } from './dead-letters.sql.ts'
import { PLAN_CHANNEL } from './dead-letters.ts'
import { type ReplayCheck, runNextBatch } from './run-plan.ts'

export interface DeadLetterWorkDeps {
  readonly platform: Platform
  readonly activeConfigs: ActiveConfigs
  readonly wakeUp: Pick<WakeUp, 'hint'>
  /** After so many days a letter goes into the bin by itself. */
  readonly keepDays: number
  /** How long what is purged can be restored. */
  readonly binDays: number
}

/** Runs the bulk actions of all workspaces, bins old letters and empties the bin. Any number of workers may do it at once. */
export interface DeadLetterWork {
  start(): void
  /** Lets the running batch end; another worker, or the next start, goes on from there. */
  stop(): Promise<void>
}

/** A commit rings; this is for the ring that was lost. */
const LONGEST_PAUSE_MS = 1_000
/** A plan that is due but at another worker is looked at again after this time. */
const SHORTEST_PAUSE_MS = 20
const TIDY_EVERY_MS = 60_000
const TIDY_BATCH = 500
const PLAN_DAYS = 90

export function createDeadLetterWork(deps: DeadLetterWorkDeps): DeadLetterWork {
  const { platform, wakeUp, keepDays, binDays } = deps
  const { db, log, clock, random, metrics, notifications } = platform
  const check = createReplayCheck(deps.activeConfigs)
  const { deadLetters, oldLetters } = queueMetrics(metrics)
  let loops: Loop[] = []
  let unlisten: (() => void) | undefined

  const runPlans = async (): Promise<number> => {
    const batch = await runNextBatch({ db, log, check })
    if (batch) {
      deadLetters.inc({ action: batch.action, result: 'done' }, batch.done)
      deadLetters.inc({ action: batch.action, result: 'skipped' }, batch.skipped)
      wakeUp.hint(batch.lanes)
      return 0
    }
    const { in_ms } = await nextDue(db, undefined)
    return Math.min(LONGEST_PAUSE_MS, Math.max(SHORTEST_PAUSE_MS, in_ms ?? LONGEST_PAUSE_MS))
  }

  /** Until a batch is not full. */
  const inBatches = async (went: string, some: () => Promise<number>): Promise<void> => {
    let total = 0
    for (let last = TIDY_BATCH; last === TIDY_BATCH; total += last) {
      last = await some()
      oldLetters.inc({ went }, last)
    }
    if (total > 0) log.info({ letters: total, went }, 'dead letters had been kept for long enough')
  }

  const tidy = async (): Promise<number> => {
    await inBatches('to_bin', () => binOldLetters(db, { days: keepDays, limit: TIDY_BATCH }))
    await inBatches('for_good', () => emptyBin(db, { days: binDays, limit: TIDY_BATCH }))
    while ((await forgetPlans(db, { days: PLAN_DAYS, limit: TIDY_BATCH })) === TIDY_BATCH);
    return TIDY_EVERY_MS * (0.75 + random() / 2)
  }

  return {
    start: () => {
      const plans = startLoop({ name: 'dead letter plans', clock, random, log, work: runPlans })
      loops = [plans, startLoop({ name: 'dead letter bin', clock, random, log, work: tidy })]
      unlisten = notifications.listen(PLAN_CHANNEL, () => plans.ring())
    },
    stop: async () => {
      unlisten?.()
      await Promise.all(loops.map((loop) => loop.stop()))
    },
  }
}

/** A job whose connector or operation is gone would only die again: its letter stays where it is. */
function createReplayCheck(activeConfigs: ActiveConfigs): ReplayCheck {
  return async (tenantId, { connector, operation }) => {
    try {
      findOperation((await activeConfigs.connector(tenantId, connector)).connector, operation)
      return undefined
    } catch (error) {
      if (error instanceof Problem && error.status < 500) return error.message
      throw error
    }
  }
}
