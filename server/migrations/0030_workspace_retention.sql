-- How long a workspace keeps what, in days, where that is not what the hub says (docs/decisions/0026). Days of history
-- are dropped when nobody keeps them any more; a workspace that keeps less has its rows taken out of them before.

create table workspace_retention (
  tenant_id uuid not null,
  subject text not null check (subject in
    ('jobs', 'dead_letters', 'events', 'request_log', 'webhook_inbox', 'quarantine', 'audit')),
  days int not null check (days between 2 and 3650),
  -- Who takes part in an investigation of last month must find its audit log.
  check (subject <> 'audit' or days >= 30),
  primary key (tenant_id, subject)
);
select protect_tenant_table('workspace_retention');
revoke insert, update, delete on workspace_retention from orchestrator_request;

-- What the rows of a workspace are kept for.
create function keep_days(tenant uuid, what text, otherwise int) returns int
language sql stable
as $$
  select coalesce((select days from workspace_retention where tenant_id = tenant and subject = what), otherwise)
$$;

-- The shortest of them over all workspaces: for statements whose index knows only the time.
create function shortest_keep(what text, otherwise int) returns int
language sql stable
as $$ select least(otherwise, (select min(days) from workspace_retention where subject = what)) $$;

-- The days up to which a workspace has nothing left that is past its time: the next round begins behind them.
create table retention_trim (
  tenant_id uuid not null,
  subject text not null,
  done_until date not null,
  looked_at timestamptz not null,
  primary key (tenant_id, subject)
);
select protect_tenant_table('retention_trim');
revoke all on retention_trim from orchestrator_request;

-- Takes up to so many rows of a workspace out of a day, and says how many. Days in use are refused.
create function trim_day(parent text, gone date, tenant uuid, most int) returns int
language plpgsql volatile
set timezone = 'UTC'
set enable_seqscan = off
set jit = off
as $$
declare
  child regclass;
  trimmed int := 0;
begin
  if gone >= current_date - 2 then
    raise exception 'the partitions of % are in use', gone;
  end if;
  child := daily_partition(parent, gone);
  if child is not null then
    execute format(
      'delete from %s where ctid = any (array(select ctid from %s where tenant_id = $1 limit $2))', child, child
    ) using tenant, most;
    get diagnostics trimmed = row_count;
  end if;
  return trimmed;
end
$$;
select run_as_owner('trim_day(text, date, uuid, int)');

-- The entries before this one were removed when their time was over; the chain goes on from its hash, which a signed
-- checkpoint must vouch for.
create table audit_start (
  tenant_id uuid not null primary key,
  seq bigint not null check (seq > 0),
  hash bytea not null check (length(hash) = 32),
  -- When entry `seq` was signed for, and when it was removed.
  at timestamptz not null,
  removed_at timestamptz not null
);
select protect_tenant_table('audit_start');
revoke all on audit_start from orchestrator_service, orchestrator_request;
grant select on audit_start to orchestrator_service, orchestrator_request;

create function refuse_change_of_kept_audit() returns trigger
language plpgsql as $$
begin
  if tg_op = 'DELETE' and exists (
    select from audit_start where tenant_id = old.tenant_id and seq >= old.seq
  ) then
    return old;
  end if;
  raise exception '% rows are immutable', tg_table_name;
end
$$;

-- Removes up to so many of the oldest entries of a chain, up to the newest checkpoint that is older than so many days,
-- and says how many. Fewer than 30 days are refused, so that a stolen login of a service cannot cover its tracks.
create function audit_prune(p_tenant uuid, p_days int, p_most int) returns int
language plpgsql as $$
declare
  signed audit_checkpoint;
  gone int;
begin
  if p_days < 30 then
    raise exception 'audit entries are kept for 30 days at least' using errcode = 'insufficient_privilege';
  end if;
  select * into signed from audit_checkpoint
  where tenant_id = p_tenant and at < now() - p_days * interval '1 day' order by seq desc limit 1;
  -- Only what is old itself: the clock of the checkpoint is the host's.
  if not found or exists (
    select from audit_entry where tenant_id = p_tenant and seq = signed.seq and at >= now() - p_days * interval '1 day'
  ) then
    return 0;
  end if;
  insert into audit_start as s (tenant_id, seq, hash, at, removed_at)
  values (p_tenant, signed.seq, signed.hash, signed.at, now())
  on conflict (tenant_id) do update set seq = excluded.seq, hash = excluded.hash, at = excluded.at, removed_at = now()
    where s.seq < excluded.seq;
  delete from audit_entry where tenant_id = p_tenant and seq in (
    select seq from audit_entry where tenant_id = p_tenant and seq <= signed.seq order by seq limit p_most);
  get diagnostics gone = row_count;
  return gone;
end
$$;
select run_as_owner('audit_prune(uuid, int, int)');

-- As before (0021), and without the beginning of an audit log, which stays with it.
create or replace view workspace_table with (security_invoker = true) as
  select distinct on (c.oid) c.oid::regclass as name, a.attname as tenant_column,
    exists (select from pg_constraint f where f.confrelid = c.oid and f.contype = 'f' and f.conrelid <> c.oid) as referred_to
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  where c.relnamespace = current_schema()::regnamespace and c.relkind in ('r', 'p') and not c.relispartition
    and c.relname not in ('workspace', 'audit_entry', 'audit_head', 'audit_checkpoint', 'audit_start')
    and (
      a.attname = 'tenant_id'
      or exists (
        select from pg_constraint f
        where f.conrelid = c.oid and f.contype = 'f' and f.confrelid = 'workspace'::regclass and f.conkey = array[a.attnum]
      )
    )
  order by c.oid, a.attname;

drop trigger audit_entry_is_immutable on audit_entry;
create trigger audit_entry_is_immutable before update or delete on audit_entry
  for each row execute function refuse_change_of_kept_audit();
