import type { DeadLetter, FailureGroup } from '../../queue/dead-letters.ts'
import type { AttemptError, QueueName } from '../../queue/job.ts'
import type { GroupView, LetterView, PlanView } from './dead-letters.schema.ts'
import { type Plan, skippedOf } from './plan.ts'

const iso = (date: Date | null): string | null => date?.toISOString() ?? null

const errorView = ({ class: kind, message, httpStatus }: AttemptError) => ({
  class: kind,
  message,
  http_status: httpStatus ?? null,
})

export const letterView =
  (queue: QueueName) =>
  (letter: DeadLetter): LetterView => ({
    job_id: letter.id,
    queue,
    connector: letter.connector,
    operation: letter.operation,
    dead_at: letter.deadAt.toISOString(),
    purged_at: iso(letter.purgedAt),
    reason: letter.reason,
    attempts: letter.attempts,
    error: errorView(letter.error),
    fingerprint: letter.fingerprint,
    replays: letter.replays,
    inbox_id: letter.inboxId,
    correlation_id: letter.correlationId,
    trace_id: letter.traceId,
  })

export const groupView = (group: FailureGroup): GroupView => ({
  fingerprint: group.fingerprint,
  count: group.letters,
  first_seen_at: group.firstAt.toISOString(),
  last_seen_at: group.lastAt.toISOString(),
  connector: group.connector,
  operation: group.operation,
  error: errorView(group.error),
  sample_job_id: group.sampleId,
})

export function planView(plan: Plan): PlanView {
  const skipped = skippedOf(plan)
  const left = plan.state === 'planned' || plan.state === 'running' ? plan.total - plan.done - skipped : 0
  return {
    plan_id: plan.id,
    queue: plan.queue,
    action: plan.action,
    state: plan.state,
    ids: 'ids' in plan.selection ? [...plan.selection.ids] : null,
    filter: 'filter' in plan.selection ? plan.selection.filter : null,
    count: plan.total,
    oldest: iso(plan.oldestAt),
    sample: plan.sample.map((letter) => ({ ...letter })),
    rate_per_second: plan.ratePerSecond,
    new_effect: plan.newEffect,
    estimate_seconds: Math.ceil(left / plan.ratePerSecond),
    created_by: plan.createdBy,
    created_at: plan.createdAt.toISOString(),
    expires_at: plan.expiresAt.toISOString(),
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
