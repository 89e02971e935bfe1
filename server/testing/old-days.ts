import type { Db } from '../src/platform/db/db.ts'
import { dropDay } from '../src/platform/db/retention.sql.ts'
import { many, run } from '../src/platform/db/statement.ts'
import { newId } from '../src/platform/ids.ts'

const DAY_MS = 86_400_000

/** `YYYY-MM-DD` of so many days ago, in UTC. */
export const dayAgo = (days: number): string =>
  new Date(Date.now() - days * DAY_MS).toISOString().slice(0, 10)

/** A new id that was made at noon of that day. */
export function idOfDay(day: string): string {
  const hex = Date.parse(`${day}T12:00:00Z`).toString(16).padStart(12, '0')
  return `${hex.slice(0, 8)}-${hex.slice(8)}${newId().slice(13)}`
}

/** Makes the partition of a day that is past the reach of `create_daily_partitions`, with its bounds. */
const openDay = run<{ readonly table: string; readonly day: string }>(
  'test.open_day',
  `select set_config('test.table', $1, false), set_config('test.day', $2, false)`,
  ({ table, day }) => [table, day],
)
const openDayNow = run<undefined>(
  'test.open_day_now',
  `do $$
   declare
     parent text := current_setting('test.table');
     day date := current_setting('test.day')::date;
     by_id boolean := (select t.by_id from partitioned_table t where name = parent);
   begin
     execute format('create table if not exists %I partition of %I for values from (%L) to (%L)',
       parent || '_' || to_char(day, 'YYYYMMDD'), parent,
       case when by_id then first_id_at(day::timestamp at time zone 'UTC')::text else day::text end,
       case when by_id then first_id_at((day + 1)::timestamp at time zone 'UTC')::text else (day + 1)::text end);
   end $$`,
  () => [],
)

export const openDays = (db: Db, tables: readonly string[], days: readonly string[]): Promise<void> =>
  db.transaction(async (tx) => {
    for (const table of tables)
      for (const day of days) {
        await openDay(tx, { table, day })
        await openDayNow(tx, undefined)
      }
  })

const partitions = many<{ readonly table: string }, { readonly day: string }>(
  'test.partitions',
  `select to_char(to_date(right(c.relname, 8), 'YYYYMMDD'), 'YYYY-MM-DD') as day
   from pg_inherits i join pg_class c on c.oid = i.inhrelid
   where i.inhparent = $1::regclass order by 1`,
  ({ table }) => [table],
)

/** The days of a table that are older than what `create_daily_partitions` makes. */
export const oldDaysOf = async (db: Db, table: string): Promise<string[]> =>
  (await partitions(db, { table })).map(({ day }) => day).filter((day) => day < dayAgo(2))

/** Removes what a test has left of the old days. */
export async function closeOldDays(db: Db, tables: readonly string[]): Promise<void> {
  const days = (await Promise.all(tables.map((table) => oldDaysOf(db, table)))).flat()
  for (const day of new Set(days)) await dropDay(db, { tables, day })
}
