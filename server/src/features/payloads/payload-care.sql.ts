import { many, maybeOne, one, run } from '../../platform/db/statement.ts'

/** Maintenance over all workspaces: for the worker. */

interface Named {
  readonly tenantId: string
  readonly id: string
}

export interface SpooledRow {
  readonly tenant_id: string
  readonly id: string
  readonly body: Buffer
  readonly object_key: string
}

/** The oldest that no other worker has in its hands; locked with its row, so that it cannot go meanwhile. */
export const takeSpooled = maybeOne<{ readonly store: string; readonly not: readonly string[] }, SpooledRow>(
  'payloads.take_spooled',
  `select s.tenant_id, s.id, s.body, p.object_key
   from payload_spool s join payload p on p.tenant_id = s.tenant_id and p.id = s.id
   where p.store = $1 and s.id <> all ($2::uuid[])
   order by s.spooled_at limit 1 for update of s, p skip locked`,
  ({ store, not }) => [store, not],
)

export const leaveSpool = run<Named>(
  'payloads.leave_spool',
  'delete from payload_spool where tenant_id = $1 and id = $2',
  ({ tenantId, id }) => [tenantId, id],
)

/** Bodies whose row was never written: their request has failed after the spool took them. */
export const dropAbandoned = run<{ readonly afterMs: number }>(
  'payloads.drop_abandoned',
  `delete from payload_spool s where spooled_at < clock_timestamp() - $1 * interval '1 millisecond'
     and not exists (select from payload p where p.tenant_id = s.tenant_id and p.id = s.id)`,
  ({ afterMs }) => [afterMs],
)

export const measureSpool = one<undefined, { readonly bytes: number; readonly bodies: number }>(
  'payloads.measure_spool',
  'select coalesce(sum(size), 0)::bigint as bytes, count(*) as bodies from payload_spool',
  () => [],
)

/** Objects whose time to be deleted has come, put off meanwhile so that no other worker takes them. */
export const takeErasures = many<
  { readonly stores: readonly string[]; readonly limit: number },
  { readonly store: 'disk' | 's3'; readonly object_key: string }
>(
  'payloads.take_erasures',
  `update payload_erasure e
   set tries = e.tries + 1, due_at = clock_timestamp() + least(3600, 60 * 2 ^ e.tries) * interval '1 second'
   from (select store, object_key from payload_erasure
         where due_at <= clock_timestamp() and store = any ($1::text[])
         order by due_at limit $2 for update skip locked) as due
   where e.store = due.store and e.object_key = due.object_key
   returning e.store, e.object_key`,
  ({ stores, limit }) => [stores, limit],
)

export const endErasures = run<{ readonly store: string; readonly keys: readonly string[] }>(
  'payloads.end_erasures',
  'delete from payload_erasure where store = $1 and object_key = any ($2::text[])',
  ({ store, keys }) => [store, keys],
)

export const countErasures = one<undefined, { readonly due: number }>(
  'payloads.count_erasures',
  'select count(*) as due from (select from payload_erasure limit 100000) as counted',
  () => [],
)

/** Looks at the next rows and deletes those that nothing refers to. `last_*` is null when there was none to look at. */
export const dropOwnerless = one<
  { readonly after: Named; readonly limit: number; readonly olderThanMs: number },
  { readonly tenant_id: string | null; readonly id: string | null; readonly gone: number }
>(
  'payloads.drop_ownerless',
  `with looked as materialized (
     select tenant_id, id from payload where (tenant_id, id) > ($1, $2) order by tenant_id, id limit $3
   ),
   ownerless as materialized (
     select o.tenant_id, o.id from looked l
     cross join lateral (
       select * from payload_without_owner w where w.tenant_id = l.tenant_id and w.id = l.id offset 0
     ) as o
     where o.created_at < now() - $4 * interval '1 millisecond'
   ),
   gone as (
     delete from payload p using ownerless o where p.tenant_id = o.tenant_id and p.id = o.id returning 1
   )
   select l.tenant_id, l.id, (select count(*) from gone) as gone
   from (select 1) as always
   left join (select tenant_id, id from looked order by tenant_id desc, id desc limit 1) as l on true`,
  ({ after, limit, olderThanMs }) => [after.tenantId, after.id, limit, olderThanMs],
)

/** Days whose objects can all be told by now, and have not been looked through, oldest first. */
export const daysToSweep = many<{ readonly store: string; readonly days: number }, { readonly day: string }>(
  'payloads.days_to_sweep',
  `select to_char(d, 'YYYY-MM-DD') as day
   from generate_series((now() at time zone 'utc')::date - $2::int, (now() at time zone 'utc')::date - 2, interval '1 day') as d
   where not exists (select from payload_swept_day s where s.store = $1 and s.day = d::date)
   order by d`,
  ({ store, days }) => [store, days],
)

export const endDay = run<{ readonly store: string; readonly day: string; readonly days: number }>(
  'payloads.end_day',
  `with old as (delete from payload_swept_day where store = $1 and day < (now() at time zone 'utc')::date - 2 * $3::int)
   insert into payload_swept_day (store, day) values ($1, $2::date) on conflict do nothing`,
  ({ store, day, days }) => [store, day, days],
)

/** Which of them have a row, or wait for one in the spool. */
export const findKnown = many<{ readonly of: readonly Named[] }, { readonly id: string }>(
  'payloads.find_known',
  `select id from json_to_recordset($1::json) as k (tenant_id uuid, id uuid)
   where exists (select from payload p where p.tenant_id = k.tenant_id and p.id = k.id)`,
  ({ of }) => [JSON.stringify(of.map(({ tenantId, id }) => ({ tenant_id: tenantId, id })))],
)
