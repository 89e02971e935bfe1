/**
 * The webhook inbox for operators: what came in and what became of it, delivered once more, compared, erased. What is
 * stored, and its states, is the webhooks' (features/webhooks): here it is read, and changed only as follows.
 *
 * A retry replays the dead letter of an event, or makes a new delivery for one that is over; never for one that goes
 * on by itself. An erasure removes what is known of the content of events, wherever the hub has it, and leaves that
 * there was an event, who erased it and why.
 *
 * A bulk action is an object with states:
 *
 *   plan ──► searching ──► planned ──commit──► running ──► done | failed
 *                └────────────┴──abort──┴─────────┴──► aborted | failed
 *
 * Invariants, each held by a test:
 * 1. Before its commit a plan changes nothing. A commit does at most what the search has found: events that come
 *    later are not part of it.
 * 2. Commit and abort happen once, each with its audit entry in the same transaction; a plan that still searches, has
 *    expired or is about nothing cannot be committed.
 * 3. A batch and the progress that tells of it commit together: a worker that dies loses nothing, and several never
 *    do one event twice. A search holds no transaction while it reads, and goes on where it was.
 * 4. done + skipped = total when a plan is done.
 * 5. Whom an erasure was about is forgotten with its end: neither the plan nor the audit log keeps the value.
 */
export { type Comparison, compareSides } from './compare.ts'
export type { EraseDeps, ErasedEvents } from './erase.ts'
export { type DetailDeps, getInboxDetail } from './inbox-detail.ts'
export { type InboxFilter, listInbox } from './list-inbox.ts'
export type { InboxPlan } from './plan.ts'
export { abortPlan, commitPlan, getPlan, listPlans, makePlan, type PlanRequest } from './plans.ts'
export { type RetryDeps, retryOne } from './retry.ts'
export type { Selection } from './selection.ts'
export { INBOX_STATUSES, type InboxStatus } from './status.ts'
export { timelineOf } from './timeline.ts'
