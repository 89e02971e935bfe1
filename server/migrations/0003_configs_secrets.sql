-- DESIGN D1: a workspace's config is one immutable document; the pointer says which version is active.
create table config_version (
  tenant_id uuid not null references workspace (id),
  version int not null check (version > 0),
  document json not null,
  sha256 bytea not null,
  author text not null,
  reason text not null check (length(reason) between 1 and 500),
  created_at timestamptz not null default now(),
  primary key (tenant_id, version)
);

create function refuse_change() returns trigger
language plpgsql as $$
begin
  raise exception '% rows are immutable', tg_table_name;
end
$$;

create trigger config_version_is_immutable before update or delete on config_version
  for each row execute function refuse_change();
create trigger audit_entry_is_immutable before update or delete on audit_entry
  for each row execute function refuse_change();

create table config_pointer (
  tenant_id uuid primary key references workspace (id),
  version int not null,
  activated_at timestamptz not null default now(),
  activated_by text not null,
  foreign key (tenant_id, version) references config_version (tenant_id, version)
);

-- A connector's number inside its workspace: the queue's lanes use it instead of the name. Never reused, so
-- that jobs that wait for a removed connector cannot land on another one.
create table connector_lane (
  tenant_id uuid not null references workspace (id),
  lane int not null,
  connector text not null,
  primary key (tenant_id, lane),
  unique (tenant_id, connector)
);

-- Where a secret's value is found; the value itself is never here.
create table secret_ref (
  tenant_id uuid not null references workspace (id),
  name text not null check (name ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(name) <= 63),
  ref text not null check (ref ~ '^[a-z]+://' and length(ref) <= 300),
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, name)
);
