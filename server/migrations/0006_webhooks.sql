-- A webhook route binds one account of a provider to one workspace. `account` null means the sender's own
-- account (Stripe leaves it out there): such routes are told apart by which signing secret verifies.
create table webhook_route (
  tenant_id uuid not null references workspace (id),
  id uuid not null,
  provider text not null check (provider ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(provider) <= 40),
  account text check (length(account) between 1 and 255),
  livemode boolean not null,
  connector text not null check (length(connector) between 1 and 63),
  -- Several during a rotation: the provider signs with the old and the new secret for a while.
  secret_refs text[] not null
    check (cardinality(secret_refs) between 1 and 10 and array_position(secret_refs, null) is null),
  queue text not null check (queue in ('critical', 'webhook', 'default', 'low')),
  event_types text[] not null check (cardinality(event_types) between 1 and 100),
  emit_on_delivery json not null default '[]',
  created_at timestamptz not null default now(),
  created_by text not null,
  primary key (tenant_id, id)
);
create unique index webhook_route_id_key on webhook_route (id);
-- Across workspaces: an account's events have exactly one destination.
create unique index webhook_route_claim_key on webhook_route (provider, account, livemode)
  where account is not null;

-- Rises with every change of a route, in the same transaction: ingress keeps all routes in memory and asks
-- this one row whether they are still the latest. A trigger, so that no way of writing can forget it.
create table webhook_route_generation (
  only_row boolean primary key default true check (only_row),
  number bigint not null
);
insert into webhook_route_generation values (true, 1);

create function webhook_route_changed() returns trigger
language plpgsql as $$
begin
  update webhook_route_generation set number = number + 1;
  perform pg_notify('orchestrator_webhook_routes', '');
  return null;
end
$$;
create trigger webhook_route_changed after insert or update or delete on webhook_route
  for each statement execute function webhook_route_changed();

-- One row per accepted event. Whether it was delivered is the state of its job; `ignored` events have none.
create table webhook_inbox (
  tenant_id uuid not null,
  id uuid not null,
  route_id uuid not null,
  provider text not null,
  account text,
  livemode boolean not null,
  event_id text not null,
  event_type text not null,
  occurred_at timestamptz not null,
  received_at timestamptz not null default clock_timestamp(),
  state text not null check (state in ('accepted', 'ignored')),
  connector text not null,
  job_id uuid,
  -- Which secret verified it: with the stored bytes and headers the check can be repeated.
  secret_ref text not null,
  size int not null,
  request_id text not null,
  correlation_id text not null,
  trace_id text not null,
  primary key (tenant_id, id),
  check ((state = 'accepted') = (job_id is not null))
) partition by range (id);
create index webhook_inbox_of_trace on webhook_inbox (tenant_id, trace_id, id);

-- The exact bytes as they came, away from the narrow rows that lists read.
create table webhook_payload (
  tenant_id uuid not null,
  id uuid not null,
  body bytea not null,
  sha256 bytea not null check (length(sha256) = 32),
  headers json not null,
  primary key (tenant_id, id)
) partition by range (id);

-- Small and unpartitioned, because a partitioned table cannot hold this key. It outlives the inbox: Stripe
-- resends for up to 30 days. The order of the key also serves the inbox's search by event id.
create table webhook_dedupe (
  tenant_id uuid not null,
  event_id text not null,
  route_id uuid not null,
  inbox_id uuid not null,
  duplicates int not null default 0,
  last_seen_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  primary key (tenant_id, event_id, route_id)
) with (fillfactor = 90);
create index webhook_dedupe_expiry on webhook_dedupe (expires_at);

insert into partitioned_table (name, by_id) values ('webhook_inbox', true), ('webhook_payload', true);
select create_daily_partitions('webhook_inbox', true, 7);
select create_daily_partitions('webhook_payload', true, 7);
