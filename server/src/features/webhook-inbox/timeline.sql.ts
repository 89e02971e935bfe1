import { many } from '../../platform/db/statement.ts'

export interface TimelineEventRow {
  readonly at_us: number
  readonly seq: number
  readonly at: Date
  readonly type: string
  readonly severity: 'debug' | 'info' | 'warning' | 'error'
  readonly message: string
  readonly connector: string | null
  readonly job_id: string | null
  readonly request_id: string | null
  readonly trace_id: string | null
  readonly data: Readonly<Record<string, unknown>>
}

interface Inbox {
  readonly tenantId: string
  readonly id: string
  readonly traceId: string
}

/**
 * The jobs of an inbox row that its events name: those of its trace, and those that retries and releases made under
 * another one. Each part is served by an index; `webhook_inbox.job_id` is the newest and is added by the caller.
 */
export const findJobIds = many<Inbox, { readonly job_id: string }>(
  'webhook_inbox.job_ids',
  `select job_id from event where tenant_id = $1 and trace_id = $3 and inbox_id = $2 and job_id is not null
   union
   select (data ->> 'job_id')::uuid from event
   where tenant_id = $1 and inbox_id = $2 and job_id is null and data ->> 'job_id' is not null
   union
   select (data ->> 'previous_job_id')::uuid from event
   where tenant_id = $1 and inbox_id = $2 and job_id is null and data ->> 'previous_job_id' is not null
   order by job_id`,
  ({ tenantId, id, traceId }) => [tenantId, id, traceId],
)

/** Events of an inbox row and of its jobs from a moment on, in their order. */
export const findEvents = many<
  Inbox & { readonly jobIds: readonly string[]; readonly fromUs: number; readonly limit: number },
  TimelineEventRow
>(
  'webhook_inbox.timeline_events',
  `with told as (
     select * from event where tenant_id = $1 and inbox_id = $2 and job_id is null
     union all
     select * from event where tenant_id = $1 and job_id = any($4::uuid[])
     union all
     select * from event where tenant_id = $1 and trace_id = $3 and inbox_id = $2 and job_id is not null
       and job_id <> all($4::uuid[])
   )
   select * from (
     select (extract(epoch from at) * 1000000)::bigint as at_us, seq, at, type, severity, message, connector, job_id,
            request_id, trace_id, data
     from told
   ) as t
   where at_us >= $5 order by at_us, seq limit $6`,
  ({ tenantId, id, traceId, jobIds, fromUs, limit }) => [tenantId, id, traceId, jobIds, fromUs, limit],
)
