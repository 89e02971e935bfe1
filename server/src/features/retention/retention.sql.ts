import { many, maybeOne, one, run } from '../../platform/db/statement.ts'
import type { Subject } from './subjects.ts'

interface OwnDaysRow {
  readonly tenant_id: string
  readonly subject: Subject
  readonly days: number
}

/** Of workspaces that are still there. */
export const listOwnDays = many<Record<never, never>, OwnDaysRow>(
  'retention.own_days',
  `select r.tenant_id, r.subject, r.days from workspace_retention r
   join workspace w on w.id = r.tenant_id and w.status <> 'deleted'`,
  () => [],
)

export const daysOfWorkspace = many<{ readonly tenantId: string }, Omit<OwnDaysRow, 'tenant_id'>>(
  'retention.days_of_workspace',
  'select subject, days from workspace_retention where tenant_id = $1',
  ({ tenantId }) => [tenantId],
)

export const setDays = run<{ readonly tenantId: string; readonly subject: Subject; readonly days: number }>(
  'retention.set_days',
  `insert into workspace_retention (tenant_id, subject, days) values ($1, $2, $3)
   on conflict (tenant_id, subject) do update set days = excluded.days`,
  ({ tenantId, subject, days }) => [tenantId, subject, days],
)

export const clearDays = run<{ readonly tenantId: string; readonly subject: Subject }>(
  'retention.clear_days',
  'delete from workspace_retention where tenant_id = $1 and subject = $2',
  ({ tenantId, subject }) => [tenantId, subject],
)

/** What was trimmed under other days is looked at again from the beginning. */
export const forgetTrim = run<{ readonly tenantId: string; readonly subject: Subject }>(
  'retention.forget_trim',
  'delete from retention_trim where tenant_id = $1 and subject = $2',
  ({ tenantId, subject }) => [tenantId, subject],
)

/** Workspaces, and what belongs to none of them. */
export const listOwners = many<Record<never, never>, { readonly id: string }>(
  'retention.owners',
  'select id from workspace order by id',
  () => [],
)

/**
 * Days of a table that are past the time of a workspace, oldest first: those behind `done_until` of its last look, or
 * none while that was less than twenty hours ago.
 */
export const listDaysToTrim = many<
  { readonly tenantId: string; readonly subject: Subject; readonly table: string; readonly days: number },
  { readonly day: string }
>(
  'retention.days_to_trim',
  `select to_char(p.day, 'YYYY-MM-DD') as day
   from (
     select to_date(right(c.relname, 8), 'YYYYMMDD') as day
     from partitioned_table t
     join pg_inherits i on i.inhparent = t.name::regclass
     join pg_class c on c.oid = i.inhrelid
     where t.name = $3 and c.relname ~ ('^' || t.name || '_[0-9]{8}$')
   ) as p
   left join retention_trim seen on seen.tenant_id = $1 and seen.subject = $2
   where (p.day + 1 + $4::int)::timestamp at time zone 'UTC' <= now()
     and p.day < (now() at time zone 'UTC')::date - 2
     and p.day > coalesce(seen.done_until, '-infinity')
     and coalesce(seen.looked_at, '-infinity') < now() - interval '20 hours'
   order by p.day`,
  ({ tenantId, subject, table, days }) => [tenantId, subject, table, days],
)

export const rememberTrim = run<{
  readonly tenantId: string
  readonly subject: Subject
  /** Null: nothing could be done with, and everything is looked at again tomorrow. */
  readonly doneUntil: string | null
}>(
  'retention.remember_trim',
  `insert into retention_trim (tenant_id, subject, done_until, looked_at)
   values ($1, $2, coalesce($3::date, '-infinity'), now())
   on conflict (tenant_id, subject)
     do update set done_until = greatest(retention_trim.done_until, excluded.done_until), looked_at = now()`,
  ({ tenantId, subject, doneUntil }) => [tenantId, subject, doneUntil],
)

/** See the SQL function. */
export const trimDay = one<
  { readonly table: string; readonly day: string; readonly tenantId: string; readonly most: number },
  { readonly trimmed: number }
>(
  'retention.trim_day',
  'select trim_day($1, $2::date, $3, $4) as trimmed',
  ({ table, day, tenantId, most }) => [table, day, tenantId, most],
)

/** For a preview: rows that a workspace has in a table before a day. Counted no further than a million. */
export const countRows = maybeOne<
  {
    readonly table: 'event' | 'request_log' | 'job' | 'webhook_inbox'
    readonly tenantId: string
    readonly day: string
  },
  { readonly rows: number }
>(
  'retention.count_rows',
  // One branch per table: the name of a table cannot be a parameter.
  `select case $1
     when 'event' then (select count(*) from (
       select from event where tenant_id = $2 and at >= $3::date::timestamp at time zone 'UTC' and at < ($3::date + 1)::timestamp at time zone 'UTC' limit 1000000) as e)
     when 'request_log' then (select count(*) from (
       select from request_log where tenant_id = $2 and id >= first_id_at($3::date::timestamp at time zone 'UTC') and id < first_id_at(($3::date + 1)::timestamp at time zone 'UTC')
       limit 1000000) as r)
     when 'job' then (select count(*) from (
       select from job where tenant_id = $2 and id >= first_id_at($3::date::timestamp at time zone 'UTC') and id < first_id_at(($3::date + 1)::timestamp at time zone 'UTC')
       limit 1000000) as j)
     when 'webhook_inbox' then (select count(*) from (
       select from webhook_inbox where tenant_id = $2 and id >= first_id_at($3::date::timestamp at time zone 'UTC') and id < first_id_at(($3::date + 1)::timestamp at time zone 'UTC')
       limit 1000000) as w)
   end::int as rows`,
  ({ table, tenantId, day }) => [table, tenantId, day],
)

/** Letters that are past their time and not in the bin, and entries of audit logs that are past theirs. */
export const countOld = one<
  { readonly letterDays: number; readonly auditDays: number },
  { readonly letters: number; readonly entries: number }
>(
  'retention.count_old',
  `select
     (select count(*) from job_dead
      where not binned and coalesce(restored_at, dead_at) < now() - keep_days(tenant_id, 'dead_letters', $1) * interval '1 day')::int as letters,
     (select coalesce(sum(c.entries), 0) from audit_head h
      cross join lateral (
        select count(*) as entries from audit_entry e
        where e.tenant_id = h.tenant_id
          and e.seq <= (select max(seq) from audit_checkpoint k
                        where k.tenant_id = h.tenant_id
                          and k.at < now() - keep_days(h.tenant_id, 'audit', $2) * interval '1 day')
      ) as c)::int as entries`,
  ({ letterDays, auditDays }) => [letterDays, auditDays],
)
