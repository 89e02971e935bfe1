import type { Queryable } from '../platform/db/statement.ts'
import type { EnqueuedJob, NewJob } from './job.ts'
import { selectJobOfKey } from './job-of-key.sql.ts'

/** The job that was accepted for this key and this very request; undefined when there is none. */
export async function jobOfKey(
  on: Queryable,
  tenantId: string,
  { key, requestHash }: NonNullable<NewJob['dedupe']>,
): Promise<EnqueuedJob | undefined> {
  const row = await selectJobOfKey(on, { tenantId, key, requestHash })
  return row && { id: row.job_id, queuedAt: row.created_at, replayed: true }
}
