-- The queue (DESIGN §7). Where a job lives says what it is doing:
--   job_ready waits for a worker · job_run is held by one · job_deferred waits for a time.
-- Every job whose `state` is 'queued' is in exactly one of the three; a finished one in none of them (a cancelled
-- one may leave a job_ready row behind, which the next claim of its lane drops).
-- The three hot tables are narrow and only inserted into and deleted from: an update would leave a dead row in
-- every index. `job` is written once and finished once, and no index knows its state, so that the finish stays
-- inside its page. Payloads and results are `json`: key order and number texts come back as they were sent.

create function queue_name(queue smallint) returns text
language sql immutable strict
return (array['critical', 'webhook', 'default', 'low'])[queue + 1];

create sequence job_ready_seq as bigint cache 1;
create sequence job_lease_seq as bigint cache 1;

create table job (
  tenant_id uuid not null,
  id uuid not null,
  queue smallint not null check (queue between 0 and 3),
  lane int not null,
  priority smallint not null check (priority between 1 and 4),
  connector text not null,
  operation text not null,
  config_version int not null,
  -- Sent upstream on every attempt; null = derived from the id.
  idempotency_key text,
  inbox_id uuid,
  created_by text not null,
  created_at timestamptz not null default now(),
  -- As asked for at the enqueue; later times are in job_deferred.
  run_at timestamptz,
  request_id text not null,
  correlation_id text not null,
  trace_id text not null,
  traceparent text not null,
  state text not null default 'queued' check (state in ('queued', 'done', 'cancelled', 'dead')),
  attempts int not null default 0 check (attempts >= 0),
  finished_at timestamptz,
  primary key (tenant_id, id),
  constraint job_finished_has_a_time check ((state = 'queued') = (finished_at is null))
) partition by range (id);

create table job_payload (
  tenant_id uuid not null,
  job_id uuid not null,
  input json not null,
  metadata json not null,
  completion json,
  primary key (tenant_id, job_id)
) partition by range (job_id);

-- The key is the order of the claim; there is no other index. `seq` is drawn when the job becomes ready, so a
-- retried job goes to the end of its lane.
create table job_ready (
  queue smallint not null check (queue between 0 and 3),
  tenant_id uuid not null,
  lane int not null,
  priority smallint not null check (priority between 1 and 4),
  seq bigint not null default nextval('job_ready_seq'),
  job_id uuid not null,
  -- The number of the attempt that the next claim starts; 1 for the first.
  attempt int not null check (attempt >= 1),
  ready_at timestamptz not null default clock_timestamp(),
  primary key (queue, tenant_id, lane, priority, seq)
) with (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);
alter sequence job_ready_seq owned by job_ready.seq;

create table job_run (
  tenant_id uuid not null,
  job_id uuid not null,
  -- Rises with every claim of any job. Whoever settles must name it: a worker that lost the job changes nothing.
  lease_id bigint not null,
  queue smallint not null,
  lane int not null,
  priority smallint not null,
  attempt int not null check (attempt >= 1),
  node_id uuid not null,
  started_at timestamptz not null,
  deadline_at timestamptz not null check (deadline_at > started_at),
  -- The one update that a hot table sees: rare, and it tells the worker to stop.
  cancel_requested_at timestamptz,
  cancel_why text,
  primary key (tenant_id, job_id),
  check ((cancel_requested_at is null) = (cancel_why is null))
) with (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);
-- Counts what a tenant and a lane have running; a lower bound on lease_id keeps dead entries out of the way.
create index job_run_of_tenant on job_run (tenant_id, lease_id) include (lane);
create index job_run_to_cancel on job_run (node_id) where cancel_requested_at is not null;

create table job_deferred (
  tenant_id uuid not null,
  job_id uuid not null,
  run_at timestamptz not null,
  queue smallint not null,
  lane int not null,
  priority smallint not null,
  attempt int not null check (attempt >= 1),
  cause text not null check (cause in ('scheduled', 'retry', 'snooze', 'rescue')),
  primary key (tenant_id, job_id),
  check (cause <> 'scheduled' or attempt = 1),
  check (cause not in ('retry', 'rescue') or attempt > 1)
) with (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_threshold = -1, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);
create index job_deferred_due on job_deferred (run_at);

-- The dead letters. `replays` counts how often operators sent the job on its way again.
create table job_dead (
  tenant_id uuid not null,
  job_id uuid not null,
  queue smallint not null check (queue between 0 and 3),
  lane int not null,
  connector text not null,
  operation text not null,
  dead_at timestamptz not null,
  reason text not null check (reason <> ''),
  attempts int not null check (attempts >= 1),
  error_class text not null,
  error_message text not null,
  http_status int,
  replays int not null default 0 check (replays >= 0),
  primary key (tenant_id, job_id)
);
create index job_dead_newest on job_dead (tenant_id, queue, dead_at desc, job_id desc);

-- Append-only: one row per lease that ended.
create table job_attempt (
  tenant_id uuid not null,
  job_id uuid not null,
  lease_id bigint not null,
  attempt int not null check (attempt >= 1),
  node_id uuid not null,
  started_at timestamptz not null,
  ended_at timestamptz not null,
  -- 'snoozed' and 'returned' spend no attempt: the next lease has the same number.
  outcome text not null
    check (outcome in ('done', 'retry', 'snoozed', 'dead', 'cancelled', 'returned', 'lost')),
  why text not null,
  error_class text,
  error_message text,
  http_status int,
  next_run_at timestamptz,
  result json,
  primary key (tenant_id, job_id, lease_id),
  check (outcome not in ('retry', 'dead', 'lost') or error_class is not null),
  check ((error_class is null) = (error_message is null)),
  check (outcome = 'done' or result is null),
  check (outcome not in ('retry', 'snoozed') or next_run_at is not null)
) partition by range (job_id);

-- Written when a policy changes, a breaker opens, an upstream answers 429 or an operator pauses; never per job.
create table lane_policy (
  tenant_id uuid not null,
  lane int not null,
  max_running int check (max_running > 0),
  blocked_until timestamptz,
  blocked_why text,
  paused_at timestamptz,
  primary key (tenant_id, lane),
  check ((blocked_until is null) = (blocked_why is null))
);

create table tenant_policy (
  tenant_id uuid primary key,
  max_running int check (max_running > 0),
  -- Jobs per turn, relative to the other tenants.
  weight int not null default 1 check (weight between 1 and 100),
  paused_at timestamptz
);

-- Idempotency keys of the callers. A partitioned table could not keep them unique.
create table idem (
  tenant_id uuid not null,
  scope text not null,
  key text not null check (length(key) between 1 and 255),
  job_id uuid not null,
  request_hash bytea not null check (length(request_hash) = 32),
  created_at timestamptz not null default now(),
  expires_at timestamptz not null,
  primary key (tenant_id, scope, key)
);
create index idem_expired on idem (expires_at);

-- One row per running worker; it is alive as long as it beats.
create table node (
  node_id uuid primary key,
  host text not null,
  capacity int not null check (capacity > 0),
  started_at timestamptz not null default clock_timestamp(),
  beat_at timestamptz not null default clock_timestamp(),
  -- No job_run row of this node has a smaller lease_id, now or later.
  oldest_lease bigint not null
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Work that one node does for all: `term` rises with every change of hands.
create table leader (
  name text primary key,
  owner uuid not null,
  term bigint not null,
  expires_at timestamptz not null
);

insert into partitioned_table (name, by_id, storage) values
  ('job', true, 'fillfactor = 70'),
  ('job_payload', true, ''),
  ('job_attempt', true, '');
select create_daily_partitions(name::regclass, by_id, 7) from partitioned_table where name like 'job%';

-- A partition that was vacuumed or analysed while it was empty (a nightly job of somebody else) counts as empty for
-- the planner until autovacuum sees it, a minute into its day. This shortens the minute; gives how many it mended.
create function analyze_fresh_partitions() returns int
language plpgsql as $$
declare
  fresh regclass;
  mended int := 0;
begin
  for fresh in
    select c.oid::regclass
    from partitioned_table t
    join pg_inherits i on i.inhparent = t.name::regclass
    join pg_class c on c.oid = i.inhrelid
    where c.reltuples = 0 and pg_relation_size(c.oid) > 0
  loop
    execute format('analyze %s', fresh);
    mended := mended + 1;
  end loop;
  return mended;
end
$$;

-- Stores a batch of jobs in one round trip: idempotency keys, jobs, payloads, ready or deferred rows, events.
-- A function because a key that another transaction is just writing can only be read in a statement that starts
-- after the wait for it. One row per item of the batch comes back:
--   replayed: the key was used for the same request, `id` is the first job;
--   refused:  the key was used for another request, nothing is stored for the item, and with `all_or_nothing`
--             nothing for the whole batch.
-- Payloads arrive as text: JSON inside JSON would be unescaped, which fails for \u0000.
create function enqueue_jobs(batch json, keyed boolean, all_or_nothing boolean)
returns table (ord int, id uuid, queued_at timestamptz, replayed boolean, refused boolean)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
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
  end if;

  return query
  with item as materialized (
    select b.*, i.job_id as owner, i.created_at as owned_at,
           coalesce(i.request_hash <> decode(b.request_hash, 'hex'), false) as refused
    from json_to_recordset(batch) as b (
      ord int, id uuid, tenant_id uuid, queue smallint, lane int, priority smallint, connector text,
      operation text, config_version int, idempotency_key text, inbox_id uuid, created_by text,
      run_at timestamptz, request_id text, correlation_id text, trace_id text, traceparent text,
      input text, metadata text, completion text, dedupe_key text, request_hash text
    )
    left join idem i on i.tenant_id = b.tenant_id and i.scope = 'job' and i.key = b.dedupe_key
  ),
  stop as materialized (
    select all_or_nothing and exists (select from item where item.refused) as stopped
  ),
  fresh as materialized (
    select item.*, coalesce(item.run_at > now(), false) as deferred
    from item, stop
    where not stop.stopped and coalesce(item.owner, item.id) = item.id
  ),
  undone as (
    delete from idem i using item, stop
    where stop.stopped and i.tenant_id = item.tenant_id and i.scope = 'job' and i.key = item.dedupe_key
      and i.job_id = item.id
  ),
  stored as (
    insert into job (tenant_id, id, queue, lane, priority, connector, operation, config_version,
                     idempotency_key, inbox_id, created_by, run_at, request_id, correlation_id, trace_id,
                     traceparent)
    select tenant_id, id, queue, lane, priority, connector, operation, config_version, idempotency_key,
           inbox_id, created_by, run_at, request_id, correlation_id, trace_id, traceparent
    from fresh order by ord
  ),
  payload as (
    insert into job_payload (tenant_id, job_id, input, metadata, completion)
    select tenant_id, id, input::json, metadata::json, completion::json from fresh order by ord
  ),
  ready as (
    insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
    select queue, tenant_id, lane, priority, id, 1 from fresh where not deferred order by ord
  ),
  later as (
    insert into job_deferred (tenant_id, job_id, run_at, queue, lane, priority, attempt, cause)
    select tenant_id, id, run_at, queue, lane, priority, 1, 'scheduled' from fresh where deferred
  ),
  told as materialized (
    select append_events(json_agg(json_build_object(
      'tenant_id', tenant_id,
      'type', case when deferred then 'job.scheduled' else 'job.queued' end,
      'message', case when deferred then 'Accepted, to run later.' else 'Accepted.' end,
      'connector', connector, 'job_id', id, 'inbox_id', inbox_id, 'request_id', request_id,
      'correlation_id', correlation_id, 'trace_id', trace_id,
      'data', json_build_object('queue', queue_name(queue), 'operation', operation, 'run_at', run_at)
    ) order by ord)) as events
    from fresh
  )
  select item.ord,
         coalesce(item.owner, item.id),
         coalesce(item.owned_at, now()),
         coalesce(item.owner <> item.id, false) and not item.refused,
         item.refused
  from item, told
  order by item.ord;
end
$$;

-- Takes up to `take` jobs from each lane of `lanes` and starts a lease for each.
-- A function because of one rule: the lock of a tenant is taken in one statement, and what its caps allow is
-- counted in the next. In one statement the count would use the snapshot from before the lock, and two nodes
-- would both find the last free place (measured: 18 running with a cap of 5).
-- A tenant that another node is just claiming for, or whose job is just being cancelled, is 'contended'.
-- `low` is the watermark per priority: the scan starts behind it, and does not walk the dead entries that an old
-- snapshot keeps in front of it. `offset 0` keeps a lookup a lookup by the whole key, whatever the statistics say.
-- Answer: {registered, jobs: [job…], lanes: [{verdict, taken, last: [seq per priority], wait_ms}…]}, lanes in the
-- order of the request.
create function claim_jobs(claimer uuid, lanes json, max_run_ms int) returns json
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
declare
  locked uuid[];
  answer json;
begin
  -- A node that stopped beating may have been declared dead: its new leases would be rescued at once.
  if not exists (
    select from node where node_id = claimer and beat_at > clock_timestamp() - interval '10 seconds'
  ) then
    return json_build_object('registered', false, 'jobs', '[]'::json, 'lanes', '[]'::json);
  end if;

  with tenant as materialized (
    select distinct l.tenant_id from json_to_recordset(lanes) as l (tenant_id uuid)
  ),
  attempt as materialized (
    select tenant_id, pg_try_advisory_xact_lock(7101, uuid_hash(tenant_id)) as won from tenant
  )
  select coalesce(array_agg(tenant_id) filter (where won), '{}') into locked from attempt;

  with asked as materialized (
    select l.*,
           case when lp.paused_at is not null or tp.paused_at is not null then 'paused'
                when lp.blocked_until > clock_timestamp() then 'blocked'
                when not l.tenant_id = any (locked) then 'contended' end as shut,
           ceil(extract(epoch from lp.blocked_until - clock_timestamp()) * 1000)::bigint as blocked_ms,
           tp.max_running - c.in_tenant as tenant_room,
           lp.max_running - c.in_lane as lane_room
    from json_to_recordset(lanes)
      as l (ord int, queue smallint, tenant_id uuid, lane int, take int, low bigint[])
    left join lane_policy lp on lp.tenant_id = l.tenant_id and lp.lane = l.lane
    left join tenant_policy tp on tp.tenant_id = l.tenant_id
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
        for update skip locked
      ) as q
      limit g.places
    ) as p
    where g.places > 0
  ),
  gone as (
    delete from job_ready where ctid = any (array(select place from picked)) returning *
  ),
  -- A job that was cancelled while it waited is dropped here: its row in `job` is finished.
  due as materialized (
    select g.seq, g.attempt, g.ready_at, j.*, nextval('job_lease_seq') as lease_id,
           clock_timestamp() as started_at
    from (select * from gone order by priority, seq) as g
    cross join lateral (
      select * from job where tenant_id = g.tenant_id and id = g.job_id and state = 'queued' offset 0
    ) as j
  ),
  started as (
    insert into job_run (tenant_id, job_id, lease_id, queue, lane, priority, attempt, node_id, started_at,
                         deadline_at)
    select tenant_id, id, lease_id, queue, lane, priority, attempt, claimer, started_at,
           started_at + max_run_ms * interval '1 millisecond'
    from due
  ),
  found as materialized (
    select queue, tenant_id, lane, count(*) as rows,
           array[max(seq) filter (where priority = 1), max(seq) filter (where priority = 2),
                 max(seq) filter (where priority = 3), max(seq) filter (where priority = 4)] as last
    from gone group by queue, tenant_id, lane
  )
  select json_build_object(
    'registered', true,
    'jobs', (
      select coalesce(json_agg(json_build_object(
        'id', d.id, 'tenant_id', d.tenant_id, 'queue', d.queue, 'lane', d.lane, 'connector', d.connector,
        'operation', d.operation, 'input', p.input, 'metadata', p.metadata, 'completion', p.completion,
        'attempt', d.attempt, 'lease_id', d.lease_id, 'idempotency_key', d.idempotency_key,
        'inbox_id', d.inbox_id, 'created_by', d.created_by, 'created_at', d.created_at,
        'request_id', d.request_id, 'correlation_id', d.correlation_id, 'trace_id', d.trace_id,
        'traceparent', d.traceparent,
        'waited_ms', extract(epoch from d.started_at - d.ready_at) * 1000
      )), '[]')
      from due d
      cross join lateral (
        select * from job_payload where tenant_id = d.tenant_id and job_id = d.id offset 0
      ) as p
    ),
    'lanes', (
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
      ) order by g.ord)
      from granted g
      left join found f on f.queue = g.queue and f.tenant_id = g.tenant_id and f.lane = g.lane
    )
  ) into answer;
  return answer;
end
$$;
