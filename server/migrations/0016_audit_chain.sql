-- Who, from where and for whom: more columns of audit entries. Entries from before have version 1 of the hash, which
-- does not cover them, and nothing in them.
alter table audit_entry
  add column hash_version smallint not null default 1 check (hash_version in (1, 2)),
  add column role text,
  add column impersonator text,
  add column ip text,
  add column user_agent text;
create index audit_entry_at on audit_entry (tenant_id, at);

create trigger audit_entry_is_not_emptied before truncate on audit_entry
  for each statement execute function refuse_change();

-- What the head of a chain was at a time, signed with a key that the database does not have: who rewrites a whole
-- chain with its head cannot rewrite these. The control process writes them here and to a file.
create table audit_checkpoint (
  tenant_id uuid not null,
  seq bigint not null check (seq > 0),
  hash bytea not null check (length(hash) = 32),
  at timestamptz not null,
  kid text not null,
  signature bytea not null,
  primary key (tenant_id, seq)
);
select protect_tenant_table('audit_checkpoint');
create trigger audit_checkpoint_is_immutable before update or delete on audit_checkpoint
  for each row execute function refuse_change();
create trigger audit_checkpoint_is_not_emptied before truncate on audit_checkpoint
  for each statement execute function refuse_change();

-- The roles of the services read these tables. What they write goes through the functions below, which run as the owner
-- and so stand outside of row-level security: they ask themselves whose chain a request may extend.
revoke all on audit_entry, audit_head, audit_checkpoint from orchestrator_service, orchestrator_request;
grant select on audit_entry, audit_head, audit_checkpoint to orchestrator_service, orchestrator_request;
grant insert on audit_checkpoint to orchestrator_service;

create function refuse_foreign_audit(p_tenant uuid) returns void
language plpgsql stable as $$
begin
  if (current_setting('role') = 'orchestrator_request' or request_tenant() is not null)
     and request_tenant() is distinct from p_tenant then
    raise exception 'a request writes to the audit log of its own workspace only' using errcode = 'insufficient_privilege';
  end if;
end
$$;

-- Locks the head of a chain until the transaction ends, making it before the first entry. The time is taken under the
-- lock, so that times rise with the numbers, and cut to what a JavaScript date can hold, so that the hash can be made
-- again from the stored row.
create function audit_lock_head(p_tenant uuid) returns table (seq bigint, hash bytea, at timestamptz)
language plpgsql as $$
#variable_conflict use_column
begin
  perform refuse_foreign_audit(p_tenant);
  return query
    insert into audit_head as head (tenant_id, seq, hash) values (p_tenant, 0, decode(repeat('00', 32), 'hex'))
    on conflict (tenant_id) do update set seq = head.seq
    returning head.seq, head.hash, date_trunc('milliseconds', clock_timestamp());
end
$$;

-- Appends an entry and moves the head. An entry that does not follow the head is refused, so that even a stolen login of
-- a service can only add to a chain.
create function audit_append(
  p_tenant uuid, p_seq bigint, p_at timestamptz, p_actor text, p_role text, p_impersonator text, p_action text,
  p_object text, p_reason text, p_diff json, p_ip text, p_user_agent text, p_request_id text, p_trace_id text,
  p_previous_hash bytea, p_hash bytea
) returns void
language plpgsql as $$
begin
  perform refuse_foreign_audit(p_tenant);
  update audit_head set seq = p_seq, hash = p_hash
  where tenant_id = p_tenant and seq = p_seq - 1 and hash = p_previous_hash;
  if not found then
    raise exception 'audit entry % does not follow the head of its chain', p_seq;
  end if;
  insert into audit_entry (tenant_id, seq, at, hash_version, actor, role, impersonator, action, object, reason, diff, ip,
                           user_agent, request_id, trace_id, previous_hash, hash)
  values (p_tenant, p_seq, p_at, 2, p_actor, p_role, p_impersonator, p_action, p_object, p_reason, p_diff, p_ip,
          p_user_agent, p_request_id, p_trace_id, p_previous_hash, p_hash);
end
$$;

select run_as_owner(f) from unnest(array[
  'audit_lock_head(uuid)',
  'audit_append(uuid, bigint, timestamptz, text, text, text, text, text, text, json, text, text, text, text, bytea, bytea)'
]::regprocedure[]) as f;
-- Every change of a request is told in its workspace's log.
grant execute on function
  audit_lock_head(uuid),
  audit_append(uuid, bigint, timestamptz, text, text, text, text, text, text, json, text, text, text, text, bytea, bytea)
  to orchestrator_request;
