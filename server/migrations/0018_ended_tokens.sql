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
