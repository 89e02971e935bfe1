import { maybeOne } from '../../platform/db/statement.ts'

export interface NewInboxRow {
  readonly tenantId: string
  readonly id: string
  readonly routeId: string
  readonly provider: string
  readonly account: string | null
  readonly livemode: boolean
  readonly eventId: string
  readonly eventType: string
  readonly occurredAt: Date
  readonly state: 'accepted' | 'held' | 'ignored'
  readonly heldWhy: string | null
  readonly source: string
  readonly connector: string
  readonly jobId: string | null
  readonly secretRef: string | null
  readonly secretFingerprint: string | null
  readonly requestId: string
  readonly correlationId: string
  readonly traceId: string
  readonly body: Buffer
  readonly headers: Readonly<Record<string, string>>
  readonly dedupeDays: number
}

/**
 * Takes an event once: the answer is the id of the inbox row that stands for it, the given one only for the
 * first copy. Copies that come at the same time wait at the dedupe key until the first has committed. No row
 * means that the route has gone in the meantime: the binding is checked in the transaction that relies on it.
 */
export const takeEvent = maybeOne<NewInboxRow, { readonly inbox_id: string }>(
  'webhooks.take_event',
  `with dedupe as (
     insert into webhook_dedupe (tenant_id, event_id, route_id, inbox_id, expires_at)
     select tenant_id, $3::text, id, $4::uuid, now() + make_interval(days => $5::int)
     from webhook_route where tenant_id = $1 and id = $2
     on conflict (tenant_id, event_id, route_id)
       do update set duplicates = webhook_dedupe.duplicates + 1, last_seen_at = clock_timestamp()
     returning inbox_id
   ), inbox as (
     insert into webhook_inbox (tenant_id, id, route_id, provider, account, livemode, event_id, event_type,
                                occurred_at, state, connector, job_id, secret_ref, size, request_id,
                                correlation_id, trace_id, held_why, source, secret_fingerprint)
     select $1::uuid, $4::uuid, $2::uuid, $6::text, $7::text, $8::boolean, $3::text, $9::text,
            $10::timestamptz, $11::text, $12::text, $13::uuid, $14::text, octet_length($18::bytea), $15::text,
            $16::text, $17::text, $20::text, $21::text, $22::text
     from dedupe where inbox_id = $4
   ), payload as (
     insert into webhook_payload (tenant_id, id, body, sha256, headers)
     select $1::uuid, $4::uuid, $18::bytea, sha256($18::bytea), $19::json
     from dedupe where inbox_id = $4
   )
   select inbox_id from dedupe`,
  (row) => [
    row.tenantId,
    row.routeId,
    row.eventId,
    row.id,
    row.dedupeDays,
    row.provider,
    row.account,
    row.livemode,
    row.eventType,
    row.occurredAt,
    row.state,
    row.connector,
    row.jobId,
    row.secretRef,
    row.requestId,
    row.correlationId,
    row.traceId,
    row.body,
    JSON.stringify(row.headers),
    row.heldWhy,
    row.source,
    row.secretFingerprint,
  ],
)
