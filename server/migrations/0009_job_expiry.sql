-- Jobs that must start by a moment or not at all. `job.expires_at` (0008) keeps a claim from starting one too late;
-- the rows here lead to the jobs that have to be ended. Only jobs with such a moment have one; it outlives them and
-- goes when its time comes, so that a settlement need not look for it.
create table job_expiry (
  tenant_id uuid not null,
  job_id uuid not null,
  check_at timestamptz not null,
  primary key (tenant_id, job_id)
);
create index job_expiry_due on job_expiry (check_at);

-- A job that expires before its first attempt is a dead letter without attempts.
alter table job_dead drop constraint job_dead_attempts_check, add constraint job_dead_attempts_check check (attempts >= 0);

-- As before (0004), and with `expires_at`.
create or replace function enqueue_jobs(batch json, keyed boolean, all_or_nothing boolean)
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
      run_at timestamptz, expires_at timestamptz, request_id text, correlation_id text, trace_id text,
      traceparent text, input text, metadata text, completion text, dedupe_key text, request_hash text
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
                     idempotency_key, inbox_id, created_by, run_at, expires_at, request_id, correlation_id,
                     trace_id, traceparent)
    select tenant_id, id, queue, lane, priority, connector, operation, config_version, idempotency_key,
           inbox_id, created_by, run_at, expires_at, request_id, correlation_id, trace_id, traceparent
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
  watched as (
    insert into job_expiry (tenant_id, job_id, check_at)
    select tenant_id, id, expires_at from fresh where expires_at is not null
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
