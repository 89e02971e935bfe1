-- Row-level security, the second wall behind the filters of the statements. Three roles see the same tables:
--   the owner               migrates, and runs the few functions that are marked `security definer`
--   orchestrator_service    what the processes are: sees all workspaces, because queues and retention serve all of them
--   orchestrator_request    what a request of one workspace is (`set local role`): sees the workspace that the
--                           transaction names in `orchestrator.tenant_id`, and nothing when it names none
-- Roles belong to the whole server, so another database's hub may have made them already.
do $$
declare
  wanted text;
begin
  foreach wanted in array array['orchestrator_service', 'orchestrator_request'] loop
    begin
      if not exists (select from pg_roles where rolname = wanted) then
        execute format('create role %I nologin', wanted);
      end if;
    exception when duplicate_object or unique_violation then null;
    end;
    if not pg_has_role(current_user, wanted, 'member') then
      execute format('grant %I to %I', wanted, current_user);
    end if;
  end loop;
end
$$;

-- The workspace of the present request; null outside of one, which equals nothing.
create function request_tenant() returns uuid
language sql stable parallel safe
as $$ select nullif(current_setting('orchestrator.tenant_id', true), '')::uuid $$;

-- Puts a table with a tenant column behind the wall: forced, so that it holds for the owner's own requests, too.
create function protect_tenant_table(protected regclass, tenant_column text default 'tenant_id') returns void
language plpgsql as $$
begin
  execute format('alter table %s enable row level security', protected);
  execute format('alter table %s force row level security', protected);
  execute format('create policy owner on %s to %I using (true) with check (true)', protected, current_user);
  execute format('create policy service on %s to orchestrator_service using (true) with check (true)', protected);
  execute format(
    'create policy request on %s to orchestrator_request using (%I = request_tenant()) with check (%I = request_tenant())',
    protected, tenant_column, tenant_column
  );
end
$$;

-- Every table of a tenant but the partitions, which are reached through their parents only.
select protect_tenant_table(a.attrelid::regclass)
from pg_attribute a
join pg_class c on c.oid = a.attrelid
where a.attname = 'tenant_id' and not a.attisdropped and c.relnamespace = current_schema()::regnamespace
  and c.relkind in ('r', 'p') and not c.relispartition
order by c.relname;
select protect_tenant_table('workspace', 'id');
