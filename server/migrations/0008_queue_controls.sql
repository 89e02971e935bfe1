-- Controls of operators over the queue: a queue of a workspace, a connector or a whole workspace is paused with a
-- name and a reason. Pauses are read with every claim and written by hand, so they are small tables.

create table queue_pause (
  tenant_id uuid not null,
  queue smallint not null check (queue between 0 and 3),
  paused_at timestamptz not null,
  paused_by text not null,
  paused_why text not null,
  primary key (tenant_id, queue)
);

alter table lane_policy add column paused_by text, add column paused_why text;
alter table tenant_policy add column paused_by text, add column paused_why text;
update lane_policy set paused_by = 'unknown', paused_why = 'Paused before reasons were kept.' where paused_at is not null;
update tenant_policy set paused_by = 'unknown', paused_why = 'Paused before reasons were kept.' where paused_at is not null;
alter table lane_policy add constraint lane_pause_has_a_reason
  check ((paused_at is null) = (paused_why is null) and (paused_at is null) = (paused_by is null));
alter table tenant_policy add constraint tenant_pause_has_a_reason
  check ((paused_at is null) = (paused_why is null) and (paused_at is null) = (paused_by is null));

-- A job that has not started by this moment never will; null = no limit.
alter table job add column expires_at timestamptz;

-- As before (0004), and: lanes of a paused queue are skipped, a job whose time is over is not started.
create or replace function claim_jobs(claimer uuid, lanes json, max_run_ms int) returns json
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
        for update skip locked
      ) as q
      limit g.places
    ) as p
    where g.places > 0
  ),
  gone as (
    delete from job_ready where ctid = any (array(select place from picked)) returning *
  ),
  -- A job that was cancelled or has expired while it waited is dropped here: its row in `job` is finished.
  met as materialized (
    select g.seq, g.attempt, g.ready_at, j.*, coalesce(j.expires_at <= clock_timestamp(), false) as late
    from (select * from gone order by priority, seq) as g
    cross join lateral (
      select * from job where tenant_id = g.tenant_id and id = g.job_id and state = 'queued' offset 0
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
