-- The webhook inbox: what its lists and timelines ask for, and bulk actions (retry, erase) on it.

-- Few rows: what waits without a job. The index of 0024 is by route.
create index webhook_inbox_unsent on webhook_inbox (tenant_id, id) where state in ('held', 'waiting');

-- What is told of an event beside its jobs: duplicates, holds, releases, retries. An event that simply comes in and is
-- delivered adds nothing to it: those rows have a job, and are found by it.
create index event_of_inbox on event (tenant_id, inbox_id, xid, seq) where inbox_id is not null and job_id is null;

-- One bulk action, from the search for its rows to its end (features/webhook-inbox).
create table webhook_plan (
  tenant_id uuid not null,
  id uuid not null,
  action text not null check (action in ('retry', 'erase')),
  -- {ids} | {filter} | {event_id} | {subject}. What is searched for by a subject goes when the plan has ended.
  selection json not null,
  rate_per_second int not null check (rate_per_second > 0),
  -- Of a retry: whether the receiver shall take them for new messages; null = those that may have been delivered.
  new_message_id boolean check (action = 'retry' or new_message_id is null),
  -- Of a retry: the config version that was active when the plan was made.
  config_version int,
  state text not null default 'searching'
    check (state in ('searching', 'planned', 'running', 'done', 'aborted', 'failed')),
  -- Rows that the search has looked at, and the last of them.
  looked int not null default 0 check (looked >= 0),
  searched_id uuid,
  total int not null default 0 check (total >= 0),
  oldest_at timestamptz,
  sample json not null default '[]',
  -- Rows whose payload nobody can read: nothing is known of whom they are about. The first of them by their ids.
  unreadable int not null default 0 check (unreadable >= 0),
  unreadable_ids json not null default '[]',
  -- What its next step waits for, in words and since when; `waits`: how often it was tried in vain.
  waiting_for text,
  waiting_since timestamptz,
  waits int not null default 0,
  created_by text not null,
  -- Rows that came later are not part of it.
  created_at timestamptz not null,
  expires_at timestamptz check (expires_at > created_at),
  committed_by text,
  committed_at timestamptz,
  reason text,
  ended_at timestamptz,
  ended_by text,
  ended_why text,
  done int not null default 0 check (done >= 0),
  skipped json not null default '{}',
  failures int not null default 0,
  -- When a worker looks at it again; also the lease of the one that is searching.
  next_at timestamptz,
  request_id text not null,
  correlation_id text not null,
  trace_id text not null,
  primary key (tenant_id, id),
  check ((state in ('searching', 'running')) = (next_at is not null)),
  check ((state in ('done', 'aborted', 'failed')) = (ended_at is not null)),
  check ((committed_at is null) = (committed_by is null) and (committed_at is null) = (reason is null)),
  check (state <> 'running' or committed_at is not null),
  check (state <> 'planned' or expires_at is not null),
  check ((waiting_for is null) = (waiting_since is null)),
  check (waiting_for is null or state in ('searching', 'running'))
);
create index webhook_plan_due on webhook_plan (next_at) where state in ('searching', 'running');
create index webhook_plan_running on webhook_plan (tenant_id) where state in ('searching', 'running');
select protect_tenant_table('webhook_plan');

-- What a plan is still to do; a row goes in the transaction that does it.
create table webhook_plan_item (
  tenant_id uuid not null,
  plan_id uuid not null,
  inbox_id uuid not null,
  primary key (tenant_id, plan_id, inbox_id),
  foreign key (tenant_id, plan_id) references webhook_plan (tenant_id, id) on delete cascade
);
select protect_tenant_table('webhook_plan_item');

-- Events that nobody delivers any more leave their lines (0028), whether their turn has come or not, and the next one
-- goes: [{tenant_id, inbox_id, id}…], `id` for the job that is made should somebody's turn come. Before rows of the
-- inbox are locked. Gives what `start_webhook_turns` gives.
create function leave_webhook_lines(leaving json) returns json
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
declare
  lines json;
begin
  select json_agg(json_build_object('tenant_id', w.tenant_id, 'route_id', w.route_id, 'key', w.key, 'id', l.id))
  into lines
  from json_to_recordset(leaving) as l (tenant_id uuid, inbox_id uuid, id uuid)
  join webhook_line w on w.tenant_id = l.tenant_id and w.inbox_id = l.inbox_id;
  if lines is null then return null; end if;
  perform lock_webhook_lines(lines);
  delete from webhook_line w
  using json_to_recordset(leaving) as l (tenant_id uuid, inbox_id uuid)
  where w.tenant_id = l.tenant_id and w.inbox_id = l.inbox_id;
  return start_webhook_turns(lines);
end
$$;
