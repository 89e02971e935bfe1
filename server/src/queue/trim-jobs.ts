import type { Queryable } from '../platform/db/statement.ts'
import { idsOfDay } from './job-history.ts'
import * as sql from './trim-jobs.sql.ts'

/**
 * Takes jobs of one workspace out of a day that stays for others: those that ended more than `days` ago and are no dead
 * letters. At most `most`; gives how many it were.
 */
export const trimJobsOfDay = (
  on: Queryable,
  args: { readonly tenantId: string; readonly day: string; readonly days: number; readonly most: number },
): Promise<number> => {
  const { tenantId, day, days, most } = args
  return sql.trimJobs(on, { tenantId, ...idsOfDay(day), days, most })
}
