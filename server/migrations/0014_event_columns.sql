-- As append_events, for events that come as columns: for statements that write many of one kind, whose time would
-- mostly go into reading JSON (measured: a third of it for an execution's row and event).
create function append_event_columns(
  tenants uuid[], types text[], severities text[], messages text[], connectors text[], request_ids text[],
  correlation_ids text[], trace_ids text[], data json[]
) returns int
language sql volatile as $$
  with appended as (
    insert into event (tenant_id, type, severity, message, connector, request_id, correlation_id, trace_id, data)
    select * from unnest(tenants, types, severities, messages, connectors, request_ids, correlation_ids, trace_ids, data)
    returning 1
  )
  select count(*)::int from appended
$$;
