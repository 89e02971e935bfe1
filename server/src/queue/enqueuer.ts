import type { Queryable } from '../platform/db/statement.ts'
import { Problem } from '../problems.ts'
import { createBatcher } from './batcher.ts'
import { enqueueEach, keyReused, startable } from './enqueue.ts'
import type { EnqueuedJob, NewJob } from './job.ts'
import type { WakeUp } from './wake-up.ts'

export interface Enqueuer {
  /**
   * Stores one job and answers after its commit. Concurrent calls share a statement, but not their failures.
   * `bytes` is the size of the request that it came in, for the limit on what may wait. Errors:
   * `idempotency_key_reused`; `database_unavailable`, also when too much waits for the database; `shutting_down`.
   */
  enqueue(job: NewJob, bytes?: number): Promise<EnqueuedJob>
  /** Refuses new jobs and resolves when every accepted one is answered. */
  close(): Promise<void>
}

interface EnqueuerOptions {
  readonly wakeUp: WakeUp
  readonly maxRows?: number
  readonly maxInFlight?: number
  /** Jobs that may wait, default 5,000. */
  readonly maxWaiting?: number
  /** Of the requests of the waiting jobs, default 64 MiB. */
  readonly maxWaitingBytes?: number
}

/** More rows hardly lower the cost of each: a statement costs as much as four rows (measured). */
const ENOUGH_ROWS = 24

/** Merges concurrent single enqueues: at most 100 rows and 3 statements in flight (research/performance.md §5c). */
export function createEnqueuer(
  db: Queryable,
  {
    wakeUp,
    maxRows = 100,
    maxInFlight = 3,
    maxWaiting = 5_000,
    maxWaitingBytes = 64 * 1_024 * 1_024,
  }: EnqueuerOptions,
): Enqueuer {
  let closed = false
  let bytesHeld = 0

  const flush = async (jobs: readonly NewJob[]): Promise<PromiseSettledResult<EnqueuedJob>[]> => {
    const results = await storeApart(db, jobs)
    const answers = results.map((result) => (result.status === 'fulfilled' ? result.value : undefined))
    wakeUp.hint(startable(jobs, answers))
    return results
  }
  const batcher = createBatcher({ maxRows, maxInFlight, enough: ENOUGH_ROWS, flush })

  return {
    enqueue: async (job, bytes = 0) => {
      if (closed) throw new Problem('shutting_down', 'This process takes no more jobs.')
      // Behind a stuck database callers would give up, and their jobs would be held, and stored when nobody waits.
      if (batcher.size >= maxWaiting || bytesHeld >= maxWaitingBytes) throw tooManyWait()
      bytesHeld += bytes
      try {
        return await batcher.add(job)
      } finally {
        bytesHeld -= bytes
      }
    },
    close: () => {
      closed = true
      return batcher.drained()
    },
  }
}

const tooManyWait = (): Problem =>
  new Problem(
    'database_unavailable',
    'Too many jobs wait for the database of the hub; this one was not stored.',
    {
      retryAfterSeconds: 2,
    },
  )

/** A batch that the database refuses is stored one by one, so that only the job at fault fails. */
async function storeApart(
  db: Queryable,
  jobs: readonly NewJob[],
): Promise<PromiseSettledResult<EnqueuedJob>[]> {
  try {
    const results = await enqueueEach(db, jobs)
    return results.map((result) =>
      result === 'refused'
        ? { status: 'rejected', reason: keyReused() }
        : { status: 'fulfilled', value: result },
    )
  } catch (error) {
    if (jobs.length === 1) return [{ status: 'rejected', reason: error }]
    if (error instanceof Problem) throw error
    const apart: PromiseSettledResult<EnqueuedJob>[] = []
    for (const job of jobs) apart.push(...(await storeApart(db, [job])))
    return apart
  }
}
