-- Tokens that end before their time. A row ends the tokens of one session or one token for ever, or what was issued
-- to a subject or in a workspace until `ended_at`. Nobody needs it once the longest-lived token has expired.
create table ended_token (
  tenant_id uuid not null,
  id uuid not null,
  subject text,
  session_id text,
  token_id text,
  -- Not now(): tokens may have been issued since this transaction began.
  ended_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id),
  check (num_nonnulls(subject, session_id, token_id) <= 1)
);
create index ended_token_ended_at on ended_token (ended_at);
select protect_tenant_table('ended_token');
-- What has ended stays so: a request can add an end, and take none back.
revoke update, delete on ended_token from orchestrator_request;

alter table service_identity
  -- Whoever made it, so that a revocation can name what it leaves behind; null = from before this was kept.
  add column created_by text,
  add column expires_at timestamptz,
  -- Its tokens are good only on connections with the client certificate that asked for them (RFC 8705 §3).
  add column certificate_bound boolean not null default false,
  -- The one certificate that may ask: base64url SHA-256 of its DER form; null = any that the listener trusts.
  add column certificate_sha256 text check (certificate_sha256 ~ '^[A-Za-z0-9_-]{43}$'),
  -- Part of what its tokens are bound to. Counted up, it leaves the living ones behind without asking any clock.
  add column token_epoch integer not null default 1,
  add check (certificate_sha256 is null or certificate_bound);

-- An issuer outside of the hub whose tokens one workspace accepts, verified by the keys at a URL.
create table trusted_issuer (
  tenant_id uuid not null references workspace (id),
  id uuid not null,
  name text not null check (name ~ '^[a-z0-9]+(-[a-z0-9]+)*$' and length(name) <= 40),
  issuer text not null check (length(issuer) between 1 and 500),
  jwks_url text not null check (length(jwks_url) <= 1000),
  scopes text[] not null check (cardinality(scopes) > 0),
  -- null = every subject of this issuer.
  subjects text[] check (cardinality(subjects) > 0),
  -- Counted up with every change; its tokens are bound to it, so that a change ends the living ones.
  epoch integer not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (tenant_id, id),
  constraint trusted_issuer_name_key unique (tenant_id, name),
  constraint trusted_issuer_issuer_key unique (tenant_id, issuer)
);
select protect_tenant_table('trusted_issuer');
