-- Retention: history goes by the day. A day is looked at, sealed, looked at again and dropped (docs/decisions/0010).
-- What changes a partition here needs a lock that everybody else would wait behind, so it gives up after a moment;
-- and it takes the lock of `create_daily_partitions` first, so that nobody else adds or drops one meanwhile.

-- The partition of a day; null when there is none (any more).
create function daily_partition(parent text, day date) returns regclass
language sql stable strict as $$
  select c.oid::regclass
  from partitioned_table t
  join pg_inherits i on i.inhparent = t.name::regclass
  join pg_class c on c.oid = i.inhrelid
  where t.name = parent and c.relname = t.name || '_' || to_char(day, 'YYYYMMDD')
$$;

-- Lets no row into a day any more and no row of it change, or ends that. Says whether it changed anything.
-- Not validated, so that neither is the day read nor does the planner think that it has no rows.
create function seal_day(parent text, day date, wanted boolean) returns boolean
language plpgsql
set lock_timeout = '100ms'
as $$
declare
  child regclass;
begin
  perform pg_advisory_xact_lock(hashtext('create_daily_partitions'));
  child := daily_partition(parent, day);
  if child is null or wanted = exists (
    select from pg_constraint where conrelid = child and conname = 'sealed_by_retention'
  ) then
    return false;
  end if;
  if wanted then
    execute format('alter table %s add constraint sealed_by_retention check (false) not valid', child);
  else
    execute format('alter table %s drop constraint sealed_by_retention', child);
  end if;
  return true;
end
$$;

-- Drops the partitions that the tables have of a day, all or none; those of the days that `create_daily_partitions`
-- makes are refused. A dropped partition is gone for its parent in one step; its files
-- are removed after the commit, when the locks are free again.
create function drop_day(parents text[], gone date) returns table (name text, bytes bigint)
language plpgsql
set timezone = 'UTC'
set lock_timeout = '100ms'
as $$
declare
  children text;
begin
  if gone >= current_date - 2 then
    raise exception 'the partitions of % are in use', gone;
  end if;
  perform pg_advisory_xact_lock(hashtext('create_daily_partitions'));
  return query
    select p.parent, pg_total_relation_size(p.child)
    from (select parent, daily_partition(parent, gone) as child from unnest(parents) as u (parent)) as p
    where p.child is not null;
  select string_agg(child::text, ', ' order by ord) into children
  from (
    select daily_partition(parent, gone) as child, ord from unnest(parents) with ordinality as u (parent, ord)
  ) as p;
  if children is not null then
    execute 'drop table ' || children;
  end if;
end
$$;

-- Jobs that are not over: unfinished, or a dead letter that can be replayed (the bin included). What belongs to one of
-- them is kept. Of `job_ready` also the rows that cancelled jobs left behind, until a claim or retention drops them.
create view open_job as
  select tenant_id, job_id from job_ready
  union all select tenant_id, job_id from job_run
  union all select tenant_id, job_id from job_deferred
  union all select tenant_id, job_id from job_dead;

-- Old dead letters go into the bin by themselves; for one that was taken out of it the time counts anew.
alter table job_dead add column restored_at timestamptz;
create index job_dead_to_bin on job_dead ((coalesce(restored_at, dead_at))) where not binned;

-- As before (0007), and with `restored_at`.
create or replace function bin_dead_letters(tenant uuid, ids uuid[], into_bin boolean, actor text, why text, plan uuid)
returns table (job_id uuid)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with moved as (
    update job_dead d
    set purged_at = case when into_bin then clock_timestamp() end,
        restored_at = case when into_bin then d.restored_at else clock_timestamp() end
    where d.tenant_id = tenant and d.job_id = any (ids) and d.binned <> into_bin
    returning d.job_id, d.queue, d.connector, d.operation
  ),
  told as materialized (
    select append_events(json_agg(json_build_object(
      'tenant_id', tenant, 'type', case when into_bin then 'job.purged' else 'job.restored' end,
      'message', case when into_bin then 'Moved to the bin by ' else 'Restored from the bin by ' end
        || actor || ': ' || why,
      'connector', m.connector, 'job_id', m.job_id, 'inbox_id', j.inbox_id,
      'correlation_id', j.correlation_id, 'trace_id', j.trace_id,
      'data', json_build_object(
        'queue', queue_name(m.queue), 'operation', m.operation, 'actor', actor, 'reason', why, 'plan_id', plan)
    ) order by m.job_id)) as events
    from moved m
    left join lateral (
      select * from job where tenant_id = tenant and id = m.job_id offset 0
    ) as j on true
  )
  select m.job_id from moved m, told;
end
$$;
