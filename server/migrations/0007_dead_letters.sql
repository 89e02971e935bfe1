-- Dead letters: replay, bin, bulk actions.

-- A replayed job lives again: its attempts start anew, its history stays. Both are null until the first replay, so
-- that ordinary jobs do not grow.
alter table job
  add column replays int check (replays > 0),
  -- Leases up to this one belong to earlier lives of the job: whoever counts attempts leaves them out.
  add column earlier_leases bigint,
  add constraint job_replays_have_earlier_lives check ((replays is null) = (earlier_leases is null));

-- What is the same for failures of one kind. Quoted texts, mail addresses and words with a digit (ids, amounts,
-- addresses, times) differ from one failure to the next and are left out of it.
create function failure_fingerprint(connector text, operation text, error_class text, http_status int, message text)
returns text
language sql immutable parallel safe as $$
  select left(encode(sha256(convert_to(
    connector || E'\n' || operation || E'\n' || error_class || E'\n' || coalesce(http_status::text, '') || E'\n'
      || regexp_replace(
           regexp_replace(left(message, 500), '"[^"]*"|`[^`]*`|[^[:space:]@]+@[^[:space:]@]+', '#', 'g'),
           '[A-Za-z0-9_-]*[0-9][A-Za-z0-9_-]*', '#', 'g'),
    'UTF8')), 'hex'), 16)
$$;

-- The counter moves to `job`: a replay takes the letter away. What is purged stays here, in the bin, until the
-- maintenance of a worker empties it; `binned` says the same as `purged_at` in a form that leads indexes.
alter table job_dead
  drop column replays,
  add column purged_at timestamptz,
  add column binned boolean not null generated always as (purged_at is not null) stored,
  add column fingerprint text not null
    generated always as (failure_fingerprint(connector, operation, error_class, http_status, error_message)) stored;

drop index job_dead_newest;
create index job_dead_newest on job_dead (tenant_id, queue, binned, dead_at desc, job_id desc);
create index job_dead_groups on job_dead (tenant_id, queue, binned, fingerprint, dead_at desc, job_id desc);
create index job_dead_to_empty on job_dead (purged_at) where binned;

-- Sends dead letters on their way again, in the order given, at the lowest priority of their lanes: they must not
-- overtake what is fresh. A letter that is gone or in the bin is left out of the answer, and so is one whose
-- history is no longer kept. Who asks for a replay wants it to run: a moment by which the job had to start
-- (`expires_at`, which 0008 adds) is lifted. A function for its settings: it meets partitions of any size.
create function replay_dead_letters(tenant uuid, ids uuid[], actor text, why text, plan uuid, new_effect boolean)
returns table (job_id uuid, queue smallint, lane int)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with wanted as materialized (
    select id, ord from unnest(ids) with ordinality as w (id, ord)
  ),
  revived as (
    update job j
    set state = 'queued', finished_at = null, attempts = 0, priority = 4, expires_at = null,
        replays = coalesce(j.replays, 0) + 1,
        earlier_leases = coalesce(
          (select max(a.lease_id) from job_attempt a where a.tenant_id = tenant and a.job_id = j.id), 0),
        idempotency_key = case when new_effect then 'orch-' || j.id || '-' || coalesce(j.replays, 0) + 1
                               else j.idempotency_key end
    from wanted w
    where j.tenant_id = tenant and j.id = w.id and j.state = 'dead'
      and exists (select from job_dead d where d.tenant_id = tenant and d.job_id = w.id and not d.binned)
    returning j.*, w.ord
  ),
  gone as (
    delete from job_dead d using revived r where d.tenant_id = tenant and d.job_id = r.id
  ),
  ready as (
    insert into job_ready (queue, tenant_id, lane, priority, job_id, attempt)
    select queue, tenant_id, lane, priority, id, 1 from revived order by ord
  ),
  told as materialized (
    select append_events(json_agg(json_build_object(
      'tenant_id', tenant, 'type', 'job.replayed',
      'message', 'Replayed '
        || case when new_effect then 'with a new idempotency key, so that its effect may happen once more, ' else '' end
        || 'by ' || actor || ': ' || why,
      'connector', connector, 'job_id', id, 'inbox_id', inbox_id,
      'correlation_id', correlation_id, 'trace_id', trace_id,
      'data', json_build_object(
        'queue', queue_name(queue), 'operation', operation, 'actor', actor, 'reason', why, 'plan_id', plan,
        'replay', replays, 'new_effect', new_effect,
        'idempotency_key', coalesce(idempotency_key, 'orch-' || id))
    ) order by ord)) as events
    from revived
  )
  select r.id, r.queue, r.lane from revived r, told order by r.ord;
end
$$;

-- Moves dead letters into the bin or back; gives the ids of those that moved. The join to `job` is only for the
-- ids of its trace: a letter without history can be purged, too.
create function bin_dead_letters(tenant uuid, ids uuid[], into_bin boolean, actor text, why text, plan uuid)
returns table (job_id uuid)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
#variable_conflict use_column
begin
  return query
  with moved as (
    update job_dead d set purged_at = case when into_bin then clock_timestamp() end
    where d.tenant_id = tenant and d.job_id = any (ids) and d.binned <> into_bin
    returning d.job_id, d.queue, d.connector, d.operation
  ),
  told as materialized (
    select append_events(json_agg(json_build_object(
      'tenant_id', tenant, 'type', case when into_bin then 'job.purged' else 'job.restored' end,
      'message', case when into_bin then 'Moved to the bin by ' else 'Restored from the bin by ' end
        || actor || ': ' || why,
      'connector', m.connector, 'job_id', m.job_id, 'inbox_id', j.inbox_id,
      'correlation_id', j.correlation_id, 'trace_id', j.trace_id,
      'data', json_build_object(
        'queue', queue_name(m.queue), 'operation', m.operation, 'actor', actor, 'reason', why, 'plan_id', plan)
    ) order by m.job_id)) as events
    from moved m
    left join lateral (
      select * from job where tenant_id = tenant and id = m.job_id offset 0
    ) as j on true
  )
  select m.job_id from moved m, told;
end
$$;

-- One bulk action on dead letters, from the plan that shows what it would do to its end (features/dead-letters).
create table dead_letter_plan (
  tenant_id uuid not null,
  id uuid not null,
  queue smallint not null check (queue between 0 and 3),
  action text not null check (action in ('replay', 'purge', 'restore')),
  -- Either the jobs that were named, or a filter over what was there when the plan was made.
  job_ids uuid[] check (cardinality(job_ids) between 1 and 1000),
  filter json,
  rate_per_second int not null check (rate_per_second > 0),
  new_effect boolean not null check (action = 'replay' or not new_effect),
  total int not null check (total >= 0),
  oldest_at timestamptz,
  sample json not null,
  created_by text not null,
  created_at timestamptz not null,
  expires_at timestamptz not null check (expires_at > created_at),
  state text not null default 'planned' check (state in ('planned', 'running', 'done', 'aborted', 'failed')),
  -- Of the commit.
  committed_by text,
  committed_at timestamptz,
  reason text,
  ended_at timestamptz,
  -- Who aborted it, and why it did not come to its end.
  ended_by text,
  ended_why text,
  request_id text not null,
  correlation_id text not null,
  trace_id text not null,
  done int not null default 0 check (done >= 0),
  -- Why letters were left out: {why: how many}.
  skipped json not null default '{}',
  -- How far it came: jobs of `job_ids` that were looked at, or the last letter of the filter, its time in
  -- microseconds since 1970 (a JavaScript date would lose some).
  looked_at int not null default 0,
  reached_us bigint,
  reached_id uuid,
  -- Not before: that is the rate.
  next_at timestamptz,
  failures int not null default 0,
  primary key (tenant_id, id),
  constraint dead_letter_plan_selects_once check ((job_ids is null) <> (filter is null)),
  constraint dead_letter_plan_runs_after_commit
    check (state not in ('running', 'done', 'failed') or (committed_at is not null and reason is not null)),
  constraint dead_letter_plan_ends check ((state in ('planned', 'running')) = (ended_at is null)),
  constraint dead_letter_plan_knows_when check (state <> 'running' or next_at is not null)
);
create index dead_letter_plan_due on dead_letter_plan (next_at) where state = 'running';
create index dead_letter_plan_old on dead_letter_plan (created_at) where state <> 'running';
