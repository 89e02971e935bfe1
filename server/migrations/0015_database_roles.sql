-- Row-level security, the second wall behind the filters of the statements (docs/decisions/0015). Three roles see the
-- same tables; `migrate` makes the two that are named here before it runs this file:
--   the owner               migrates, and lends itself to the few functions that are marked `security definer`
--   orchestrator_service    what the processes are: sees all workspaces, because queues and retention serve all of them
--   orchestrator_request    what a request of one workspace is: sees the workspace that its transaction names in
--                           `orchestrator.tenant_id`, and nothing when it names none
-- Nothing is for everybody (`public`) but the use of the schema, which Postgres gives by itself.

-- The workspace of the present request; null outside of one, which equals nothing.
create function request_tenant() returns uuid
language sql stable parallel safe
as $$ select nullif(current_setting('orchestrator.tenant_id', true), '')::uuid $$;

-- Puts a table with a tenant column behind the wall: forced, so that it holds for the owner's own requests, too.
-- Gives requests the use of it; a table in which they may do less takes some of it back.
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
  execute format('grant select, insert, update, delete on %s to orchestrator_request', protected);
end
$$;

-- Lends the owner's rights to a function. Its names mean what they meant here, whatever its caller has made since, and
-- only the processes call it; who else may is granted by name.
create function run_as_owner(lent regprocedure) returns void
language plpgsql as $$
begin
  execute format('alter function %s security definer set search_path = %I, pg_temp', lent, current_schema());
  execute format('revoke execute on function %s from public, orchestrator_request', lent);
end
$$;

-- What the processes use, of now and of later migrations, and the partitions that are made every day.
do $$
declare
  here text := quote_ident(current_schema());
begin
  execute format('grant usage on schema %s to orchestrator_service, orchestrator_request', here);
  execute format('grant select, insert, update, delete on all tables in schema %s to orchestrator_service', here);
  execute format('grant usage, select on all sequences in schema %s to orchestrator_service', here);
  execute format('revoke execute on all functions in schema %s from public', here);
  execute format('grant execute on all functions in schema %s to orchestrator_service, orchestrator_request', here);
  execute format('alter default privileges in schema %s grant select, insert, update, delete on tables to orchestrator_service', here);
  execute format('alter default privileges in schema %s grant usage, select on sequences to orchestrator_service', here);
  execute format('alter default privileges in schema %s grant execute on functions to orchestrator_service, orchestrator_request', here);
end
$$;
-- That functions are for everybody is a default of the whole database: it can only be taken back there.
alter default privileges revoke execute on functions from public;

-- The schema, and what the functions below believe about it, is the owner's to write.
revoke insert, update, delete on schema_migration, partitioned_table from orchestrator_service;

-- Every table of a tenant but the partitions, which are reached through their parents only.
select protect_tenant_table(a.attrelid::regclass)
from pg_attribute a
join pg_class c on c.oid = a.attrelid
where a.attname = 'tenant_id' and not a.attisdropped and c.relnamespace = current_schema()::regnamespace
  and c.relkind in ('r', 'p') and not c.relispartition
order by c.relname;
select protect_tenant_table('workspace', 'id');
-- A workspace neither makes nor ends itself.
revoke insert, delete on workspace from orchestrator_request;

-- What is written once. `audit_entry` and its heads: see the migration of the audit chain, too.
revoke update, delete on audit_entry, config_version from orchestrator_service, orchestrator_request;
-- Replays and events number their rows.
grant usage on sequence event_seq, job_ready_seq, job_lease_seq to orchestrator_request;

-- A view asks with the rights of its owner unless told otherwise: with the eyes of all workspaces.
alter view open_job set (security_invoker = true);

-- Partitions belong to the owner. Days in use are refused by the functions themselves.
select run_as_owner(f)
from unnest(array[
  'create_daily_partitions(regclass, boolean, int)', 'seal_day(text, date, boolean)', 'drop_day(text[], date)',
  'analyze_fresh_partitions()'
]::regprocedure[]) as f;
-- The trigger of a workspace's route moves the number that all workspaces share.
select run_as_owner('webhook_route_changed()');
