import { newId } from '../../../platform/ids.ts'
import { type JobRecord, jobRecord } from '../../../queue/enqueue.ts'
import type { NewJob } from '../../../queue/job.ts'
import type { KeptPayload } from '../../payloads/payloads.ts'
import { inLine, type Line, lineOf } from './lines.ts'
import type { EventToStore, LineRecord, TakeArgs } from './take.sql.ts'
import type { VerifiedWebhook } from './verified-webhook.ts'

/** An event with what is decided about it before it meets the database. */
export interface PreparedWebhook {
  readonly webhook: VerifiedWebhook
  /** Of the inbox row, if the event is new. */
  readonly inboxId: string
  readonly line: Line | undefined
  readonly delivery: NewJob | undefined
  /** Of bytes that are too large for the database. */
  readonly kept: KeptPayload | undefined
}

export function prepare(webhook: VerifiedWebhook, kept: KeptPayload | undefined): PreparedWebhook {
  const { route, payload, reception } = webhook
  const inboxId = newId()
  const line = reception.state === 'ignored' ? undefined : lineOf(route, payload)
  const job = webhook.delivery?.(inboxId)
  return { webhook, inboxId, line, delivery: job && line ? inLine(job, line) : job, kept }
}

/** Longer than any provider of the registry resends (Stripe: 30 days). */
const DEDUPE_DAYS = 40

/** The parameters of `takeBatch`; the place of an event is its `ord`. */
export function toStore(events: readonly PreparedWebhook[]): TakeArgs {
  const bodies: Buffer[] = []
  const jobs: JobRecord[] = []
  const lines: LineRecord[] = []
  let at = 0
  const records = events.map((event, ord) => {
    const record = eventRecord(event, ord, at)
    const { delivery, line, kept, inboxId } = event
    if (!kept) {
      bodies.push(event.webhook.bytes)
      at += event.webhook.bytes.length
    }
    const job = delivery && jobRecord(delivery, ord)
    if (line)
      lines.push({
        tenant_id: record.tenant_id,
        route_id: line.routeId,
        key: line.key,
        inbox_id: inboxId,
        limit_ms: line.limitMs,
        id: delivery?.id ?? newId(),
        job: job ?? null,
      })
    else if (job) jobs.push(job)
    return record
  })
  return { events: records, bodies: Buffer.concat(bodies), jobs, lines, dedupeDays: DEDUPE_DAYS }
}

function eventRecord(
  { webhook, inboxId, line, delivery, kept }: PreparedWebhook,
  ord: number,
  at: number,
): EventToStore {
  const { call, event, route, evidence, reception } = webhook
  return {
    ord,
    tenant_id: route.tenantId,
    id: inboxId,
    route_id: route.id,
    provider: route.provider,
    account: route.account ?? event.accounts[0] ?? null,
    livemode: event.livemode ?? route.livemode,
    event_id: event.eventId,
    event_type: event.type,
    occurred_at: event.occurredAt,
    state: line && reception.state === 'accepted' ? 'waiting' : reception.state,
    held_why: reception.state === 'held' ? reception.why : null,
    connector: route.connector,
    job_id: line ? null : (delivery?.id ?? null),
    secret_ref: evidence?.secretRef ?? null,
    secret_fingerprint: evidence?.secretFingerprint ?? null,
    source: webhook.source,
    request_id: call.requestId,
    correlation_id: call.correlationId,
    trace_id: call.traceId,
    headers: JSON.stringify(webhook.headers),
    at,
    size: webhook.bytes.length,
    payload_id: kept?.id ?? null,
    sha256: kept?.sha256 ?? null,
  }
}
