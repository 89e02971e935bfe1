-- Templates, quotas and the end of a workspace.
-- A workspace that is being deleted keeps everything until `delete_after`; then its rows go, and what stays is the row
-- itself with its slug, so that nobody takes the name of a dead workspace, and the audit chain.

alter table workspace
  drop constraint workspace_status_check,
  add constraint workspace_status_check check (status in ('active', 'suspended', 'deleting', 'deleted')),
  -- Why, by whom and since when it has its status; null = since it was made.
  add column status_reason text check (length(status_reason) between 1 and 500),
  add column status_by text,
  add column status_at timestamptz,
  -- What it goes back to when the deletion is called off.
  add column status_before text check (status_before in ('active', 'suspended')),
  add column delete_after timestamptz,
  add column template text,
  -- Limits by quota; what is absent has the default of the code.
  add column quotas jsonb not null default '{}' check (jsonb_typeof(quotas) = 'object'),
  add constraint workspace_end_is_dated check (
    (status in ('deleting', 'deleted')) = (delete_after is not null)
    and (status = 'deleting') = (status_before is not null)
  );
create index workspace_to_purge on workspace (delete_after) where status = 'deleting';

-- A request may lock the row of its workspace, and for that must be able to change some column of it; but never
-- whether it lives or how much it may have.
revoke update on workspace from orchestrator_request;
grant update (name) on workspace to orchestrator_request;

-- Every table that has rows of a workspace, but the audit log: by its column `tenant_id`, or because it refers to one.
create view workspace_table with (security_invoker = true) as
  select distinct on (c.oid) c.oid::regclass as name, a.attname as tenant_column,
    exists (select from pg_constraint f where f.confrelid = c.oid and f.contype = 'f' and f.conrelid <> c.oid) as referred_to
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.relname not in ('workspace', 'audit_entry', 'audit_head', 'audit_checkpoint')
    and (
      a.attname = 'tenant_id'
      or exists (
        select from pg_constraint f
        where f.conrelid = c.oid and f.contype = 'f' and f.confrelid = 'workspace'::regclass and f.conkey = array[a.attnum]
      )
    )
  order by c.oid, a.attname;

-- Versions of a config are immutable for as long as their workspace is there.
create function refuse_change_of_the_living() returns trigger
language plpgsql as $$
begin
  if tg_op = 'DELETE' and exists (
    select from workspace where id = old.tenant_id and status = 'deleting' and delete_after <= now()
  ) then
    return old;
  end if;
  raise exception '% rows are immutable', tg_table_name;
end
$$;
drop trigger config_version_is_immutable on config_version;
create trigger config_version_is_immutable before update or delete on config_version
  for each row execute function refuse_change_of_the_living();

-- Removes up to so many rows of a workspace whose time has come, and says how many; 0 = none is left. Refuses every
-- other workspace. The lock of its row keeps out whoever would add what refers to it.
create function purge_workspace(p_tenant uuid, p_rows int) returns int
language plpgsql
-- The key of a tenant is the beginning of an index nearly everywhere; statistics of a day's partition may not know it.
set enable_seqscan = off
set jit = off
as $$
declare
  part record;
  gone int := 0;
  step int;
  held text;
begin
  perform from workspace where id = p_tenant and status = 'deleting' and delete_after <= now() for update;
  if not found then
    if exists (select from workspace where id = p_tenant and status = 'deleted') then
      return 0;
    end if;
    raise exception 'the time of this workspace has not come' using errcode = 'insufficient_privilege';
  end if;
  for part in
    select leaf.relid as name, t.tenant_column
    from workspace_table t, lateral (
      select t.name as relid where not exists (select from pg_inherits where inhparent = t.name)
      union all
      select p.relid from pg_partition_tree(t.name) as p where p.isleaf and p.relid <> t.name
    ) as leaf
    order by t.referred_to, leaf.relid
  loop
    begin
      execute format(
        'delete from %s where ctid = any (array(select ctid from %s where %I = $1 limit $2))',
        part.name, part.name, part.tenant_column
      ) using p_tenant, p_rows - gone;
      get diagnostics step = row_count;
      gone := gone + step;
    exception when foreign_key_violation then
      -- Its rows go after those that refer to them.
      held := part.name;
    end;
    exit when gone >= p_rows;
  end loop;
  if gone = 0 and held is not null then
    raise exception 'rows of % are referred to by something that stays', held;
  end if;
  return gone;
end
$$;
select run_as_owner('purge_workspace(uuid, int)');

-- How much of a quota a workspace uses; counted no further than `most`.
create function workspace_use(p_tenant uuid, p_quota text, most bigint default 9007199254740991) returns bigint
language plpgsql stable as $$
begin
  -- Branch by branch: a request reads no table that it does not ask about.
  case p_quota
    when 'connectors' then
      return (
        select count(*) from config_pointer p
        join config_version v on v.tenant_id = p.tenant_id and v.version = p.version,
        json_object_keys(v.document -> 'connectors')
        where p.tenant_id = p_tenant);
    when 'config_versions' then
      return (select count(*) from config_version where tenant_id = p_tenant);
    when 'webhook_routes' then
      return (select count(*) from webhook_route where tenant_id = p_tenant);
    when 'secret_refs' then
      return (select count(*) from secret_ref where tenant_id = p_tenant);
    when 'service_identities' then
      return (select count(*) from service_identity where tenant_id = p_tenant and revoked_at is null);
    when 'members' then
      return (select count(*) from operator_role where workspace_id = p_tenant);
    when 'jobs_waiting' then
      return (
        select count(*) from (
          select from (
            select from job_ready where queue in (0, 1, 2, 3) and tenant_id = p_tenant
            union all select from job_deferred where tenant_id = p_tenant
          ) as waiting limit most
        ) as counted);
  end case;
end
$$;
