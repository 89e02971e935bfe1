import type { Queryable } from '../platform/db/statement.ts'
import { Problem } from '../problems.ts'
import { createBatcher } from './batcher.ts'
import { enqueueEach, keyReused } from './enqueue.ts'
import type { EnqueuedJob, NewJob } from './job.ts'
import type { WakeUp } from './wake-up.ts'

export interface Enqueuer {
  /**
   * Stores one job and answers after its commit. Concurrent calls share a statement, but not their failures.
   * Errors: `idempotency_key_reused`, `database_unavailable`, `shutting_down`.
   */
  enqueue(job: NewJob): Promise<EnqueuedJob>
  /** Refuses new jobs and resolves when every accepted one is answered. */
  close(): Promise<void>
}

interface EnqueuerOptions {
  readonly wakeUp: WakeUp
  readonly maxRows?: number
  readonly maxInFlight?: number
}

/** More rows hardly lower the cost of each: a statement costs as much as four rows (measured). */
const ENOUGH_ROWS = 24

/** Merges concurrent single enqueues: at most 100 rows and 3 statements in flight (research/performance.md §5c). */
export function createEnqueuer(
  db: Queryable,
  { wakeUp, maxRows = 100, maxInFlight = 3 }: EnqueuerOptions,
): Enqueuer {
  let closed = false

  const flush = async (jobs: readonly NewJob[]): Promise<PromiseSettledResult<EnqueuedJob>[]> => {
    const results = await storeApart(db, jobs)
    wakeUp.hint(jobs.filter((job, index) => isStored(job, results[index])))
    return results
  }
  const batcher = createBatcher({ maxRows, maxInFlight, enough: ENOUGH_ROWS, flush })

  return {
    enqueue: async (job) => {
      if (closed) throw new Problem('shutting_down', 'This process takes no more jobs.')
      return batcher.add(job)
    },
    close: () => {
      closed = true
      return batcher.drained()
    },
  }
}

const isStored = (job: NewJob, result: PromiseSettledResult<EnqueuedJob> | undefined): boolean =>
  result?.status === 'fulfilled' && result.value.id === job.id

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
