import type { Queryable } from '../platform/db/statement.ts'
import { Problem } from '../problems.ts'
import { enqueueBatch } from './enqueue.sql.ts'
import type { EnqueuedJob, NewJob } from './job.ts'

/** For statements that store jobs together with other things, in one round trip, through `enqueue_jobs`. */
export { type JobRecord, jobRecord } from './enqueue.sql.ts'

/**
 * Stores jobs with their payloads, ready or deferred rows and events, in one statement and in the order given.
 * With a `Tx` everything commits with the caller, who then calls `WakeUp.hint` with the `startable` jobs after the commit.
 * A job whose `dedupe` key was used before for the same request answers with the first job, `replayed: true`;
 * that also holds inside one batch. Errors: `idempotency_key_reused` when a key was used for another request,
 * with the places of those jobs in `details` (`/0`, `/7`); nothing of the batch is stored then.
 */
export async function enqueueJobs(on: Queryable, jobs: readonly NewJob[]): Promise<EnqueuedJob[]> {
  if (jobs.length === 0) return []
  const results = await enqueueEach(on, jobs, true)
  const refused = results.flatMap((result, index) => (result === 'refused' ? [index] : []))
  if (refused.length > 0) throw keyReused(refused)
  return results.filter((result) => result !== 'refused')
}

/** The same for jobs of independent callers: a refused one leaves the others alone. One result per job. */
export async function enqueueEach(
  on: Queryable,
  jobs: readonly NewJob[],
  allOrNothing = false,
): Promise<(EnqueuedJob | 'refused')[]> {
  const { queued_at, others } = await enqueueBatch(on, { jobs, allOrNothing })
  const results: (EnqueuedJob | 'refused')[] = jobs.map(({ id }) => ({
    id,
    queuedAt: queued_at,
    replayed: false,
  }))
  for (const { ord, id, queued_at, refused } of others ?? [])
    results[ord] = refused ? 'refused' : { id, queuedAt: new Date(queued_at), replayed: true }
  return results
}

/** Those of the jobs that were stored and can start now, by their answers in the same order: for `WakeUp.hint`. */
export const startable = (jobs: readonly NewJob[], answers: readonly (EnqueuedJob | undefined)[]): NewJob[] =>
  jobs.filter(({ id, runAt }, index) => {
    const answer = answers[index]
    return answer?.id === id && (runAt === undefined || runAt <= answer.queuedAt)
  })

/** Never says what differed: the first request may be another caller's (RFC draft idempotency-key, §2.7). */
export const keyReused = (places: readonly number[] = []): Problem =>
  new Problem('idempotency_key_reused', 'The idempotency key was used before for a different request.', {
    ...(places.length > 0 && {
      details: places.map((place) => ({ path: `/${place}`, message: 'key used for a different request' })),
    }),
  })
