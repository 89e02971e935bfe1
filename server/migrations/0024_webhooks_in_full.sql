-- Webhook routes that can be changed, paused and ordered; an inbox whose events can wait for their route.

alter table webhook_route
  -- [{secret_ref, valid_from, valid_until}]: outside of its window a secret verifies nothing; none = always.
  add column secret_windows json not null default '[]',
  -- What the provider's own schema asks for, e.g. the template of `hmac`.
  add column settings json not null default '{}',
  -- {key, limit_ms}: events with the same value at this JSON pointer are delivered one after the other.
  add column ordering json,
  -- {connector, pull, ...}: how the provider's own list of events is asked for what never arrived.
  add column gap_check json,
  add column paused_at timestamptz,
  add column paused_by text,
  add column paused_why text,
  add column version int not null default 1 check (version >= 1),
  add column changed_at timestamptz not null default now(),
  add constraint webhook_route_pause_has_a_reason
    check ((paused_at is null) = (paused_why is null) and (paused_at is null) = (paused_by is null));

-- held: the route is paused, or has nowhere to deliver to; a worker makes its job when that is over.
-- waiting: behind an earlier event of the same ordering key.
-- `job_id` is the newest delivery; an event that is held may have had one.
alter table webhook_inbox
  drop constraint webhook_inbox_state_check,
  drop constraint webhook_inbox_check,
  add constraint webhook_inbox_state_check check (state in ('accepted', 'held', 'waiting', 'ignored')),
  add constraint webhook_inbox_accepted_has_a_job check (state <> 'accepted' or job_id is not null),
  add column held_why text,
  add constraint webhook_inbox_held_has_a_reason check ((state = 'held') = (held_why is not null)),
  -- How it came in: `received` from the provider, `pulled` out of the provider's own list, `released` from quarantine.
  add column source text not null default 'received' check (source in ('received', 'pulled', 'released')),
  -- Tells the values of the secret apart; null for what no secret has verified (pulled, assigned by a person).
  add column secret_fingerprint text,
  alter column secret_ref drop not null;
create index webhook_inbox_held on webhook_inbox (tenant_id, route_id, id) where state = 'held';
-- Of a route that is gone, by where its events go.
create index webhook_inbox_held_for on webhook_inbox (tenant_id, route_id, connector, id) where state = 'held';
-- To measure what waits for its turn.
create index webhook_inbox_waiting on webhook_inbox (id) where state = 'waiting';

-- The bytes are here, or in the payload store under this id, or were erased at somebody's wish.
alter table webhook_payload
  alter column body drop not null,
  add column payload_id uuid,
  add column erased_at timestamptz,
  add constraint webhook_payload_is_somewhere
    check (num_nonnulls(body, payload_id, erased_at) = 1);

-- Where the input of a job is when it is not in `input`, in words that the queue only carries.
alter table job_payload add column input_ref json;
