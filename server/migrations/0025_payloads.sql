-- Bodies that are too large for the database: the bytes are objects of a store (disk or S3), here is what they are.

-- Objects of this hub have keys that begin with it: a store that two hubs share by mistake is swept by neither for the other.
create table payload_hub (
  only_row boolean primary key default true check (only_row),
  id uuid not null default gen_random_uuid()
);
insert into payload_hub default values;

-- Written after the object and before, or with, what refers to it.
create table payload (
  tenant_id uuid not null,
  id uuid not null,
  -- Of the bytes as they were given, in clear.
  size int not null check (size >= 0),
  sha256 bytea not null check (length(sha256) = 32),
  content_type text not null check (length(content_type) between 1 and 255),
  -- Where the object is, or will be when it leaves the spool.
  store text not null check (store in ('disk', 's3')),
  object_key text not null check (length(object_key) <= 512),
  -- The wrapped data key; null = the object is not encrypted.
  sealed_key bytea,
  owner_kind text not null check (owner_kind in ('webhook', 'job_input', 'job_result', 'execution')),
  owner_id uuid not null,
  created_at timestamptz not null default now(),
  primary key (tenant_id, id)
);
create index payload_of_owner on payload (tenant_id, owner_kind, owner_id);
select protect_tenant_table('payload');

-- Objects that wait for their store to come back. Bounded over the whole hub: see `spool_payload`.
create table payload_spool (
  tenant_id uuid not null,
  id uuid not null,
  -- As it goes into the store: encrypted, when it is.
  body bytea not null,
  size int not null,
  spooled_at timestamptz not null default clock_timestamp(),
  primary key (tenant_id, id)
);
alter table payload_spool alter column body set storage external;
create index payload_spool_age on payload_spool (spooled_at);
select protect_tenant_table('payload_spool');

-- Keeps a body when all bodies together stay below the limit. One at a time, so that the bound is exact.
create function spool_payload(p_tenant uuid, p_id uuid, p_body bytea, p_limit bigint, out kept boolean, out total bigint)
language plpgsql volatile as $$
begin
  perform pg_advisory_xact_lock(7125, 1);
  select coalesce(sum(size), 0) into total from payload_spool;
  kept := total + length(p_body) <= p_limit;
  if kept then
    insert into payload_spool (tenant_id, id, body, size) values (p_tenant, p_id, p_body, length(p_body));
    total := total + length(p_body);
  end if;
end
$$;
-- Over all workspaces, whoever asks.
select run_as_owner('spool_payload(uuid, uuid, bytea, bigint)');

-- Objects that are to be deleted. Their workspace may have gone already.
create table payload_erasure (
  store text not null,
  object_key text not null,
  due_at timestamptz not null default clock_timestamp(),
  tries int not null default 0,
  primary key (store, object_key)
);
create index payload_erasure_due on payload_erasure (due_at);

-- However a row goes (erased, swept, with its workspace), its object follows.
create function payload_gone() returns trigger
language plpgsql as $$
begin
  delete from payload_spool s using gone g where s.tenant_id = g.tenant_id and s.id = g.id;
  insert into payload_erasure (store, object_key) select store, object_key from gone on conflict do nothing;
  return null;
end
$$;
create trigger payload_gone after delete on payload
  referencing old table as gone for each statement execute function payload_gone();
select run_as_owner('payload_gone()');

-- Days whose objects have been looked through for those without a row.
create table payload_swept_day (
  store text not null,
  day date not null,
  swept_at timestamptz not null default clock_timestamp(),
  primary key (store, day)
);

-- The result of a job that is kept in the payload store: {kind, id, size, sha256, content_type}.
alter table job_attempt add column result_ref json;

-- What nothing refers to any more: retention dropped it, or it never came to be.
create view payload_without_owner with (security_invoker = true) as
  select p.tenant_id, p.id, p.created_at
  from payload p
  where case p.owner_kind
    when 'webhook' then not exists (
      select from webhook_payload w
      where w.tenant_id = p.tenant_id and w.id = p.owner_id and w.payload_id = p.id)
    when 'job_input' then not exists (
      select from job_payload j
      where j.tenant_id = p.tenant_id and j.job_id = p.owner_id and j.input_ref ->> 'id' = p.id::text)
    when 'job_result' then not exists (
      select from job_attempt a
      where a.tenant_id = p.tenant_id and a.job_id = p.owner_id and a.result_ref ->> 'id' = p.id::text)
    when 'execution' then not exists (
      select from execution_key k where k.tenant_id = p.tenant_id and k.execution_id = p.owner_id)
  end;
