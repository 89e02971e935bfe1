-- people: accounts, roles, sessions, invitations.
--
-- None of these tables has a tenant column, and none is behind the wall of row-level security: an operator belongs to
-- the hub and works on several workspaces. The column that names a workspace is called `workspace_id`, so that nobody
-- takes it for one. `orchestrator_request` has no rights on any of them: routes about members run as the service, and
-- each of their statements names the workspace of the token.
create table operator (
  id uuid primary key,
  -- In lower case. It never changes: it is the subject of the tokens and the name in audit entries.
  email text not null constraint operator_email_key unique
    check (email = lower(email) and length(email) between 3 and 180),
  name text not null check (length(name) between 1 and 100),
  -- PHC string of argon2id; null = signs on with the identity provider only.
  password_hash text,
  password_changed_at timestamptz,
  -- The secret of the authenticator app, sealed; one that is not confirmed yet opens nothing.
  totp_sealed bytea,
  totp_pending bytea,
  -- RFC 6238 §5.2: the step of the last accepted code. Only later ones are accepted, so a code works once. It is
  -- kept when the secret goes: a new secret must not make an old moment good again.
  totp_step bigint not null default 0,
  locked_at timestamptz,
  created_at timestamptz not null default now()
);

create table operator_recovery_code (
  operator_id uuid not null references operator (id) on delete cascade,
  code_sha256 bytea not null check (length(code_sha256) = 32),
  used_at timestamptz,
  primary key (operator_id, code_sha256)
);

-- Who a person is at an identity provider. The e-mail there may change hands; issuer and subject never do.
create table operator_link (
  issuer text not null,
  subject text not null,
  operator_id uuid not null references operator (id) on delete cascade,
  linked_at timestamptz not null default now(),
  primary key (issuer, subject),
  constraint operator_link_one_per_issuer unique (operator_id, issuer)
);

-- workspace_id null = a platform role. At most one role in a workspace, any number on the platform.
create table operator_role (
  operator_id uuid not null references operator (id) on delete cascade,
  workspace_id uuid references workspace (id) on delete cascade,
  role text not null,
  granted_at timestamptz not null default now(),
  granted_by text not null,
  constraint operator_role_fits check (
    case when workspace_id is null then role in ('platform_admin', 'platform_auditor', 'break_glass_admin')
         else role in ('admin', 'support', 'read_only') end
  )
);
create unique index operator_role_workspace_key on operator_role (operator_id, workspace_id)
  where workspace_id is not null;
create unique index operator_role_platform_key on operator_role (operator_id, role) where workspace_id is null;
create index operator_role_workspace_idx on operator_role (workspace_id, role);

-- A sign-on. Its id is the `sid` of the tokens that are issued from it; its own token is known only to its holder.
create table operator_session (
  id uuid primary key,
  operator_id uuid not null references operator (id) on delete cascade,
  token_sha256 bytea not null constraint operator_session_token_key unique check (length(token_sha256) = 32),
  method text not null check (method in ('password', 'oidc')),
  -- A second factor was shown.
  mfa boolean not null,
  -- Roles that the groups of the identity provider give for as long as this session lasts.
  group_roles jsonb not null default '[]',
  created_at timestamptz not null,
  last_seen_at timestamptz not null,
  expires_at timestamptz not null,
  ended_at timestamptz,
  ip text,
  user_agent text
);
create index operator_session_operator_idx on operator_session (operator_id, id);

-- What is exchanged once, within minutes: between password and code, and on the way over the identity provider.
create table operator_ticket (
  token_sha256 bytea primary key check (length(token_sha256) = 32),
  kind text not null check (kind in ('mfa', 'oidc_state', 'oidc_code')),
  operator_id uuid references operator (id) on delete cascade,
  -- No secrets; those of `oidc_state` are sealed.
  facts jsonb not null default '{}',
  sealed bytea,
  tries integer not null default 0,
  expires_at timestamptz not null
);
create index operator_ticket_expires_idx on operator_ticket (expires_at);

-- Failed tries, counted over all nodes before they are made, each with the moment from which the next is heard.
-- Unknown names are counted too, in a fixed number of rows, so that they cost the same and cannot fill the table.
create table operator_try (
  key text primary key check (length(key) <= 100),
  failures integer not null,
  last_at timestamptz not null,
  next_at timestamptz not null
);

create table operator_invitation (
  id uuid primary key,
  email text not null check (email = lower(email) and length(email) between 3 and 180),
  workspace_id uuid references workspace (id) on delete cascade,
  role text not null,
  token_sha256 bytea not null constraint operator_invitation_token_key unique check (length(token_sha256) = 32),
  -- It is good for as long as its author may invite there; one who has no account here is the machine of the hub.
  invited_by text not null,
  -- Its author had no other right to it than their emergency session.
  in_emergency boolean not null default false,
  created_at timestamptz not null,
  expires_at timestamptz not null,
  accepted_at timestamptz,
  revoked_at timestamptz,
  constraint operator_invitation_role_fits check (
    case when workspace_id is null then role in ('platform_admin', 'platform_auditor', 'break_glass_admin')
         else role in ('admin', 'support', 'read_only') end
  )
);
create index operator_invitation_email_idx on operator_invitation (email);
create index operator_invitation_author_idx on operator_invitation (invited_by)
  where accepted_at is null and revoked_at is null;
create index operator_invitation_workspace_idx on operator_invitation (workspace_id, id);
