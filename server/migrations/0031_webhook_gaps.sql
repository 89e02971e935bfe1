-- What a provider says it could not deliver, held against the inbox (docs/webhook-gaps.md).

-- How far the check of a route has come. A row is made when its first check begins.
create table webhook_gap_check (
  tenant_id uuid not null,
  route_id uuid not null,
  due_at timestamptz not null default now(),
  -- Of the worker that checks: what it writes counts only while it holds this.
  lease uuid,
  lease_until timestamptz,
  -- Everything before it has been looked at; null = nothing yet.
  looked_until timestamptz,
  -- The check that is under way: {until, after, pages, oldest, seen}, as features/webhook-gaps/check-position.ts has it.
  position json,
  last_checked_at timestamptz,
  last_failed_at timestamptz,
  last_error text check (length(last_error) <= 1000),
  -- Of the page it has come to, in a row.
  failures int not null default 0,
  -- How often in a row it has begun anew because a page failed again and again.
  restarts int not null default 0,
  primary key (tenant_id, route_id),
  foreign key (tenant_id, route_id) references webhook_route (tenant_id, id) on delete cascade,
  check ((lease is null) = (lease_until is null)),
  check ((last_error is null) = (failures = 0 and restarts = 0))
);
select protect_tenant_table('webhook_gap_check');

create table webhook_gap (
  tenant_id uuid not null,
  id uuid not null,
  route_id uuid not null,
  event_id text not null check (length(event_id) between 1 and 255),
  event_type text not null check (length(event_type) between 1 and 255),
  -- By which the provider finds it again.
  handle text not null check (length(handle) between 1 and 255),
  occurred_at timestamptz not null,
  first_seen_at timestamptz not null default now(),
  -- pulled: taken out of the provider's list; arrived: the provider has sent it after all.
  state text not null default 'missing' check (state in ('missing', 'pulled', 'arrived', 'dismissed')),
  -- When it is pulled (again); null = nobody wants that. While a worker does it, the end of its lease.
  pull_at timestamptz,
  pulls int not null default 0,
  pull_error text check (length(pull_error) <= 1000),
  inbox_id uuid,
  -- Who has decided last, and why.
  changed_at timestamptz,
  changed_by text,
  why text,
  primary key (tenant_id, id),
  unique (tenant_id, route_id, event_id),
  foreign key (tenant_id, route_id) references webhook_route (tenant_id, id) on delete cascade,
  check (state = 'missing' or pull_at is null),
  check (state not in ('pulled', 'arrived') or inbox_id is not null)
);
create index webhook_gap_missing on webhook_gap (tenant_id, route_id, id) where state = 'missing';
create index webhook_gap_wanted on webhook_gap (pull_at) where pull_at is not null;
create index webhook_gap_age on webhook_gap (first_seen_at);
select protect_tenant_table('webhook_gap');
