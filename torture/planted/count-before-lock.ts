import type { Database } from '../database.ts'

/** Wide enough for the other worker's whole claim to happen in it. */
const WINDOW_SECONDS = 0.02

/**
 * Planted bug: `claim_jobs` of this database counts what runs before it takes the tenant's lock, not after. Made from
 * the function that is there, so that everything else of it stays as it is. Throws when the function has changed so
 * much that the bug cannot be planted.
 */
export async function countBeforeLock(database: Database): Promise<void> {
  const [row, ...others] = await database.query<{ source: string }>(
    `select pg_get_functiondef(oid) as source from pg_proc where proname = 'claim_jobs'`,
  )
  if (others.length > 0) throw new Error('the bug cannot be planted: there are several claim_jobs')
  const planted = [
    [/^declare$/m, 'declare\n  counted json;'],
    [
      /^begin$/m,
      `begin
  select coalesce(json_agg(r), '[]') into counted from job_run r;
  perform pg_sleep(${WINDOW_SECONDS});`,
    ],
    [/from job_run r\b(?!;)/, 'from json_populate_recordset(null::job_run, counted) as r'],
  ].reduce((source, [from, to]) => replaceOnce(source, from as RegExp, to as string), row?.source ?? '')
  await database.query(planted)
}

function replaceOnce(source: string, from: RegExp, to: string): string {
  const found = source.match(new RegExp(from, `${from.flags}g`))?.length ?? 0
  if (found !== 1) throw new Error(`the bug cannot be planted: ${from} is there ${found} times`)
  return source.replace(from, () => to)
}
