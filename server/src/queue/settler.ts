import type { Clock, Random } from '../platform/clock.ts'
import type { Db } from '../platform/db/db.ts'
import type { Log } from '../platform/log.ts'
import { Problem } from '../problems.ts'
import { createBatcher } from './batcher.ts'
import type { EndedJob, FollowUps, LaneKey } from './job.ts'
import { backoffMs } from './loop.ts'
import { endedBy, type Settled, type Settlement, settleJobs } from './settle.ts'

/** Stores how leases ended, in batches. */
export interface Settler {
  /** Resolves when the settlement is stored, was stale, or was abandoned. Never rejects. */
  settle(settlement: Settlement): Promise<void>
  /** Settlements not stored yet. */
  readonly size: number
  drained(): Promise<void>
  /** Stops trying; what is not stored is rescued by another node. */
  abandon(): void
}

export interface SettlerOptions {
  readonly db: Db
  readonly followUps: FollowUps | undefined
  readonly clock: Clock
  readonly random: Random
  readonly log: Log
  /** After the commit: what took effect, how many were stale, and lanes that follow-ups enqueued into. */
  settled(settled: readonly Settled[], stale: number, lanes: readonly LaneKey[]): void
}

/** Failures of one settlement (with its follow-ups) before it is stored as a dead letter instead. */
const MAX_FAILURES = 3

/**
 * A settlement is never lost while the process lives: an unreachable database is waited for, a batch that fails
 * is settled one by one, and what fails alone (a follow-up that throws, a result that Postgres refuses) ends as a
 * dead letter that says so. Running it again would repeat its effect, in a circle.
 */
export function createSettler(options: SettlerOptions): Settler {
  const { db, followUps, clock, random, log } = options
  const abandoned = new AbortController()

  const store = async (batch: readonly Settlement[]): Promise<void> => {
    let lanes: readonly LaneKey[] = []
    let settled: Settled[]
    if (followUps && batch.some(({ job }) => job.completion !== null)) {
      settled = await db.transaction(async (tx) => {
        const done = await settleJobs(tx, batch)
        const ended = done.map(endedBy).filter((job): job is EndedJob => job?.job.completion != null)
        if (ended.length > 0) lanes = await followUps(tx, ended)
        return done
      })
    } else settled = await settleJobs(db, batch)
    options.settled(settled, batch.length - settled.length, lanes)
  }

  const storeSurely = async (batch: readonly Settlement[]): Promise<void> => {
    let failures = 0
    let rows = batch
    while (!abandoned.signal.aborted) {
      try {
        await store(rows)
        return
      } catch (err) {
        failures += 1
        log.warn(
          { err, rows: rows.length, failures },
          'settlements could not be stored and will be tried again',
        )
        const databaseIsAway = err instanceof Problem && err.code === 'database_unavailable'
        if (!databaseIsAway && batch.length > 1) {
          for (const settlement of batch) await storeSurely([settlement])
          return
        }
        if (!databaseIsAway && failures >= MAX_FAILURES) rows = batch.map(unsettleable)
        await clock.sleep(backoffMs(failures, random), abandoned.signal).catch(() => undefined)
      }
    }
  }

  const batcher = createBatcher<Settlement, void>({
    // One at a time: what ends meanwhile shares the next statement, whose fixed cost is that of eight jobs.
    maxRows: 200,
    maxInFlight: 1,
    flush: async (batch) => {
      await storeSurely(batch)
      return batch.map(() => ({ status: 'fulfilled', value: undefined }))
    },
  })

  return {
    settle: (settlement) => batcher.add(settlement),
    get size() {
      return batcher.size
    },
    drained: () => batcher.drained(),
    abandon: () => abandoned.abort(),
  }
}

/** Without completion (no follow-ups) and without texts from outside: nothing of it can be refused again. */
function unsettleable({ job, outcome }: Settlement): Settlement {
  const message = `The outcome of the attempt (${outcome.kind}) could not be stored; the log of the worker has the details.`
  return {
    job: { ...job, completion: null },
    outcome: {
      kind: 'dead',
      reason: 'settle_failed',
      error: { class: 'settle_failed', message },
      why: message,
    },
  }
}
