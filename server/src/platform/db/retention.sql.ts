import { many, one } from './statement.ts'

export interface DueDayRow {
  /** `YYYY-MM-DD`, in UTC. */
  readonly day: string
  /** A round that did not come to its end has sealed it. */
  readonly sealed: boolean
}

/**
 * Days that ended `keepDays` ago and of which one of the tables still has a partition, oldest first. Days for which
 * `create_daily_partitions` would make partitions again are never among them.
 */
export const listDueDays = many<{ readonly tables: readonly string[]; readonly keepDays: number }, DueDayRow>(
  'retention.due_days',
  `select to_char(p.day, 'YYYY-MM-DD') as day,
          bool_or(exists (select from pg_constraint where conrelid = p.child and conname = 'sealed_by_retention'))
            as sealed
   from (
     select to_date(right(c.relname, 8), 'YYYYMMDD') as day, c.oid as child
     from partitioned_table t
     join pg_inherits i on i.inhparent = t.name::regclass
     join pg_class c on c.oid = i.inhrelid
     where t.name = any ($1::text[]) and c.relname ~ ('^' || t.name || '_[0-9]{8}$')
   ) as p
   where (p.day + 1 + $2::int)::timestamp at time zone 'UTC' <= now()
     and p.day < (now() at time zone 'UTC')::date - 2
   group by p.day
   order by p.day`,
  ({ tables, keepDays }) => [tables, keepDays],
)

/** See the SQL function. Throws when the lock cannot be had at once. */
export const sealDay = one<
  { readonly table: string; readonly day: string; readonly sealed: boolean },
  { readonly changed: boolean }
>('retention.seal_day', 'select seal_day($1, $2::date, $3) as changed', ({ table, day, sealed }) => [
  table,
  day,
  sealed,
])

/** See the SQL function: the partitions that were there. Throws when a lock cannot be had at once. */
export const dropDay = many<
  { readonly tables: readonly string[]; readonly day: string },
  { readonly name: string; readonly bytes: number }
>('retention.drop_day', 'select * from drop_day($1::text[], $2::date)', ({ tables, day }) => [tables, day])

/** For the rest of the transaction. */
export const limitStatements = one<{ readonly ms: number }, { readonly set: string }>(
  'retention.limit_statements',
  `select set_config('statement_timeout', $1::text, true) as set`,
  ({ ms }) => [String(ms)],
)

/** The bytes of the partitions that the tables have of a day. */
export const sizeOfDay = one<
  { readonly tables: readonly string[]; readonly day: string },
  { readonly bytes: number }
>(
  'retention.size_of_day',
  `select coalesce(sum(pg_total_relation_size(daily_partition(name, $2::date))), 0)::float8 as bytes
   from unnest($1::text[]) as t (name)`,
  ({ tables, day }) => [tables, day],
)
