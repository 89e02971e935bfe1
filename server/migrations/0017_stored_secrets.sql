-- Secrets that the hub keeps itself (`store://`), each version sealed under a data key of its own: the bytes open
-- only for this workspace, name and version, and only with the key-encryption key `key_id`. Never the value itself.
create table secret_value (
  tenant_id uuid not null,
  name text not null,
  version int not null check (version > 0),
  sealed bytea not null,
  -- A copy of what `sealed` names, to find the rows that a new key-encryption key has to rewrap.
  key_id text not null check (length(key_id) between 1 and 255),
  -- Of long values only: of a short one it would be a good part.
  last_four text check (length(last_four) = 4),
  state text not null check (state in ('active', 'replaced')),
  -- Until when a replaced version is still accepted where signatures are verified; null = no longer.
  accepted_until timestamptz,
  replaced_at timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  primary key (tenant_id, name, version),
  foreign key (tenant_id, name) references secret_ref (tenant_id, name) on delete cascade,
  check ((state = 'replaced') = (replaced_at is not null)),
  check (state = 'replaced' or accepted_until is null)
);
create unique index secret_value_active_key on secret_value (tenant_id, name) where state = 'active';
create index secret_value_key_id on secret_value (key_id);
select protect_tenant_table('secret_value');

alter table secret_ref
  -- Where the value was before, accepted until then.
  add column previous_ref text check (previous_ref ~ '^[a-z]+://' and length(previous_ref) <= 300),
  add column previous_until timestamptz,
  -- What the last rotation changed, which is what a revert takes back.
  add column rotated text check (rotated in ('ref', 'value')),
  add column rotated_at timestamptz not null default clock_timestamp(),
  -- The highest version number ever given: a deleted one must not be given again.
  add column last_version int not null default 0,
  -- To the minute, written behind the use.
  add column last_used_at timestamptz,
  add check (rotated is distinct from 'ref' or previous_ref is not null);
update secret_ref set rotated_at = updated_at;
