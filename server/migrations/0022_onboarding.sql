-- Runs of the onboarding checklist. A run is alive while it says so: one that has fallen silent was broken off with its
-- process, and a control process, or the next run, cleans up after it.
create table onboarding_run (
  tenant_id uuid not null references workspace (id),
  id uuid not null,
  state text not null default 'running' check (state in ('running', 'passed', 'failed', 'broken_off')),
  started_by text not null,
  reason text not null check (length(reason) between 1 and 500),
  lines json not null default '[]',
  started_at timestamptz not null default now(),
  alive_at timestamptz not null default now(),
  ended_at timestamptz,
  -- The neighbour is one workspace for all runs of the hub: one run at a time works with it.
  uses_neighbour boolean not null default false,
  -- Nothing that it has added is left. Until then a control process takes it away, `sweeping` meanwhile; after some
  -- tries in vain only the next run does.
  cleared boolean not null default false,
  sweeping boolean not null default false,
  sweeps int not null default 0,
  primary key (tenant_id, id),
  check ((state = 'running') = (ended_at is null))
);
create unique index onboarding_run_one_at_a_time on onboarding_run (tenant_id) where state = 'running' or sweeping;
create unique index onboarding_run_one_neighbour on onboarding_run (uses_neighbour)
  where uses_neighbour;
create index onboarding_run_left on onboarding_run (id) where not cleared;
select protect_tenant_table('onboarding_run');

-- Rows of one table as text, of one workspace, from `first_block` on: what the search for secrets reads. The search
-- itself is made by the caller, so that no value of a secret is ever sent to the database, whose log may hold it.
create function tenant_rows_as_text(
  searched regclass, tenant_column text, tenant uuid, first_block bigint, blocks bigint, longest int
) returns setof text
language plpgsql stable as $$
begin
  return query execute format(
    'select left(row_to_json(t)::text, $4) from %s t where t.%I = $1 and t.ctid >= $2 and t.ctid < $3',
    searched, tenant_column
  ) using tenant, format('(%s,0)', first_block)::tid, format('(%s,0)', first_block + blocks)::tid, longest;
end
$$;
