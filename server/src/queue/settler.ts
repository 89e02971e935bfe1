import type { Clock, Random } from '../platform/clock.ts'
import type { Db } from '../platform/db/db.ts'
import { isDataFault, isTransient } from '../platform/db/failures.ts'
import type { Log } from '../platform/log.ts'
import { createBatcher } from './batcher.ts'
import { FollowUpsFailed, runFollowUps } from './follow-ups-failed.ts'
import type { FollowUps, LaneKey } from './job.ts'
import { backoffMs } from './loop.ts'
import { endedBy, mayBeFollowed, type Settled, type Settlement, settleJobs } from './settle.ts'

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

/** Failures of one settlement by its own fault (or its follow-ups') before it is stored as a dead letter instead. */
const MAX_FAILURES = 3

/**
 * A settlement is never lost while the process lives: a database that is away or in trouble is waited for, a batch
 * that fails is settled one by one, and what fails alone by its own fault (a follow-up that throws, a result that
 * Postgres refuses) ends as a dead letter that says so. Running it again would repeat its effect, in a circle.
 * Nothing else makes a dead letter: the work of such a job may well have succeeded. Should its failure outlast the
 * lease, the lease is stale by then and the settlement is refused like any other.
 */
export function createSettler(options: SettlerOptions): Settler {
  const { db, followUps, clock, random, log } = options
  const abandoned = new AbortController()

  const store = async (batch: readonly Settlement[]): Promise<void> => {
    let lanes: readonly LaneKey[] = []
    let settled: Settled[]
    if (followUps && batch.some(mayBeFollowed)) {
      settled = await db.transaction(async (tx) => {
        const done = await settleJobs(tx, batch)
        const ended = done.filter(mayBeFollowed).flatMap((each) => endedBy(each) ?? [])
        if (ended.length > 0) lanes = await runFollowUps(followUps, tx, ended)
        return done
      })
    } else settled = await settleJobs(db, batch)
    options.settled(settled, batch.length - settled.length, lanes)
  }

  const pause = (failures: number): Promise<void> =>
    clock.sleep(backoffMs(failures, random), abandoned.signal).catch(() => undefined)

  /** Waits for the database as long as it takes. Gives any other failure: it may be the fault of these rows. */
  const storeWhenPossible = async (
    rows: readonly Settlement[],
  ): Promise<{ readonly error: unknown } | undefined> => {
    for (let failures = 1; !abandoned.signal.aborted; failures += 1) {
      try {
        await store(rows)
        return undefined
      } catch (error) {
        log.warn(
          { err: error, rows: rows.length, failures },
          'settlements could not be stored and will be tried again',
        )
        if (!isTransient(error)) return { error }
      }
      await pause(failures)
    }
    return undefined
  }

  const storeAlone = async (settlement: Settlement): Promise<void> => {
    let row = settlement
    for (let failures = 1; !abandoned.signal.aborted; failures += 1) {
      const failed = await storeWhenPossible([row])
      if (failed === undefined) return
      if (failures >= MAX_FAILURES && isItsFault(row, failed.error)) row = unsettleable(settlement)
      await pause(failures)
    }
  }

  const storeSurely = async (batch: readonly Settlement[]): Promise<void> => {
    if ((await storeWhenPossible(batch)) === undefined) return
    const refused: Settlement[] = []
    // What can be stored must not wait for what cannot.
    for (const settlement of batch) if (await storeWhenPossible([settlement])) refused.push(settlement)
    for (const settlement of refused) await storeAlone(settlement)
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

/** A result that is no JSON fails before the database sees it. */
const isItsFault = ({ outcome }: Settlement, error: unknown): boolean =>
  error instanceof FollowUpsFailed ||
  isDataFault(error) ||
  (outcome.kind === 'done' && !isJson(outcome.result))

function isJson(value: unknown): boolean {
  try {
    JSON.stringify(value)
    return true
  } catch {
    return false
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
