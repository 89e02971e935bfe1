create table workspace (
  id uuid primary key,
  slug text not null constraint workspace_slug_key unique
    check (slug ~ '^[a-z][a-z0-9]*(-[a-z0-9]+)*$' and length(slug) <= 40),
  name text not null check (length(name) between 1 and 100),
  environment text not null check (environment in ('dev', 'prod')),
  status text not null default 'active' check (status in ('active', 'suspended')),
  created_at timestamptz not null default now(),
  -- DESIGN D5: the environment is part of the name, so that nobody mistakes one for the other.
  constraint workspace_slug_names_environment check (slug like '%-' || environment)
);

-- A machine that asks for tokens by OAuth 2 client credentials. The secret is 256 random bits, so a plain
-- SHA-256 of it is enough: there is nothing to guess, and a slow hash would only slow the token endpoint.
create table service_identity (
  tenant_id uuid not null references workspace (id),
  id uuid not null,
  name text not null check (name ~ '^svc:[a-z0-9]+(-[a-z0-9]+)*$' and length(name) <= 80),
  secret_sha256 bytea not null check (length(secret_sha256) = 32),
  -- After a rotation the secret before it is accepted until this moment, so that a product changes over without a gap.
  previous_secret_sha256 bytea check (length(previous_secret_sha256) = 32),
  previous_secret_until timestamptz,
  scopes text[] not null check (cardinality(scopes) > 0),
  created_at timestamptz not null default now(),
  last_used_at timestamptz,
  revoked_at timestamptz,
  primary key (tenant_id, id),
  check ((previous_secret_sha256 is null) = (previous_secret_until is null))
);
create unique index service_identity_name_key on service_identity (tenant_id, name) where revoked_at is null;
-- The token endpoint knows only the client id.
create unique index service_identity_id_key on service_identity (id);

-- The audit log: append-only, one hash chain per workspace, written in the transaction of the change.
create table audit_entry (
  tenant_id uuid not null,
  seq bigint not null,
  at timestamptz not null,
  actor text not null,
  action text not null,
  object text not null,
  reason text not null check (length(reason) between 1 and 500),
  diff json not null default '[]',
  request_id text,
  trace_id text,
  previous_hash bytea not null check (length(previous_hash) = 32),
  hash bytea not null check (length(hash) = 32),
  primary key (tenant_id, seq)
);

create table audit_head (
  tenant_id uuid primary key,
  seq bigint not null,
  hash bytea not null
);
