import { setTimeout as delay } from 'node:timers/promises'
import type { Database } from './database.ts'

const LOOK_MS = 500

/** Waits until no job is unfinished, and no row of a finished one is left behind; gives up after a time. */
export async function drain(
  database: Database,
  patienceMs: number,
  say: (line: string) => void,
): Promise<void> {
  const began = Date.now()
  for (;;) {
    const [left] = await database.query<{ jobs: number; rows: number }>(
      `select (select count(*)::int from job where state = 'queued') as jobs,
              (select count(*)::int from job_ready) + (select count(*)::int from job_run)
                + (select count(*)::int from job_deferred) as rows`,
    )
    if (left === undefined || (left.jobs === 0 && left.rows === 0)) return
    if (Date.now() - began > patienceMs) {
      say(`after ${patienceMs / 1_000} s ${left.jobs} jobs are unfinished`)
      return
    }
    await delay(LOOK_MS)
  }
}
