import type { Queryable } from '../platform/db/statement.ts'
import type { EnqueuedJob, NewJob } from './job.ts'
import { selectJobsOfKeys, selectOrigin } from './job-of-key.sql.ts'

/** The jobs that were accepted for these keys and these very requests, by key; a key without one is not in it. */
export async function jobsOfKeys(
  on: Queryable,
  tenantId: string,
  dedupes: readonly NonNullable<NewJob['dedupe']>[],
): Promise<Map<string, EnqueuedJob>> {
  const keys = dedupes.map(({ key }) => key)
  const hashes = dedupes.map(({ requestHash }) => requestHash.toString('hex'))
  const rows = await selectJobsOfKeys(on, { tenantId, keys, hashes })
  return new Map(
    rows.map(({ key, job_id, created_at }) => [key, { id: job_id, queuedAt: created_at, replayed: true }]),
  )
}

/** The request that made a job; undefined when the job is older than what is kept. */
export const originOfJob = (
  on: Queryable,
  ref: { readonly tenantId: string; readonly id: string },
): ReturnType<typeof selectOrigin> => selectOrigin(on, ref)
