-- Webhooks that belong to nobody beyond doubt, as they came, until somebody finds out whose they are or their time is
-- over (docs/quarantine.md). Nothing in here is an event of a workspace. Those that were addressed to one route and
-- failed there are its workspace's to look at; all others have the id that stands for no workspace.
create table quarantine (
  tenant_id uuid not null,
  id uuid not null,
  -- releasing: decided, on its way to the inbox of `targets`; a call that comes again goes on there and nowhere else.
  state text not null default 'kept' check (state in ('kept', 'releasing', 'released', 'discarded')),
  -- Whose secret or route brought it here, for the share of the room; the id of no workspace when nobody's.
  because_of uuid not null,
  provider text not null check (length(provider) <= 40),
  -- What stood behind the provider in the path, as it was sent.
  path_route text check (length(path_route) <= 255),
  -- The route of the workspace that it was addressed to.
  route_id uuid,
  reason text not null,
  -- The secret of some route verified it.
  authentic boolean not null,
  -- Only an unproven name of an account leads to this workspace: it is not shown what is inside.
  sealed boolean not null,
  accounts text[] not null,
  livemode boolean,
  events json not null,
  body bytea,
  sha256 bytea not null check (length(sha256) = 32),
  size int not null,
  -- [{at (ms), url, headers}]: how the same bytes came, the first time and the last ones. Signatures differ each time.
  copies jsonb,
  -- Bytes that it takes of the room.
  room int not null,
  seen int not null default 1,
  received_at timestamptz not null default clock_timestamp(),
  last_seen_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  request_id text not null,
  correlation_id text not null,
  trace_id text not null,
  -- [{tenant_id, route_id, event_id, secret_ref, secret_fingerprint, inbox_id, duplicate}]
  targets json,
  ended_at timestamptz,
  ended_by text,
  ended_why text,
  primary key (tenant_id, id),
  constraint quarantine_holds_what_can_be_released
    check ((state in ('kept', 'releasing')) = (body is not null) and (body is null) = (copies is null)),
  constraint quarantine_knows_where_it_went check ((state in ('releasing', 'released')) = (targets is not null)),
  constraint quarantine_end_has_an_author check ((state = 'kept') = (ended_at is null) and (ended_at is null) = (ended_by is null))
);
create unique index quarantine_same_bytes on quarantine (tenant_id, provider, sha256, path_route) nulls not distinct
  where state in ('kept', 'releasing');
create index quarantine_expiry on quarantine (expires_at);
select protect_tenant_table('quarantine');
-- Only ingress puts something in, and only its time takes it out.
revoke insert, delete on quarantine from orchestrator_request;

-- How much is in there, so that nobody has to count it for every request that is refused.
create table quarantine_room (
  because_of uuid not null,
  authentic boolean not null,
  rows bigint not null,
  bytes bigint not null,
  primary key (because_of, authentic)
) with (fillfactor = 50);

create function quarantine_changed() returns trigger
language plpgsql as $$
begin
  if tg_op <> 'INSERT' then
    insert into quarantine_room as r (because_of, authentic, rows, bytes)
    select because_of, authentic, -count(*), -sum(room) from gone group by because_of, authentic order by 1, 2
    on conflict (because_of, authentic) do update set rows = r.rows + excluded.rows, bytes = r.bytes + excluded.bytes;
  end if;
  if tg_op <> 'DELETE' then
    insert into quarantine_room as r (because_of, authentic, rows, bytes)
    select because_of, authentic, count(*), sum(room) from come group by because_of, authentic order by 1, 2
    on conflict (because_of, authentic) do update set rows = r.rows + excluded.rows, bytes = r.bytes + excluded.bytes;
  end if;
  return null;
end
$$;
-- Whoever changes a row, also the purge of a workspace: triggers, so that no way of changing can forget the room.
select run_as_owner('quarantine_changed()');
create trigger quarantine_inserted after insert on quarantine
  referencing new table as come for each statement execute function quarantine_changed();
create trigger quarantine_updated after update on quarantine
  referencing old table as gone new table as come for each statement execute function quarantine_changed();
create trigger quarantine_deleted after delete on quarantine
  referencing old table as gone for each statement execute function quarantine_changed();

-- Keeps a request, or counts it when the same bytes are there already. `full` = there is no room for it: what nothing
-- has verified may take three quarters, what one workspace is the cause of a quarter. One at a time, so that the room
-- is exact.
create function keep_in_quarantine(
  p_tenant uuid, p_id uuid, p_because_of uuid, p_provider text, p_path_route text, p_route uuid, p_reason text,
  p_authentic boolean, p_sealed boolean, p_accounts text[], p_livemode boolean, p_events json, p_body bytea,
  p_sha256 bytea, p_copy jsonb, p_request text, p_correlation text, p_trace text, p_keep_days int, p_max_rows bigint,
  p_max_bytes bigint
) returns text
language plpgsql as $$
declare
  copy_bytes int := octet_length(p_copy::text);
  rest_bytes int := octet_length(p_body) + octet_length(p_events::text);
  known record;
  used record;
  need int;
  has_room boolean;
begin
  perform pg_advisory_xact_lock(hashtext('keep_in_quarantine'));
  select q.id, q.expires_at, q.copies, q.authentic into known from quarantine q
  where q.tenant_id = p_tenant and q.provider = p_provider and q.sha256 = p_sha256
    and q.path_route is not distinct from p_path_route and q.state in ('kept', 'releasing');
  if found and known.expires_at <= clock_timestamp() then
    delete from quarantine where tenant_id = p_tenant and id = known.id;
    known.id := null;
  end if;

  select coalesce(sum(rows), 0) as rows, coalesce(sum(bytes), 0) as bytes,
         coalesce(sum(rows) filter (where not authentic), 0) as open_rows,
         coalesce(sum(bytes) filter (where not authentic), 0) as open_bytes,
         coalesce(sum(rows) filter (where because_of = p_because_of), 0) as own_rows,
         coalesce(sum(bytes) filter (where because_of = p_because_of), 0) as own_bytes
  into used from quarantine_room;
  need := copy_bytes + case when known.id is null then rest_bytes else 0 end;
  has_room := used.bytes + need <= p_max_bytes
    and (p_authentic or used.open_bytes + need <= p_max_bytes / 4 * 3)
    and (p_because_of = '00000000-0000-0000-0000-000000000000' or used.own_bytes + need <= p_max_bytes / 4);

  if known.id is not null then
    -- The first copy and the last four: somebody who sends the bytes without a signature pushes no good one out alone.
    update quarantine q
    set seen = q.seen + 1, last_seen_at = clock_timestamp(),
        reason = case when p_authentic and not q.authentic then p_reason else q.reason end,
        authentic = q.authentic or p_authentic,
        copies = case when not has_room or q.state = 'releasing' or (q.authentic and not p_authentic) then q.copies
                      when jsonb_array_length(q.copies) < 5 then q.copies || p_copy
                      else (q.copies - 1) || p_copy end
    where q.tenant_id = p_tenant and q.id = known.id;
    update quarantine q
    set room = octet_length(q.body) + octet_length(q.events::text) + octet_length(q.copies::text)
    where q.tenant_id = p_tenant and q.id = known.id and has_room;
    return 'repeated';
  end if;
  if not has_room or used.rows + 1 > p_max_rows
     or (not p_authentic and used.open_rows + 1 > p_max_rows / 4 * 3)
     or (p_because_of <> '00000000-0000-0000-0000-000000000000' and used.own_rows + 1 > p_max_rows / 4) then
    return 'full';
  end if;
  insert into quarantine (tenant_id, id, because_of, provider, path_route, route_id, reason, authentic, sealed, accounts,
                          livemode, events, body, sha256, size, copies, room, expires_at, request_id, correlation_id,
                          trace_id)
  values (p_tenant, p_id, p_because_of, p_provider, p_path_route, p_route, p_reason, p_authentic, p_sealed, p_accounts,
          p_livemode, p_events, p_body, p_sha256, octet_length(p_body), jsonb_build_array(p_copy),
          copy_bytes + rest_bytes, clock_timestamp() + make_interval(days => keep_days(p_tenant, 'quarantine', p_keep_days)), p_request,
          p_correlation, p_trace);
  return 'kept';
end
$$;
revoke execute on function keep_in_quarantine(
  uuid, uuid, uuid, text, text, uuid, text, boolean, boolean, text[], boolean, json, bytea, bytea, jsonb, text, text, text,
  int, bigint, bigint
) from orchestrator_request;
