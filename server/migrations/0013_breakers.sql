-- Circuit breakers live in the memory of the processes that call. A row tells the others, the operators and the
-- next start what the last one said, and what an operator wants instead.
create table breaker (
  tenant_id uuid not null references workspace (id),
  connector text not null,
  state text not null default 'closed' check (state in ('closed', 'open', 'half_open')),
  -- Of an open one: when it is tried again.
  open_until timestamptz,
  why text not null default '',
  -- A breaker in shadow mode refuses nothing.
  shadow boolean not null default false,
  changed_at timestamptz,
  forced text check (forced in ('open', 'closed')),
  forced_until timestamptz,
  forced_why text,
  forced_by text,
  forced_at timestamptz,
  primary key (tenant_id, connector),
  check ((forced is null) = (forced_until is null)
         and (forced is null) = (forced_why is null)
         and (forced is null) = (forced_by is null)
         and (forced is null) = (forced_at is null))
);

alter table lane_policy drop constraint lane_policy_blocked_reason_check;
alter table lane_policy add constraint lane_policy_blocked_reason_check
  check (blocked_reason in ('retry_after', 'workspace_suspended', 'connector_unusable', 'circuit_open', 'rate_limited'));

-- Nothing looks for log rows by their trace: the events of a trace name the execution. It cost each row a page of its own.
drop index request_log_of_trace;
