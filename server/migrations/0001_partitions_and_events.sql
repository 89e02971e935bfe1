-- Daily partitions for history that is dropped by the day, never deleted row by row.
-- Two kinds of parents: by a timestamptz column, and by a UUIDv7 id (its first 48 bits are the time in ms).

-- The smallest UUIDv7 of a moment: the bound of an id-ranged partition.
create function first_id_at(moment timestamptz) returns uuid
language sql immutable strict as $$
  select (
    substr(hex, 1, 8) || '-' || substr(hex, 9, 4) || '-7000-8000-000000000000'
  )::uuid
  from (select lpad(to_hex((extract(epoch from moment) * 1000)::bigint), 12, '0') as hex) as h
$$;

-- Every partitioned table registers here; the maintenance of the worker keeps partitions ahead of all of them.
-- `storage` holds the storage parameters of the partitions, because a partitioned parent cannot carry them.
create table partitioned_table (
  name text primary key,
  by_id boolean not null,
  storage text not null default ''
);

-- Makes the partitions of `parent` from two days back (clock skew, late batches) to `days_ahead`. Idempotent,
-- and safe to run from several processes at once. A partition is made on its own and then attached: unlike
-- `create table … partition of` that does not lock out the readers and writers of the parent. It is not analysed
-- while it is empty: for a table without statistics the planner assumes ten pages and takes the index with the
-- whole key, for one that it knows to be empty any plan costs the same, and cached plans would keep it.
create function create_daily_partitions(parent regclass, by_id boolean, days_ahead int) returns int
language plpgsql
set timezone = 'UTC'
as $$
declare
  options text := (select nullif(storage, '') from partitioned_table where name = parent::text);
  day date;
  child text;
  first_value text;
  next_value text;
  created int := 0;
begin
  perform pg_advisory_xact_lock(hashtext('create_daily_partitions'));
  for day in
    select generate_series(current_date - 2, current_date + days_ahead, interval '1 day')::date
  loop
    child := parent::text || '_' || to_char(day, 'YYYYMMDD');
    if to_regclass(child) is null then
      first_value := case when by_id then first_id_at(day::timestamptz)::text else day::timestamptz::text end;
      next_value := case when by_id then first_id_at((day + 1)::timestamptz)::text else (day + 1)::timestamptz::text end;
      execute format('create table %I (like %s including all)', child, parent)
        || coalesce(' with (' || options || ')', '');
      execute format(
        'alter table %s attach partition %I for values from (%L) to (%L)', parent, child, first_value, next_value
      );
      created := created + 1;
    end if;
  end loop;
  return created;
end
$$;

create function create_partitions_ahead(days_ahead int) returns int
language sql as $$
  select coalesce(sum(create_daily_partitions(name::regclass, by_id, days_ahead)), 0)::int from partitioned_table
$$;

-- The EventLog (DESIGN D8): append-only, written in the transaction of what it tells.
-- (xid, seq) is the cursor of the stream: seq alone is taken before the commit, so a reader that asks for
-- `seq > last` skips what commits late. Readers stay below pg_snapshot_xmin(pg_current_snapshot()).
create sequence event_seq as bigint cache 1;

create table event (
  tenant_id uuid not null,
  xid xid8 not null default pg_current_xact_id(),
  seq bigint not null default nextval('event_seq'),
  at timestamptz not null default clock_timestamp(),
  type text not null,
  severity text not null default 'info' check (severity in ('debug', 'info', 'warning', 'error')),
  message text not null default '',
  connector text,
  job_id uuid,
  inbox_id uuid,
  request_id text,
  correlation_id text,
  trace_id text,
  data json not null default '{}',
  primary key (tenant_id, xid, seq, at)
) partition by range (at);
alter sequence event_seq owned by event.seq;

create index event_of_job on event (tenant_id, job_id, xid, seq) where job_id is not null;
create index event_of_trace on event (tenant_id, trace_id, xid, seq) where trace_id is not null;

insert into partitioned_table values ('event', false);
select create_daily_partitions('event', false, 7);

-- Appends a json array of events in the caller's transaction, whatever statement or function calls it.
create function append_events(events json) returns int
language sql volatile as $$
  with appended as (
    insert into event (tenant_id, type, severity, message, connector, job_id, inbox_id,
                       request_id, correlation_id, trace_id, data)
    select tenant_id, type, coalesce(severity, 'info'), coalesce(message, ''), connector, job_id, inbox_id,
           request_id, correlation_id, trace_id, coalesce(data, '{}')
    from json_to_recordset(events) as e (
      tenant_id uuid, type text, severity text, message text, connector text, job_id uuid, inbox_id uuid,
      request_id text, correlation_id text, trace_id text, data json
    )
    returning 1
  )
  select count(*)::int from appended
$$;
