-- Webhooks are taken in batches, and can be delivered one after the other (docs/decisions/0024).

-- When the timeline was last told of a copy. Without an index: updates of a row stay in its page.
alter table webhook_dedupe add column told_at timestamptz;

-- Events of routes with an ordering, from their acceptance to the end of their delivery. A row is one of:
--   held        no `job`, not started: its inbox row says why; who ends the hold gives it a job
--   waiting     has a `job`, not started
--   started     its delivery is on its way; one at a time per key
--   overtaken   started, and not over after the limit: the next one no longer waits for it
create table webhook_line (
  tenant_id uuid not null,
  route_id uuid not null,
  key text not null,
  -- Given under the lock of the key: the order of acceptance.
  place bigint generated always as identity,
  inbox_id uuid not null,
  limit_ms bigint not null check (limit_ms > 0),
  -- As `enqueue_jobs` reads it; it gets a new id at its turn, because ids of jobs name their day.
  job json,
  job_id uuid,
  started_at timestamptz,
  overtaken_at timestamptz,
  -- When the care of a worker looks whether the limit has passed or an end was missed.
  look_at timestamptz,
  primary key (tenant_id, route_id, key, place),
  check ((started_at is null) = (job_id is null)),
  check (started_at is null or job is null),
  check (overtaken_at is null or started_at is not null)
);
create unique index webhook_line_of_inbox on webhook_line (tenant_id, inbox_id);
-- The promise itself: never two at once.
create unique index webhook_line_one_at_once on webhook_line (tenant_id, route_id, key)
  where started_at is not null and overtaken_at is null;
create index webhook_line_to_look_at on webhook_line (look_at) where look_at is not null;
select protect_tenant_table('webhook_line');

-- Lines are changed by one transaction at a time each. In one order, so that two batches wait for each other instead of
-- deadlocking; who also locks rows of the inbox locks the lines first.
create function lock_webhook_lines(lines json) returns void
language plpgsql volatile
as $$
begin
  perform pg_advisory_xact_lock(7128, lock)
  from (
    select distinct hashtext(l.tenant_id || '/' || l.route_id || '/' || l.key) as lock
    from json_to_recordset(lines) as l (tenant_id uuid, route_id uuid, key text)
    order by 1
    offset 0
  ) as sorted;
end
$$;

-- Starts the first event of each line in which nothing is on its way. The caller has locked the lines and names an id
-- for the job of each: [{tenant_id, route_id, key, id}]. Gives the jobs that were made, null when none were:
-- [{tenant_id, inbox_id, id, queue, lane}…]
create function start_webhook_turns(lines json) returns json
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  jobs json;
  made json;
begin
  with asked as materialized (
    select distinct on (tenant_id, route_id, key) tenant_id, route_id, key, id
    from json_to_recordset(lines) as l (tenant_id uuid, route_id uuid, key text, id uuid)
    order by tenant_id, route_id, key, id
  ),
  -- `limit 1` keeps each look a look by key: a condition `exists` may be planned as a scan of all lines.
  first as materialized (
    select a.tenant_id, a.route_id, a.key, a.id, f.place, f.inbox_id, f.job, f.limit_ms, r.paused is not null as paused
    from asked a
    cross join lateral (
      select place, inbox_id, job, limit_ms from webhook_line w
      where w.tenant_id = a.tenant_id and w.route_id = a.route_id and w.key = a.key and w.started_at is null
      order by place limit 1
    ) as f
    left join lateral (
      select true as busy from webhook_line w
      where w.tenant_id = a.tenant_id and w.route_id = a.route_id and w.key = a.key
        and w.started_at is not null and w.overtaken_at is null
      limit 1
    ) as b on true
    left join lateral (
      select true as paused from webhook_route r
      where r.tenant_id = a.tenant_id and r.id = a.route_id and r.paused_at is not null
      limit 1
    ) as r on true
    where f.job is not null and b.busy is null
  ),
  moved as (
    update webhook_line w
    set job = null,
        job_id = case when not f.paused then f.id end,
        started_at = case when not f.paused then clock_timestamp() end,
        look_at = case when not f.paused
          then clock_timestamp() + least(f.limit_ms, 60000) * interval '1 millisecond' end
    from first f
    where w.tenant_id = f.tenant_id and w.route_id = f.route_id and w.key = f.key and w.place = f.place
  ),
  kept as (
    update webhook_inbox i
    set state = case when f.paused then 'held' else 'accepted' end,
        held_why = case when f.paused then 'route_paused' end,
        job_id = case when f.paused then i.job_id else f.id end
    from first f
    where i.tenant_id = f.tenant_id and i.id = f.inbox_id
    returning i.tenant_id, i.id, i.connector, i.request_id, i.correlation_id, i.trace_id, i.route_id, f.paused, f.id as job_id
  ),
  told as (
    insert into event (tenant_id, type, message, connector, job_id, inbox_id, request_id, correlation_id, trace_id, data)
    select tenant_id, case when paused then 'webhook.held' else 'webhook.turn' end,
           case when paused then 'It is the turn of this event, but its route is paused.'
             else 'It is the turn of this event: nothing before it is on its way.' end,
           connector, case when not paused then job_id end, id, request_id, correlation_id, trace_id,
           json_build_object('route_id', route_id)
    from kept
  )
  select json_agg(j.record) filter (where not paused),
         json_agg(json_build_object('tenant_id', f.tenant_id, 'inbox_id', f.inbox_id, 'id', f.id,
                                    'queue', (j.record ->> 'queue')::int, 'lane', (j.record ->> 'lane')::int))
           filter (where not paused)
  into jobs, made
  from first f
  cross join lateral (select (f.job::jsonb || jsonb_build_object('id', f.id))::json as record offset 0) as j;

  if jobs is not null then perform enqueue_jobs(jobs, false, true); end if;
  return made;
end
$$;

-- Puts events at the end of their lines, in the order given, and starts those whose turn it is:
-- [{tenant_id, route_id, key, inbox_id, limit_ms, id, job}…]; without `job` it is held. An event that is in its line
-- already keeps its place and gets the job. Gives what `start_webhook_turns` gives.
create function join_webhook_lines(events json) returns json
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
begin
  perform lock_webhook_lines(events);
  insert into webhook_line as w (tenant_id, route_id, key, inbox_id, limit_ms, job)
  select e.tenant_id, e.route_id, e.key, e.inbox_id, e.limit_ms, e.job
  from rows from (
    json_to_recordset(events) as (tenant_id uuid, route_id uuid, key text, inbox_id uuid, limit_ms bigint, job json)
  ) with ordinality as e (tenant_id, route_id, key, inbox_id, limit_ms, job, ord)
  order by e.ord
  on conflict (tenant_id, inbox_id) do update set job = excluded.job, limit_ms = excluded.limit_ms
    where w.started_at is null;
  return start_webhook_turns(events);
end
$$;

-- Deliveries of lines have ended, or are held again: [{tenant_id, route_id, key, inbox_id, held, id}…]. What is held keeps
-- its place. Gives what `start_webhook_turns` gives.
create function end_webhook_turns(ended json) returns json
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  lines json;
begin
  -- A place in a line is for good: the ordering of the route may have changed since.
  select json_agg(json_build_object(
    'tenant_id', e.tenant_id, 'route_id', coalesce(w.route_id, e.route_id), 'key', coalesce(w.key, e.key), 'id', e.id))
  into lines
  from json_to_recordset(ended) as e (tenant_id uuid, route_id uuid, key text, inbox_id uuid, id uuid)
  left join lateral (
    select route_id, key from webhook_line where tenant_id = e.tenant_id and inbox_id = e.inbox_id offset 0
  ) as w on true;
  perform lock_webhook_lines(lines);
  delete from webhook_line w
  using json_to_recordset(ended) as e (tenant_id uuid, inbox_id uuid, held boolean)
  where w.tenant_id = e.tenant_id and w.inbox_id = e.inbox_id and not e.held and w.started_at is not null;
  update webhook_line w set started_at = null, job_id = null, overtaken_at = null, look_at = null
  from json_to_recordset(ended) as e (tenant_id uuid, inbox_id uuid, held boolean)
  where w.tenant_id = e.tenant_id and w.inbox_id = e.inbox_id and e.held;
  return start_webhook_turns(lines);
end
$$;

-- Looks after lines that a delivery has held up for longer than its limit, and after ends that nobody told of:
-- [{tenant_id, route_id, key, inbox_id, id}…]. Gives what `start_webhook_turns` gives.
create function look_after_webhook_lines(lines json) returns json
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  at timestamptz := clock_timestamp();
begin
  perform lock_webhook_lines(lines);
  delete from webhook_line w
  using (
    select l.tenant_id, l.inbox_id
    from json_to_recordset(lines) as l (tenant_id uuid, inbox_id uuid)
    cross join lateral (
      select job_id from webhook_line
      where tenant_id = l.tenant_id and inbox_id = l.inbox_id and started_at is not null
      limit 1
    ) as s
    left join lateral (
      select true as open from job j
      where j.tenant_id = l.tenant_id and j.id = s.job_id and j.state = 'queued'
      limit 1
    ) as j on true
    where j.open is null
  ) as over
  where w.tenant_id = over.tenant_id and w.inbox_id = over.inbox_id and w.started_at is not null;
  with looked_at as (
    update webhook_line w
    set overtaken_at = case when w.started_at + w.limit_ms * interval '1 millisecond' <= at then at end,
        look_at = case when w.started_at + w.limit_ms * interval '1 millisecond' <= at then at + interval '1 minute'
                    else least(w.started_at + w.limit_ms * interval '1 millisecond', at + interval '1 minute') end
    from json_to_recordset(lines) as l (tenant_id uuid, inbox_id uuid)
    where w.tenant_id = l.tenant_id and w.inbox_id = l.inbox_id and w.started_at is not null and w.overtaken_at is null
    returning w.tenant_id, w.inbox_id, w.job_id, w.route_id, w.limit_ms, w.overtaken_at
  ),
  again as (
    update webhook_line w set look_at = at + interval '1 minute'
    from json_to_recordset(lines) as l (tenant_id uuid, inbox_id uuid)
    where w.tenant_id = l.tenant_id and w.inbox_id = l.inbox_id and w.overtaken_at is not null
  )
  insert into event (tenant_id, type, severity, message, connector, job_id, inbox_id, request_id, correlation_id, trace_id,
                     data)
  select l.tenant_id, 'webhook.overtaken', 'warning',
         'The delivery is not over after the limit of the route: the next event of its key is delivered.',
         i.connector, l.job_id, l.inbox_id, i.request_id, i.correlation_id, i.trace_id,
         json_build_object('route_id', l.route_id, 'limit_ms', l.limit_ms)
  from looked_at l
  left join lateral (
    select * from webhook_inbox where tenant_id = l.tenant_id and id = l.inbox_id offset 0
  ) as i on true
  where l.overtaken_at is not null;
  return start_webhook_turns(lines);
end
$$;

-- Takes the events of a batch in one round trip: dedupe keys, inbox rows, payloads, events and the jobs of the new ones.
-- `batch`: [{ord, id, …}…] as take.sql.ts builds it; `bodies`: all bytes one behind the other, each item says where its
-- own are (`at` from 0, `size`); `jobs`: records for `enqueue_jobs`, `ord` and `inbox_id` as of the event; `lines`: events
-- of ordered routes for `join_webhook_lines`. Copies of an event wait at its dedupe key until the first one has committed;
-- the event log is told of one a minute at most, so that whoever repeats a request fills nobody's log.
-- The route of an event is asked for here, whatever the memory of the process says: gone, nothing is taken; paused,
-- the event is held.
-- Gives the inbox ids that are new with their states ([{id, state}…], null: all are new and as asked for), about
-- copies the row that stands for the event and what became of it, and the jobs that a turn in a line has made.
create function take_webhooks(batch json, bodies bytea, jobs json, lines json, keep_days int,
                              out others json, out fresh json, out turns json)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  asked int;
  added uuid[];
  held uuid[];
  wanted json := jobs;
  moment timestamptz := clock_timestamp();
begin
  with item as materialized (
    select i.*, r.paused
    from json_to_recordset(batch) as i (
      ord int, tenant_id uuid, id uuid, route_id uuid, provider text, account text, livemode boolean, event_id text,
      event_type text, occurred_at timestamptz, state text, held_why text, connector text, job_id uuid,
      secret_ref text, secret_fingerprint text, source text, request_id text, correlation_id text, trace_id text,
      headers text, at int, size int, payload_id uuid, sha256 text
    )
    left join lateral (
      select paused_at is not null as paused from webhook_route where tenant_id = i.tenant_id and id = i.route_id offset 0
    ) as r on true
  ),
  -- In the order of the keys, for the same reason as in `enqueue_jobs`; of copies in one batch the first one counts.
  kept as (
    insert into webhook_dedupe as d (tenant_id, event_id, route_id, inbox_id, duplicates, told_at, expires_at)
    select distinct on (tenant_id, event_id, route_id) tenant_id, event_id, route_id, id,
           count(*) over same - 1, case when count(*) over same > 1 then moment end,
           now() + make_interval(days => keep_days)
    from item where paused is not null
    window same as (partition by tenant_id, event_id, route_id)
    order by tenant_id, event_id, route_id, ord
    on conflict (tenant_id, event_id, route_id)
      do update set duplicates = d.duplicates + 1 + excluded.duplicates, last_seen_at = clock_timestamp(),
                    told_at = case when d.told_at > moment - interval '1 minute' then d.told_at else moment end
    returning inbox_id
  ),
  new as materialized (
    select i.*, i.state in ('accepted', 'waiting') and i.paused as stopped from item i join kept k on k.inbox_id = i.id
  ),
  inbox as (
    insert into webhook_inbox (tenant_id, id, route_id, provider, account, livemode, event_id, event_type, occurred_at,
                               state, held_why, connector, job_id, secret_ref, secret_fingerprint, source, size,
                               request_id, correlation_id, trace_id)
    select tenant_id, id, route_id, provider, account, livemode, event_id, event_type, occurred_at,
           case when stopped then 'held' else state end, case when stopped then 'route_paused' else held_why end,
           connector, case when not stopped then job_id end, secret_ref, secret_fingerprint, source, size,
           request_id, correlation_id, trace_id
    from new
  ),
  payload as (
    insert into webhook_payload (tenant_id, id, body, payload_id, sha256, headers)
    select tenant_id, id, body, payload_id, coalesce(decode(sha256, 'hex'), sha256(body)), headers::json
    from new
    cross join lateral (select case when payload_id is null then substr(bodies, at + 1, size) end as body offset 0) as b
  ),
  told as (
    insert into event (tenant_id, type, message, connector, job_id, inbox_id, request_id, correlation_id, trace_id, data)
    select tenant_id,
           case when stopped or state = 'held' then 'webhook.held'
             when state = 'ignored' then 'webhook.ignored' else 'webhook.received' end,
           case when stopped or state = 'held' then 'The event was taken; its delivery is held.'
             when state = 'ignored' then 'The event was kept but not delivered: its type fits no filter of the route.'
             else 'The event was taken and is to be delivered.' end,
           connector, case when not stopped then job_id end, id, request_id, correlation_id, trace_id,
           json_build_object('provider', provider, 'route_id', route_id, 'event_id', event_id, 'event_type', event_type,
                             'account', account, 'livemode', livemode, 'source', source,
                             'held_why', case when stopped then 'route_paused' else held_why end)
    from new
  )
  select (select count(*) from item), coalesce(array_agg(id), '{}'), coalesce(array_agg(id) filter (where stopped), '{}')
  into asked, added, held
  from new;

  if asked <> cardinality(added) then
    with copy as materialized (
      select i.*, d.inbox_id, d.duplicates, d.told_at = moment as told
      from json_to_recordset(batch) as i (
        ord int, tenant_id uuid, id uuid, route_id uuid, event_id text, connector text, provider text, account text,
        livemode boolean, event_type text, source text, request_id text, correlation_id text, trace_id text
      )
      -- Of a route that is gone, nothing is taken.
      cross join lateral (
        select id from webhook_route where tenant_id = i.tenant_id and id = i.route_id limit 1
      ) as r
      cross join lateral (
        select inbox_id, duplicates, told_at from webhook_dedupe
        where tenant_id = i.tenant_id and event_id = i.event_id and route_id = i.route_id limit 1
      ) as d
      where i.id <> all (added)
    ),
    told as (
      insert into event (tenant_id, type, message, connector, inbox_id, request_id, correlation_id, trace_id, data)
      select distinct on (tenant_id, inbox_id)
             tenant_id, 'webhook.duplicate', 'The provider sent this event again; it was taken before.',
             connector, inbox_id, request_id, correlation_id, trace_id,
             json_build_object('provider', provider, 'route_id', route_id, 'event_id', event_id,
                               'event_type', event_type, 'account', account, 'livemode', livemode, 'source', source,
                               'duplicates', duplicates)
      from copy where told
      order by tenant_id, inbox_id, ord
    )
    select json_agg(json_build_object('ord', c.ord, 'inbox_id', c.inbox_id, 'state', w.state, 'job_id', w.job_id,
                                      'dead', w.dead))
    into others
    from copy c
    left join lateral (
      select i.state, i.job_id, x.dead is not null as dead
      from webhook_inbox i
      left join lateral (
        -- What the receiver has refused for good is not sent again for the asking of a provider.
        select true as dead from job_dead d
        where d.tenant_id = i.tenant_id and d.job_id = i.job_id and not d.binned and d.reason <> 'aborted_by_receiver'
        limit 1
      ) as x on true
      -- In the order of the key, so that no other index that begins with the tenant looks as good while a day is young.
      where i.tenant_id = c.tenant_id and i.id >= c.inbox_id and i.id <= c.inbox_id
      order by i.id limit 1
    ) as w on true;
  end if;

  if asked <> cardinality(added) or cardinality(held) > 0 then
    select json_agg(json_build_object('id', id, 'held', id = any (held))) into fresh from unnest(added) as a (id);
    if wanted is not null then
      select json_agg(j.job) into wanted
      from json_array_elements(jobs) as j (job)
      where (j.job ->> 'inbox_id')::uuid = any (added) and (j.job ->> 'inbox_id')::uuid <> all (held);
    end if;
    fresh := coalesce(fresh, '[]');
  end if;

  if lines is not null then
    declare
      joining json;
    begin
      select json_agg(case when l.inbox_id = any (held) then (l.line::jsonb || '{"job": null}')::json else l.line end)
      into joining
      from (select line, (line ->> 'inbox_id')::uuid as inbox_id from json_array_elements(lines) as e (line)) as l
      where l.inbox_id = any (added);
      if joining is not null then
        turns := join_webhook_lines(joining);
      end if;
    end;
  end if;

  if wanted is not null then perform enqueue_jobs(wanted, false, true); end if;
end
$$;

-- Delivers events that were held or ignored: [{tenant_id, inbox_id, route_id, key, limit_ms, id, job, why}…]; without a
-- `key` at once, otherwise when their turn comes. What is in another state by now is left out of the answer:
-- [{inbox_id, id, queue, lane}…], the jobs that were made.
create function deliver_kept_webhooks(events json, out moved json, out turns json)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  asked json;
  jobs json;
  joining json;
begin
  -- A place in a line is for good: the ordering of the route may have changed since.
  select json_agg(json_build_object(
    'tenant_id', e.tenant_id, 'inbox_id', e.inbox_id, 'route_id', coalesce(w.route_id, e.route_id),
    'key', coalesce(w.key, e.key), 'limit_ms', coalesce(w.limit_ms, e.limit_ms), 'id', e.id, 'why', e.why, 'ord', e.ord,
    'job', case when coalesce(w.key, e.key) is null then e.job
      else (e.job::jsonb || jsonb_build_object('completion', (coalesce((e.job ->> 'completion')::jsonb, '{}')
        || jsonb_build_object('follow', jsonb_build_object('kind', 'webhook_line',
             'route_id', coalesce(w.route_id, e.route_id), 'key', coalesce(w.key, e.key))))::text))::json end))
  into asked
  from rows from (json_to_recordset(events) as (
    tenant_id uuid, inbox_id uuid, route_id uuid, key text, limit_ms bigint, id uuid, job json, why text
  )) with ordinality as e (tenant_id, inbox_id, route_id, key, limit_ms, id, job, why, ord)
  left join lateral (
    select route_id, key, limit_ms from webhook_line where tenant_id = e.tenant_id and inbox_id = e.inbox_id offset 0
  ) as w on true;
  perform lock_webhook_lines(
    (select json_agg(e) from json_array_elements(asked) as j (e) where e ->> 'key' is not null));

  with item as materialized (
    select * from json_to_recordset(asked) as e (
      tenant_id uuid, inbox_id uuid, route_id uuid, key text, limit_ms bigint, id uuid, job json, why text, ord bigint
    )
  ),
  changed as (
    update webhook_inbox i
    set state = case when e.key is null then 'accepted' else 'waiting' end, held_why = null,
        job_id = case when e.key is null then e.id else i.job_id end
    from item e
    where i.tenant_id = e.tenant_id and i.id = e.inbox_id and i.state in ('held', 'ignored')
    returning i.tenant_id, i.id as inbox_id, i.connector, e.route_id, i.request_id, i.correlation_id, i.trace_id,
              e.key, e.limit_ms, e.id, e.job, e.why, e.ord
  ),
  told as (
    insert into event (tenant_id, type, message, connector, job_id, inbox_id, request_id, correlation_id, trace_id, data)
    select tenant_id, 'webhook.released', why, connector, case when key is null then id end, inbox_id, request_id,
           correlation_id, trace_id, json_build_object('route_id', route_id)
    from changed order by ord
  )
  select json_agg(job order by ord) filter (where key is null),
         json_agg(json_build_object('tenant_id', tenant_id, 'route_id', route_id, 'key', key, 'inbox_id', inbox_id,
                                    'limit_ms', limit_ms, 'id', id, 'job', job) order by ord) filter (where key is not null),
         json_agg(json_build_object('inbox_id', inbox_id, 'at_once', key is null) order by ord)
  into jobs, joining, moved
  from changed;

  if jobs is not null then perform enqueue_jobs(jobs, false, true); end if;
  if joining is not null then turns := join_webhook_lines(joining); end if;
end
$$;
