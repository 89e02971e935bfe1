-- One row for every execution (sync call), written behind the answer in batches together with its events.
create table request_log (
  tenant_id uuid not null,
  id uuid not null,
  at timestamptz not null,
  connector text not null,
  operation text not null,
  subject text not null,
  -- 'ok', or the code of the problem that the caller got
  outcome text not null,
  http_status int,
  attempts int not null check (attempts >= 0),
  latency_ms int not null check (latency_ms >= 0),
  dry_run boolean not null,
  config_version int not null,
  idempotency_key text,
  request_id text not null,
  correlation_id text not null,
  trace_id text not null,
  metadata json not null default '{}',
  primary key (tenant_id, id)
) partition by range (id);

create index request_log_of_trace on request_log (tenant_id, trace_id);

insert into partitioned_table values ('request_log', true);
select create_daily_partitions('request_log', true, 7);
