import type { Comparison } from './compare.ts'
import type { InboxDetail as Detail } from './inbox-detail.ts'
import { type InboxPlan, skippedOf } from './plan.ts'
import type { PlanView } from './plans.schema.ts'
import { shownSelection } from './selection.ts'
import type { InboxItem } from './status.ts'
import type { TimelineEntry as Entry } from './timeline.ts'
import type { InboxDetail, InboxEntry, TimelineEntry } from './webhook-inbox.schema.ts'

const iso = (date: Date | null): string | null => date?.toISOString() ?? null

export const entryView = ({ row, status }: InboxItem): InboxEntry => ({
  id: row.id,
  status,
  route_id: row.route_id,
  provider: row.provider,
  account: row.account,
  livemode: row.livemode,
  event_id: row.event_id,
  event_type: row.event_type,
  source: row.source,
  occurred_at: row.occurred_at.toISOString(),
  received_at: row.received_at.toISOString(),
  connector: row.connector,
  duplicates: row.duplicates,
  size: row.size,
  job_ids: row.job_id === null ? [] : [row.job_id],
  held_why: row.held_why,
  request_id: row.request_id,
  correlation_id: row.correlation_id,
  trace_id: row.trace_id,
})

export function detailView(detail: Detail): InboxDetail {
  const { row, payload, waits } = detail
  return {
    ...entryView(detail),
    secret_ref: row.secret_ref,
    secret_fingerprint: row.secret_fingerprint,
    waits: waits.map((wait) => ({ ...wait, until: iso(wait.until) })),
    headers: { ...payload?.headers },
    payload: payload?.text ?? null,
    payload_sha256: payload?.sha256 ?? null,
    payload_ref: payload?.storedAs
      ? {
          id: payload.storedAs,
          size: row.size,
          sha256: payload.sha256,
          content_type: payload.headers['content-type'] ?? 'application/octet-stream',
        }
      : null,
    erased_at: iso(payload?.erasedAt ?? null),
  }
}

export function timelineView(entry: Entry): TimelineEntry {
  if (entry.kind === 'event') {
    const { type, severity, message, job_id, connector, request_id, trace_id, data } = entry.event
    return {
      ...{ at: entry.at.toISOString(), kind: 'event', type, severity, message, job_id, connector },
      ...{ request_id, trace_id, attempt: null, data: { ...data } },
    }
  }
  const { attempt } = entry
  return {
    ...{ at: entry.at.toISOString(), kind: 'attempt', type: 'attempt', message: attempt.why },
    severity: attempt.error_class === null ? 'info' : 'warning',
    ...{ job_id: attempt.job_id, connector: null, request_id: null, trace_id: null, data: {} },
    attempt: {
      number: attempt.attempt,
      outcome: attempt.outcome,
      started_at: new Date(attempt.started_at).toISOString(),
      ended_at: new Date(attempt.ended_at).toISOString(),
      http_status: attempt.http_status,
      error_class: attempt.error_class,
      config_version: attempt.config_version,
    },
  }
}

export const comparisonView = ({ compared, equal, bytesEqual, changes, cut, headers }: Comparison) => ({
  ...{ compared, equal, bytes_equal: bytesEqual, cut },
  differences: [...changes],
  headers: [...headers],
})

/** Of what is searched for only the kind is shown: the value of a subject is somebody's data. */
const selectionView = (plan: InboxPlan) => {
  const selection = shownSelection(plan.selection)
  return {
    ids: 'ids' in selection ? [...selection.ids] : null,
    filter: 'filter' in selection ? { ...selection.filter, statuses: [...selection.filter.statuses] } : null,
    event_id: 'event_id' in selection ? selection.event_id : null,
    subject: 'subject' in selection ? { pointer: selection.subject.pointer ?? null } : null,
  }
}

export function planView(plan: InboxPlan): PlanView {
  const skipped = skippedOf(plan)
  const left = plan.endedAt === null ? plan.total - plan.done - skipped : 0
  return {
    plan_id: plan.id,
    action: plan.action,
    state: plan.state,
    expired: plan.state === 'planned' && plan.expired,
    ...selectionView(plan),
    examined: plan.looked,
    count: plan.total,
    oldest: iso(plan.oldestAt),
    sample: plan.sample.map((event) => ({ ...event })),
    unreadable: { count: plan.unreadable, ids: [...plan.unreadableIds] },
    waiting_for: plan.waitingFor,
    waiting_since: iso(plan.waitingSince),
    rate_per_second: plan.ratePerSecond,
    new_message_id: plan.newMessageId,
    config_version: plan.configVersion,
    estimate_seconds: Math.ceil(left / plan.ratePerSecond),
    created_by: plan.createdBy,
    created_at: plan.createdAt.toISOString(),
    expires_at: iso(plan.expiresAt),
    committed_by: plan.committedBy,
    committed_at: iso(plan.committedAt),
    reason: plan.reason,
    progress: {
      total: plan.total,
      done: plan.done,
      skipped,
      skipped_why: Object.entries(plan.skipped)
        .map(([why, count]) => ({ why, count }))
        .sort((one, other) => other.count - one.count),
    },
    ended_at: iso(plan.endedAt),
    ended_by: plan.endedBy,
    ended_why: plan.endedWhy,
  }
}
