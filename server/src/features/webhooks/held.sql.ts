import { many } from '../../platform/db/statement.ts'

export interface NewlyHeld {
  readonly tenant_id: string
  readonly id: string
  readonly job_id: string
  readonly why: string
}

export interface HeldRow {
  readonly tenant_id: string
  readonly id: string
  readonly job_id: string
  readonly held_why: string
  readonly route_id: string
  readonly connector: string
  readonly provider: string
  readonly event_id: string
  readonly event_type: string
  readonly request_id: string
  readonly correlation_id: string
  readonly trace_id: string
}

/** Events whose delivery ends without one: they wait from now on. A row that has got a newer delivery stays as it is. */
export const holdEvents = many<{ readonly held: readonly NewlyHeld[] }, HeldRow>(
  'webhooks.hold_events',
  `update webhook_inbox i set state = 'held', held_why = h.why
   from json_to_recordset($1::json) as h (tenant_id uuid, id uuid, job_id uuid, why text)
   where i.tenant_id = h.tenant_id and i.id = h.id and i.job_id = h.job_id and i.state = 'accepted'
   returning i.tenant_id, i.id, i.job_id, i.held_why, i.route_id, i.connector, i.provider, i.event_id,
             i.event_type, i.request_id, i.correlation_id, i.trace_id`,
  ({ held }) => [JSON.stringify(held)],
)
