-- Webhooks that belong to nobody beyond doubt, as they came, until somebody finds out whose they are or their time is
-- over (docs/quarantine.md). Nothing in here is an event of a workspace. Those that were addressed to one route and
-- failed there are its workspace's to look at; all others have the id that stands for no workspace.
create function no_workspace() returns uuid language sql immutable parallel safe
as $$ select '00000000-0000-0000-0000-000000000000'::uuid $$;

-- Whose room a row takes. What no secret has verified can be sent by anybody: who knows the path of a route (an id that
-- only its people and its provider know), who knows an account that some route claims, and everybody. None of them takes
-- the room of the one before, and none that of what is verified.
create function quarantine_share(tenant uuid, authentic boolean, sealed boolean) returns text
language sql immutable parallel safe
as $$
  select case when authentic then 'verified' when sealed then 'claimed'
              when tenant <> no_workspace() then 'routed' else 'nobody' end
$$;

create table quarantine (
  tenant_id uuid not null,
  id uuid not null,
  -- releasing: decided, on its way to the inbox of `targets`; a call that comes again goes on there and nowhere else.
  state text not null default 'kept' check (state in ('kept', 'releasing', 'released', 'discarded')),
  -- Whose secret or route brought it here: it answers for the room, and may not be who sees it. Nobody's has no_workspace().
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
  share text not null generated always as (quarantine_share(tenant_id, authentic, sealed)) stored,
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
-- What makes room, oldest first.
create index quarantine_oldest on quarantine (share, because_of, id) where state = 'kept';
create index quarantine_oldest_claims on quarantine (id) where state = 'kept' and share = 'claimed';
create index quarantine_ended on quarantine (share, because_of, id) where state in ('released', 'discarded');
-- What a process that died has left on its way.
create index quarantine_on_its_way on quarantine (ended_at) where state = 'releasing';
select protect_tenant_table('quarantine');
-- Only ingress puts something in, and only its time takes it out.
revoke insert, delete on quarantine from orchestrator_request;

-- How much is in there, so that nobody has to count it for every request that is refused.
create table quarantine_room (
  because_of uuid not null,
  share text not null,
  rows bigint not null,
  bytes bigint not null,
  primary key (because_of, share)
) with (fillfactor = 50);

create function quarantine_changed() returns trigger
language plpgsql as $$
begin
  if tg_op <> 'INSERT' then
    insert into quarantine_room as r (because_of, share, rows, bytes)
    select because_of, share, -count(*), -sum(room) from gone group by because_of, share order by 1, 2
    on conflict (because_of, share) do update set rows = r.rows + excluded.rows, bytes = r.bytes + excluded.bytes;
  end if;
  if tg_op <> 'DELETE' then
    insert into quarantine_room as r (because_of, share, rows, bytes)
    select because_of, share, count(*), sum(room) from come group by because_of, share order by 1, 2
    on conflict (because_of, share) do update set rows = r.rows + excluded.rows, bytes = r.bytes + excluded.bytes;
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

-- Makes room in a share: verified half of all, routed a quarter, claimed and nobody an eighth each; of each of them one
-- workspace gets a quarter at most. What makes room: for a row, what has ended, and then, as for bytes, the oldest that
-- nothing has verified (these are counted); of the same cause only, of claims also others' when they have filled the share. At most
-- sixteen, so that a large one cannot push out thousands of small ones: when they are not enough, none goes. Gives how
-- many of these went; null = there is no room. The caller has the lock of `keep_in_quarantine`.
create function quarantine_make_room(
  p_share text, p_because_of uuid, p_bytes bigint, p_rows bigint, p_max_bytes bigint, p_max_rows bigint, p_except uuid
) returns int
language plpgsql as $$
declare
  at_most constant int := 16;
  eighths int := case p_share when 'verified' then 4 when 'routed' then 2 else 1 end;
  a_workspace int := case when p_because_of = no_workspace() then 1 else 4 end;
  cap_bytes bigint := p_max_bytes * eighths / 8;
  cap_rows bigint := p_max_rows * eighths / 8;
  used record;
  own_over boolean;
  anybodys boolean;
  over_bytes bigint;
  over_rows bigint;
  ended uuid[] := '{}';
  oldest uuid[];
  freed_bytes bigint;
  freed_rows bigint;
begin
  if p_bytes > cap_bytes / a_workspace then
    return null;
  end if;
  select coalesce(sum(rows), 0) as rows, coalesce(sum(bytes), 0) as bytes,
         coalesce(sum(rows) filter (where because_of = p_because_of), 0) as own_rows,
         coalesce(sum(bytes) filter (where because_of = p_because_of), 0) as own_bytes
  into used from quarantine_room where share = p_share;
  own_over := used.own_bytes + p_bytes > cap_bytes / a_workspace or used.own_rows + p_rows > cap_rows / a_workspace;
  over_bytes := greatest(used.bytes + p_bytes - cap_bytes, used.own_bytes + p_bytes - cap_bytes / a_workspace, 0);
  over_rows := greatest(used.rows + p_rows - cap_rows, used.own_rows + p_rows - cap_rows / a_workspace, 0);
  if p_rows = 0 then
    over_rows := 0;
  end if;
  if over_bytes = 0 and over_rows = 0 then
    return 0;
  end if;
  anybodys := p_share = 'claimed' and not own_over;
  if anybodys then
    -- In the order of everybody else who changes several of them.
    perform from quarantine_room where share = p_share order by because_of for update;
  end if;

  if over_rows > 0 then
    select coalesce(array_agg(e.id), '{}') into ended from (
      select id from quarantine
      where share = p_share and (anybodys or because_of = p_because_of) and state in ('released', 'discarded')
      order by id limit least(over_rows, at_most) for update skip locked
    ) as e;
  end if;
  select coalesce(array_agg(id), '{}'), coalesce(sum(room), 0), count(*) into oldest, freed_bytes, freed_rows
  from (
    select id, room, row_number() over (order by id) as place, sum(room) over (order by id) - room as before
    from (
      select id, room from quarantine
      where share = p_share and (anybodys or because_of = p_because_of) and state = 'kept' and not authentic
        and id is distinct from p_except
      order by id limit at_most - cardinality(ended) for update skip locked
    ) as candidate
  ) as c
  where place <= over_rows - cardinality(ended) or before < over_bytes;

  if freed_bytes < over_bytes or freed_rows + cardinality(ended) < over_rows then
    -- Beyond its room already (the settings were made smaller): it shrinks all the same.
    if used.bytes <= cap_bytes and used.own_bytes <= cap_bytes / a_workspace
       and used.rows <= cap_rows and used.own_rows <= cap_rows / a_workspace then
      return null;
    end if;
    p_bytes := null;
  end if;
  delete from quarantine q
  where q.share = p_share and (anybodys or q.because_of = p_because_of)
    and (q.state = 'kept' and q.id = any(oldest) or q.state in ('released', 'discarded') and q.id = any(ended));
  return case when p_bytes is null then null else cardinality(oldest) end;
end
$$;

-- Keeps a request ({column: value}, with `copy`), or counts it when the same bytes are there already; `evicted` are
-- those that made room for it. `full` = there is none. One at a time, so that the room is exact.
create function keep_in_quarantine(p_row json, p_body bytea, p_limits json, out outcome text, out evicted int)
language plpgsql as $$
declare
  r quarantine := json_populate_record(null::quarantine, p_row);
  copy jsonb := p_row -> 'copy';
  copy_bytes int := octet_length(jsonb_build_array(copy)::text);
  rest_bytes int := octet_length(p_body) + octet_length((p_row -> 'events')::text);
  known quarantine;
  is_new boolean;
  is_proof boolean;
  adds_copy boolean;
begin
  perform pg_advisory_xact_lock(hashtext('keep_in_quarantine'));
  select q.* into known from quarantine q
  where q.tenant_id = r.tenant_id and q.provider = r.provider and q.sha256 = sha256(p_body)
    and q.path_route is not distinct from r.path_route and q.state in ('kept', 'releasing')
  for update;
  is_new := not found;
  if not is_new and known.expires_at <= clock_timestamp() then
    delete from quarantine where tenant_id = r.tenant_id and id = known.id;
    is_new := true;
  end if;
  if is_new then
    known := r;
    known.share := quarantine_share(r.tenant_id, r.authentic, r.sealed);
  end if;
  -- A secret verifies now what none has verified before: it takes the room of what is verified, of whose secret it is.
  is_proof := not is_new and known.state = 'kept' and r.authentic and not known.authentic;
  adds_copy := is_new or known.state = 'kept' and r.authentic = (known.authentic or is_proof);

  evicted := case
    when is_new or is_proof then quarantine_make_room(
      case when is_proof then 'verified' else known.share end, r.because_of,
      copy_bytes + case when is_new then rest_bytes else known.room end, 1,
      (p_limits ->> 'max_bytes')::bigint, (p_limits ->> 'max_rows')::bigint, null)
    when adds_copy then quarantine_make_room(
      known.share, known.because_of, copy_bytes, 0,
      (p_limits ->> 'max_bytes')::bigint, (p_limits ->> 'max_rows')::bigint, known.id)
    else 0 end;
  if evicted is null and (is_new or is_proof) then
    outcome := 'full';
    evicted := 0;
    return;
  end if;
  if not is_new then
    -- The first copy and the last four: somebody who sends the bytes without a signature pushes no good one out alone.
    known.copies := case when evicted is null or not adds_copy then known.copies
                         when jsonb_array_length(known.copies) < 5 then known.copies || copy
                         else (known.copies - 1) || copy end;
    evicted := coalesce(evicted, 0);
    update quarantine q
    set seen = q.seen + 1, last_seen_at = clock_timestamp(), copies = known.copies,
        reason = case when is_proof then r.reason else q.reason end,
        because_of = case when is_proof then r.because_of else q.because_of end,
        authentic = q.authentic or is_proof,
        room = octet_length(q.body) + octet_length(q.events::text) + octet_length(known.copies::text)
    where q.tenant_id = r.tenant_id and q.id = known.id;
    outcome := 'repeated';
    return;
  end if;
  insert into quarantine (tenant_id, id, because_of, provider, path_route, route_id, reason, authentic, sealed, accounts,
                          livemode, events, body, sha256, size, copies, room, expires_at, request_id, correlation_id,
                          trace_id)
  values (r.tenant_id, r.id, r.because_of, r.provider, r.path_route, r.route_id, r.reason, r.authentic, r.sealed,
          r.accounts, r.livemode, p_row -> 'events', p_body, sha256(p_body), octet_length(p_body),
          jsonb_build_array(copy), copy_bytes + rest_bytes,
          clock_timestamp()
            + make_interval(days => keep_days(r.tenant_id, 'quarantine', (p_limits ->> 'keep_days')::int)),
          r.request_id, r.correlation_id, r.trace_id);
  outcome := 'kept';
end
$$;
revoke execute on function quarantine_make_room(text, uuid, bigint, bigint, bigint, bigint, uuid) from orchestrator_request;
revoke execute on function keep_in_quarantine(json, bytea, json) from orchestrator_request;
