-- Who acted as whom. The row tells and ends it; the token itself is never stored.
create table impersonation (
  tenant_id uuid not null references workspace (id),
  id uuid not null,
  -- The `jti` of the only token.
  token_id text not null,
  impersonator text not null,
  -- The sign-on that it came from and ends with; null = the token of the machine of the hub.
  session_id text,
  subject text not null check (subject <> impersonator),
  read_only boolean not null,
  reason text not null check (length(reason) between 1 and 500),
  started_at timestamptz not null default now(),
  expires_at timestamptz not null check (expires_at <= started_at + interval '60 minutes'),
  ended_at timestamptz,
  ended_by text,
  primary key (tenant_id, id),
  check ((ended_at is null) = (ended_by is null))
);
-- What ends with a session or a role.
create index impersonation_living on impersonation (expires_at) where ended_at is null;
select protect_tenant_table('impersonation');

-- Emergency sessions. They reach over all workspaces, so they belong to none of them: a table of the platform.
create table break_glass_session (
  id uuid primary key,
  -- Of the hub that it was opened on; the workspaces of that one are told.
  environment text not null check (environment in ('dev', 'prod')),
  -- `operator:…`, as the audit log names people.
  subject text not null,
  reason text not null check (length(reason) between 10 and 500),
  ticket text not null check (length(ticket) between 1 and 100),
  ip text not null,
  started_at timestamptz not null default now(),
  expires_at timestamptz not null check (expires_at <= started_at + interval '60 minutes'),
  -- Also of one that ran out of time: set within a minute, by whoever tells of it.
  ended_at timestamptz,
  ended_by text,
  -- A second person looks at what was done.
  reviewed_at timestamptz,
  reviewed_by text check (reviewed_by <> subject),
  review text check (length(review) between 1 and 2000),
  check ((ended_at is null) = (ended_by is null)),
  check ((reviewed_at is null) = (reviewed_by is null) and (reviewed_at is null) = (review is null))
);
create index break_glass_unreviewed on break_glass_session (started_at) where reviewed_at is null;
create index break_glass_unended on break_glass_session (expires_at) where ended_at is null;

-- Tokens of a session, one for each workspace that it was opened on; null = none in particular. Not named tenant_id:
-- the wall of row-level security is between workspaces, and only the platform reads this table.
create table break_glass_token (
  sha256 bytea primary key check (length(sha256) = 32),
  session_id uuid not null references break_glass_session (id),
  workspace_id uuid references workspace (id),
  created_at timestamptz not null default now()
);
