-- Inputs of jobs that are kept elsewhere: the queue carries where they are (0024 has the column).

-- As before (0010), and with `input_ref`.
create or replace function enqueue_jobs(batch json, keyed boolean, all_or_nothing boolean, out queued_at timestamptz, out others json)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  known int[] := '{}';
begin
  queued_at := now();
  if keyed then
    -- In the order of the keys: two batches with the same keys wait for each other instead of deadlocking.
    insert into idem (tenant_id, scope, key, job_id, request_hash, expires_at)
    select distinct on (b.tenant_id, b.dedupe_key)
           b.tenant_id, 'job', b.dedupe_key, b.id, decode(b.request_hash, 'hex'),
           greatest(now(), b.run_at) + interval '30 days'
    from json_to_recordset(batch) as b (
      ord int, id uuid, tenant_id uuid, run_at timestamptz, dedupe_key text, request_hash text
    )
    where b.dedupe_key is not null
    order by b.tenant_id, b.dedupe_key, b.ord
    on conflict do nothing;

    with owned as materialized (
      select b.ord, i.job_id, i.created_at, i.request_hash <> decode(b.request_hash, 'hex') as refused
      from json_to_recordset(batch) as b (ord int, id uuid, tenant_id uuid, dedupe_key text, request_hash text)
      join idem i on i.tenant_id = b.tenant_id and i.scope = 'job' and i.key = b.dedupe_key
      where i.job_id <> b.id or i.request_hash <> decode(b.request_hash, 'hex')
    )
    select json_agg(json_build_object('ord', ord, 'id', job_id, 'queued_at', created_at, 'refused', refused)),
           coalesce(array_agg(ord), '{}')
    into others, known from owned;

    if all_or_nothing and exists (select from json_to_recordset(others) as o (refused boolean) where refused) then
      delete from idem i
      using json_to_recordset(batch) as b (id uuid, tenant_id uuid, dedupe_key text)
      where i.tenant_id = b.tenant_id and i.scope = 'job' and i.key = b.dedupe_key and i.job_id = b.id;
      return;
    end if;
  end if;

  with item as materialized (
    select b.*, coalesce(b.run_at > now(), false) as deferred
    from json_to_recordset(batch) as b (
      ord int, id uuid, tenant_id uuid, queue smallint, lane int, priority smallint, connector text,
      operation text, config_version int, idempotency_key text, inbox_id uuid, created_by text,
      run_at timestamptz, expires_at timestamptz, request_id text, correlation_id text, trace_id text,
      traceparent text, input text, input_ref json, metadata text, completion text
    )
    where b.ord <> all (known)
  ),
  payload as (
    insert into job_payload (tenant_id, job_id, input, input_ref, metadata, completion)
    select tenant_id, id, input::json, input_ref, metadata::json, completion::json from item
  ),
  ready as (
    insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
    select queue, tenant_id, lane, priority, id, 1 from item where not deferred
  ),
  later as (
    insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
    select tenant_id, id, run_at, queue, lane, priority, 1, 'scheduled' from item where deferred
  ),
  watched as (
    insert into job_expiry (tenant_id, job_id, check_at)
    select tenant_id, id, expires_at from item where expires_at is not null
  ),
  told as (
    insert into event (tenant_id, type, message, connector, job_id, inbox_id, request_id, correlation_id,
                       trace_id, data)
    select tenant_id, case when deferred then 'job.scheduled' else 'job.queued' end,
           case when deferred then 'Accepted, to run later.' else 'Accepted.' end,
           connector, id, inbox_id, request_id, correlation_id, trace_id,
           json_build_object('queue', queue_name(queue), 'operation', operation, 'run_at', run_at)
    from item
  )
  insert into job (tenant_id, id, queue, lane, priority, connector, operation, config_version, idempotency_key,
                   inbox_id, created_by, run_at, expires_at, request_id, correlation_id, trace_id, traceparent)
  select tenant_id, id, queue, lane, priority, connector, operation, config_version, idempotency_key,
         inbox_id, created_by, run_at, expires_at, request_id, correlation_id, trace_id, traceparent
  from item;
end
$$;

-- As before (0010), and with `input_ref`.
create or replace function claim_jobs(claimer uuid, tenants uuid[], lanes json, max_run_ms int) returns json
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  tenant uuid;
  locked uuid[] := '{}';
  taken job_ready[];
  about_lanes json;
  first_id uuid;
  last_id uuid;
  jobs json;
begin
  -- A node that stopped beating may have been declared dead: its new leases would be rescued at once.
  if not exists (
    select from node where node_id = claimer and beat_at > clock_timestamp() - interval '10 seconds'
  ) then
    return json_build_object('registered', false, 'jobs', '[]'::json, 'lanes', '[]'::json);
  end if;

  foreach tenant in array tenants loop
    if pg_try_advisory_xact_lock(7101, uuid_hash(tenant)) then locked := locked || tenant; end if;
  end loop;

  with asked as materialized (
    select l.*,
           case when lp.paused_at is not null or tp.paused_at is not null or qp.paused_at is not null then 'paused'
                when lp.blocked_until > clock_timestamp() then 'blocked'
                when not l.tenant_id = any (locked) then 'contended' end as shut,
           ceil(extract(epoch from lp.blocked_until - clock_timestamp()) * 1000)::bigint as blocked_ms,
           tp.max_running - c.in_tenant as tenant_room,
           lp.max_running - c.in_lane as lane_room
    from json_to_recordset(lanes)
      as l (ord int, queue smallint, tenant_id uuid, lane int, take int, low bigint[])
    left join lane_policy lp on lp.tenant_id = l.tenant_id and lp.lane = l.lane
    left join tenant_policy tp on tp.tenant_id = l.tenant_id
    left join queue_pause qp on qp.tenant_id = l.tenant_id and qp.queue = l.queue
    cross join lateral (
      select count(*) as in_tenant, count(*) filter (where r.lane = l.lane) as in_lane
      from job_run r
      where coalesce(lp.max_running, tp.max_running) is not null
        and r.tenant_id = l.tenant_id and r.lease_id >= (select min(oldest_lease) from node)
    ) as c
  ),
  -- `least` passes over nulls: no cap.
  roomy as (
    select *, case when shut is null then greatest(0, least(take, tenant_room, lane_room)) else 0 end as room
    from asked
  ),
  -- Lanes of one tenant share its room in their order, as if each took all it may.
  granted as materialized (
    select *, greatest(0, least(
      room,
      tenant_room - coalesce(sum(room) over (partition by tenant_id order by ord
                                             rows between unbounded preceding and 1 preceding), 0),
      lane_room - coalesce(sum(room) over (partition by tenant_id, lane order by ord
                                           rows between unbounded preceding and 1 preceding), 0)
    ))::int as places
    from roomy
  ),
  picked as materialized (
    select p.place
    from granted g
    cross join lateral (
      select q.place
      from unnest(g.low) with ordinality as w (mark, level)
      cross join lateral (
        select r.ctid as place from job_ready r
        where r.queue = g.queue and r.tenant_id = g.tenant_id and r.lane = g.lane
          and r.priority = w.level::smallint and r.seq > w.mark
        order by r.seq limit g.places
      ) as q
      limit g.places
    ) as p
    where g.places > 0
  ),
  gone as (
    delete from job_ready where ctid = any (array(select place from picked)) returning *
  ),
  found as materialized (
    select queue, tenant_id, lane, count(*) as rows,
           array[max(seq) filter (where priority = 1), max(seq) filter (where priority = 2),
                 max(seq) filter (where priority = 3), max(seq) filter (where priority = 4)] as last
    from gone group by queue, tenant_id, lane
  )
  select json_agg(json_build_object(
           'verdict', case when g.shut is not null then g.shut
                           when g.places > 0 and coalesce(f.rows, 0) < g.places then 'drained'
                           -- Its neighbours got the room: whether that is used up shows the next claim.
                           when g.places < g.room then 'more'
                           when g.room < g.take then 'capped'
                           else 'more' end,
           'taken', coalesce(f.rows, 0),
           'last', coalesce(f.last, array[null, null, null, null]::bigint[]),
           'wait_ms', g.blocked_ms
         ) order by g.ord),
         (select array_agg(gone order by priority, seq) from gone),
         (select job_id from gone order by job_id limit 1),
         (select job_id from gone order by job_id desc limit 1)
  into about_lanes, taken, first_id, last_id
  from granted g
  left join found f on f.queue = g.queue and f.tenant_id = g.tenant_id and f.lane = g.lane;

  -- A job that was cancelled while it waited is dropped here: its row in `job` is finished.
  -- `offset 0` keeps a lookup a lookup by the whole key, whatever the statistics say.
  with met as materialized (
    select t.seq, t.attempt, t.ready_at, j.*, coalesce(j.expires_at <= clock_timestamp(), false) as late
    from unnest(taken) as t
    cross join lateral (
      select tenant_id, id, queue, lane, priority, connector, operation, idempotency_key, inbox_id, created_by,
             created_at, expires_at, request_id, correlation_id, trace_id, traceparent
      from job
      where tenant_id = t.tenant_id and id = t.job_id and state = 'queued'
        and id >= first_id and id <= last_id
      offset 0
    ) as j
  ),
  -- Its time has just passed: it must not start, and the next round of `expire` ends it.
  put_aside as (
    insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
    select tenant_id, id, clock_timestamp() + interval '1 minute', queue, lane, priority, attempt, 'snooze'
    from met where late
  ),
  due as materialized (
    select *, nextval('job_lease_seq') as lease_id, clock_timestamp() as started_at from met where not late
  ),
  started as (
    insert into job_run (tenant_id, job_id, lease_id, queue, lane, priority, attempt, node_id, started_at,
                         deadline_at, seq, ready_at)
    select tenant_id, id, lease_id, queue, lane, priority, attempt, claimer, started_at,
           started_at + max_run_ms * interval '1 millisecond', seq, ready_at
    from due
  )
  select coalesce(json_agg(json_build_object(
           'id', d.id, 'tenant_id', d.tenant_id, 'queue', d.queue, 'lane', d.lane, 'connector', d.connector,
           'operation', d.operation, 'input', p.input, 'input_ref', p.input_ref, 'metadata', p.metadata, 'completion', p.completion,
           'attempt', d.attempt, 'lease_id', d.lease_id, 'idempotency_key', d.idempotency_key,
           'inbox_id', d.inbox_id, 'created_by', d.created_by, 'created_at', d.created_at,
           'request_id', d.request_id, 'correlation_id', d.correlation_id, 'trace_id', d.trace_id,
           'traceparent', d.traceparent,
           'waited_ms', extract(epoch from d.started_at - d.ready_at) * 1000,
           'expires_in_ms', extract(epoch from d.expires_at - d.started_at) * 1000
         )), '[]')
  into jobs
  from due d
  cross join lateral (
    select input, input_ref, metadata, completion from job_payload
    where tenant_id = d.tenant_id and job_id = d.id and job_id >= first_id and job_id <= last_id
    offset 0
  ) as p;

  return json_build_object('registered', true, 'jobs', jobs, 'lanes', about_lanes);
end
$$;
