-- Idempotency keys of /execute (docs/decisions/0013). A row is committed before the first byte goes upstream:
--   running   an execution holds the key until `lease_until`; nobody else runs it
--   finished  `answer` is what the caller got and everybody gets who repeats the call
--   unknown   it may have had its effect and nobody knows; settled by the next call, the worker or an operator
-- No row: the key is free. What was provably never sent gives its key back.
-- Every end is fenced by (execution_id, lease). The clock of the database is the only clock for leases.
--
-- No index is on a column that the usual way (claim, finish) changes, and a page has room for the answers of its
-- rows: the finish touches no index. `unknown_since` and `next_try_at` stay null on that way.
create table execution_key (
  tenant_id uuid not null,
  key text not null check (length(key) between 1 and 255),
  execution_id uuid not null,
  -- SHA-256 over method, route, query and the bytes of the body.
  fingerprint bytea not null check (length(fingerprint) = 32),
  state text not null default 'running' check (state in ('running', 'finished', 'unknown')),
  -- Rises each time that the execution is taken up again.
  lease int not null default 1,
  lease_until timestamptz not null,
  -- Running it again has no second effect: it is safe, idempotent, or the upstream takes our key.
  repeatable boolean not null,
  safe boolean not null,
  connector text not null,
  operation text not null,
  config_version int not null,
  subject text not null,
  request_id text not null,
  correlation_id text not null,
  traceparent text not null,
  -- Only while the worker may have to run it again.
  input json,
  -- What came of it last: `ok` or the code of a problem, and the HTTP status and body that the caller got.
  outcome text,
  status smallint,
  -- Null in a finished one whose answer was too large to be kept.
  answer text,
  -- An operator who settled it.
  settled_by text,
  tries smallint not null default 0,
  next_try_at timestamptz,
  unknown_since timestamptz,
  created_at timestamptz not null default clock_timestamp(),
  expires_at timestamptz not null,
  primary key (tenant_id, key),
  constraint execution_key_finished_has_a_status check (state <> 'finished' or status is not null),
  constraint execution_key_unknown_has_a_time check ((state = 'unknown') = (unknown_since is not null))
) with (fillfactor = 30, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_insert_scale_factor = 0.05);

-- By id, and newest first.
create unique index execution_key_by_id on execution_key (tenant_id, execution_id);
-- Leases end about in the order in which they began: the worker reads each part of it once.
create index execution_key_lease on execution_key (lease_until);
create index execution_key_expiry on execution_key (expires_at);
create index execution_key_unknown on execution_key (tenant_id, execution_id) where unknown_since is not null;
create index execution_key_due on execution_key (next_try_at) where next_try_at is not null;

-- Upstreams forget keys, Stripe after a day: later than this after the first call an unknown one is not repeated.
create function execution_repeatable_for() returns interval
language sql immutable as $$ select interval '20 hours' $$;

-- Whoever has to look into it must find it: an unknown outcome is kept for longer than its key asked for.
create function execution_unknown_kept_for() returns interval
language sql immutable as $$ select interval '30 days' $$;

-- When the worker runs an unknown execution again that it has run `tries` times: after 15 s, doubling up to 15 minutes,
-- eight times; then an operator has to look into it.
create function execution_next_try(created_at timestamptz, tries int) returns timestamptz
language sql volatile as $$
  select case when tries < 8 and created_at > clock_timestamp() - execution_repeatable_for()
    then clock_timestamp() + least(900, 15 * 2 ^ tries) * (0.75 + random() / 2) * interval '1 second' end
$$;

-- What becomes of an execution with an unknown outcome: the end of a sentence.
create function execution_future(held execution_key) returns text
language sql stable as $$
  select case when held.next_try_at is not null then 'it will be run again under the same key.'
              when held.repeatable and held.created_at > clock_timestamp() - execution_repeatable_for()
                then 'it is run again when the call is repeated, or an operator settles it.'
              else 'an operator has to settle it.' end
$$;

-- Takes keys for many callers in one round trip. One row per item of the batch comes back, its `verdict`:
--   claimed   the caller runs the execution `execution_id` under `lease`; more than 1: it may have run before
--   running   somebody else does
--   finished, unknown   what is known of it
--   mismatch  the key belongs to another request; nothing else is told
-- A function because a row that another transaction is just writing can only be read in a statement that starts
-- after the wait for it. Rows are locked in the order of their keys, so that batches wait and do not deadlock.
create function claim_execution_keys(batch json)
returns table (
  ord int, verdict text, execution_id uuid, lease int, created_at timestamptz, expires_at timestamptz,
  repeatable boolean, request_id text, trace_id text, status smallint, outcome text, answer text
)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  fresh int;
  won int[] := '{}';
  item record;
  held execution_key;
begin
  insert into execution_key (tenant_id, key, execution_id, fingerprint, lease_until, repeatable, safe, connector, operation,
                             config_version, subject, request_id, correlation_id, traceparent, input, expires_at)
  select distinct on (b.tenant_id, b.key)
         b.tenant_id, b.key, b.execution_id, decode(b.fingerprint, 'hex'),
         clock_timestamp() + b.lease_ms * interval '1 millisecond', b.repeatable, b.safe, b.connector, b.operation,
         b.config_version, b.subject, b.request_id, b.correlation_id, b.traceparent, b.input::json,
         clock_timestamp() + b.keep_ms * interval '1 millisecond'
  from json_to_recordset(batch) as b (
    ord int, tenant_id uuid, key text, execution_id uuid, fingerprint text, lease_ms float8, repeatable boolean, safe boolean,
    connector text, operation text, config_version int, subject text, request_id text, correlation_id text,
    traceparent text, input text, keep_ms float8
  )
  order by b.tenant_id, b.key, b.ord
  on conflict do nothing;
  get diagnostics fresh = row_count;

  if fresh < json_array_length(batch) then
    -- What is left of the other keys: expired ones, and executions that nobody runs any more. Row by row, because a
    -- join would be planned for the table as it was when the connection was new, and read all of it later.
    for item in
      select * from json_to_recordset(batch) as b (
        ord int, tenant_id uuid, key text, execution_id uuid, fingerprint text, lease_ms float8, repeatable boolean, safe boolean,
        connector text, operation text, config_version int, subject text, request_id text, correlation_id text,
        traceparent text, input text, keep_ms float8
      )
    loop
      select * into held from execution_key k
      where k.tenant_id = item.tenant_id and k.key >= item.key and k.key <= item.key
        and k.execution_id <> item.execution_id
        and (k.state = 'unknown' or (k.state = 'running' and k.lease_until < clock_timestamp())
             or (k.state = 'finished' and k.expires_at < clock_timestamp()))
      order by k.key limit 1 for update;
      continue when not found;

      if held.state <> 'running' and held.expires_at < clock_timestamp() then
        -- A key whose time is over is a new one.
        update execution_key k
        set execution_id = item.execution_id, fingerprint = decode(item.fingerprint, 'hex'), state = 'running',
            lease = 1, lease_until = clock_timestamp() + item.lease_ms * interval '1 millisecond',
            repeatable = item.repeatable, safe = item.safe, connector = item.connector, operation = item.operation,
            config_version = item.config_version, subject = item.subject, request_id = item.request_id,
            correlation_id = item.correlation_id, traceparent = item.traceparent, input = item.input::json,
            outcome = null, status = null, answer = null, settled_by = null, tries = 0, next_try_at = null,
            unknown_since = null, created_at = clock_timestamp(),
            expires_at = clock_timestamp() + item.keep_ms * interval '1 millisecond'
        where k.tenant_id = item.tenant_id and k.key = item.key and k.execution_id = held.execution_id;
      elsif held.fingerprint = decode(item.fingerprint, 'hex') then
        if held.repeatable and item.repeatable
           and held.created_at > clock_timestamp() - execution_repeatable_for() then
          -- What may be run again under its own key, is.
          update execution_key k
          set state = 'running', lease = k.lease + 1, unknown_since = null, next_try_at = null,
              lease_until = clock_timestamp() + item.lease_ms * interval '1 millisecond',
              expires_at = greatest(k.expires_at, clock_timestamp() + execution_unknown_kept_for())
          where k.tenant_id = item.tenant_id and k.key = item.key and k.execution_id = held.execution_id;
          won := won || item.ord;
        elsif held.state = 'running' then
          -- Who held it has died.
          update execution_key k
          set state = 'unknown', unknown_since = clock_timestamp(),
              expires_at = greatest(k.expires_at, clock_timestamp() + execution_unknown_kept_for()),
              next_try_at = case when k.input is not null then clock_timestamp() end
          where k.tenant_id = item.tenant_id and k.key = item.key and k.execution_id = held.execution_id;
        end if;
      end if;
    end loop;
  end if;

  return query
  select b.ord,
         case when k.fingerprint <> decode(b.fingerprint, 'hex') then 'mismatch'
              when k.execution_id = b.execution_id or b.ord = any (won) then 'claimed'
              else k.state end,
         k.execution_id, k.lease, k.created_at, k.expires_at, k.repeatable, k.request_id,
         split_part(k.traceparent, '-', 2), k.status, k.outcome, k.answer
  from json_to_recordset(batch) as b (ord int, tenant_id uuid, key text, execution_id uuid, fingerprint text)
  cross join lateral (
    -- A range that is one key, in its order: nothing but the primary key gives that, also while the table is so new
    -- that all indexes look the same to the planner.
    select * from execution_key where tenant_id = b.tenant_id and key >= b.key and key <= b.key order by key limit 1
  ) as k;
end
$$;

-- Ends executions: `to` is finished, unknown or released (its key is free again). Gives the places of those that
-- were ended: the others have been taken up by somebody else, or settled, and nothing was changed. A holder that
-- comes late is welcome as long as nobody took up what it held: it knows what came of it.
create function end_execution_keys(batch json) returns table (ord int)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set jit = off
set plan_cache_mode = force_generic_plan
as $$
#variable_conflict use_column
declare
  item record;
  ended execution_key;
begin
  -- Row by row, because a join would be planned for the table as it was when the connection was new.
  for item in
    select * from json_to_recordset(batch) as b (
      ord int, tenant_id uuid, key text, execution_id uuid, lease int, "to" text, outcome text, status smallint,
      answer text, again boolean, counts boolean
    )
  loop
    if item."to" = 'released' then
      delete from execution_key k
      where k.tenant_id = item.tenant_id and k.key = item.key and k.execution_id = item.execution_id
        and k.lease = item.lease and k.state in ('running', 'unknown');
      continue when not found;
    elsif item."to" = 'finished' then
      update execution_key k
      set state = 'finished', outcome = item.outcome, status = item.status, answer = item.answer, input = null,
          unknown_since = null, next_try_at = null
      where k.tenant_id = item.tenant_id and k.key = item.key and k.execution_id = item.execution_id
        and k.lease = item.lease and k.state in ('running', 'unknown')
      returning k.* into ended;
      continue when not found;
    else
      update execution_key k
      set state = 'unknown', outcome = coalesce(item.outcome, k.outcome), status = coalesce(item.status, k.status),
          answer = coalesce(item.answer, k.answer),
          tries = k.tries + case when item.counts then 1 else 0 end, unknown_since = clock_timestamp(),
          next_try_at = case when item.again and k.input is not null then execution_next_try(k.created_at, k.tries) end,
          expires_at = greatest(k.expires_at, clock_timestamp() + execution_unknown_kept_for())
      where k.tenant_id = item.tenant_id and k.key = item.key and k.execution_id = item.execution_id
        and k.lease = item.lease and k.state in ('running', 'unknown')
      returning k.* into ended;
      continue when not found;
    end if;
    ord := item.ord;
    return next;

    -- A run that sent nothing has no outcome to tell of, unless it was the last one.
    if (item."to" = 'unknown' and (item.outcome is not null or (ended.input is not null and ended.next_try_at is null)))
       or (item."to" = 'finished' and item.lease > 1) then
      perform append_events(json_build_array(json_build_object(
        'tenant_id', ended.tenant_id,
        'type', case when item."to" = 'unknown' then 'execution.unknown' else 'execution.settled' end,
        'severity', case when item."to" = 'unknown' then 'warning' else 'info' end,
        'message', case when item."to" <> 'unknown' then 'Its outcome is known now: it was run again under the same key.'
                        else 'Nobody knows whether it had its effect; ' || execution_future(ended) end,
        'connector', ended.connector, 'request_id', ended.request_id, 'correlation_id', ended.correlation_id,
        'trace_id', split_part(ended.traceparent, '-', 2),
        'data', json_build_object('execution_id', ended.execution_id, 'operation', ended.operation,
                                  'outcome', ended.outcome, 'tries', ended.tries, 'next_try_at', ended.next_try_at)
      )));
    end if;
  end loop;
end
$$;

-- Executions whose holder has died, among the next `max_rows` leases that ended after `since` and before now: they
-- become unknown. What is safe is not worth settling: its key is free again. Gives how far it has looked, when it
-- began to, whether there is more, and how many there were. Bounded, because those that have ended stand among them:
-- an index without them would cost every finish a write.
create function lose_executions(
  since timestamptz, max_rows int,
  out looked_until timestamptz, out looked_at timestamptz, out more boolean, out lost int, out freed int
)
language plpgsql volatile
set enable_seqscan = off
set enable_bitmapscan = off
set enable_hashjoin = off
set enable_mergejoin = off
set jit = off
as $$
begin
  looked_at := clock_timestamp();
  select k.lease_until into looked_until from execution_key k
  where k.lease_until > since and k.lease_until <= looked_at
  order by k.lease_until offset max_rows - 1 limit 1;
  more := found;
  looked_until := coalesce(looked_until, looked_at);
  with held as materialized (
    -- In the order in which claims and ends lock, so that they wait for each other and do not deadlock.
    select k.tenant_id, k.key from execution_key k
    where k.lease_until > since and k.lease_until <= looked_until and k.state = 'running'
    order by k.tenant_id, k.key collate "C" for update
  ),
  free as (
    delete from execution_key k using held h
    where k.tenant_id = h.tenant_id and k.key = h.key and k.state = 'running' and k.safe
    returning 1
  ),
  gone as (
    update execution_key k
    set state = 'unknown', unknown_since = looked_at,
        expires_at = greatest(k.expires_at, looked_at + execution_unknown_kept_for()),
        next_try_at = case when k.input is not null then looked_at end
    from held h
    where k.tenant_id = h.tenant_id and k.key = h.key and k.state = 'running' and not k.safe
    returning k.*
  ),
  told as (
    select append_events(json_agg(json_build_object(
      'tenant_id', g.tenant_id, 'type', 'execution.unknown', 'severity', 'warning',
      'message', 'The process that ran it has died: nobody knows whether it had its effect; ' || execution_future(g),
      'connector', g.connector, 'request_id', g.request_id, 'correlation_id', g.correlation_id,
      'trace_id', split_part(g.traceparent, '-', 2),
      'data', json_build_object('execution_id', g.execution_id, 'operation', g.operation, 'next_try_at', g.next_try_at)
    ) order by g.execution_id)) as events, count(*)::int as rows
    from gone g having count(*) > 0
  )
  select coalesce((select t.rows from told t), 0), (select count(*) from free) into lost, freed;
end
$$;
