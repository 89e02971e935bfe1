import type { CallContext } from '../../platform/call-context.ts'
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { Problem } from '../../problems.ts'
import { pickNamedLetters, replayLetters, whereaboutsOf } from '../../queue/dead-letters.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { LaneKey, NewJob, QueueName } from '../../queue/job.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { type DeliveryTarget, deliveryOf } from '../webhooks/webhooks.ts'
import { type InboxRow, lockInbox } from './inbox.sql.ts'
import { findRoute, inboxNotFound } from './inbox-detail.ts'
import { findErased, setDeliveries } from './retry.sql.ts'
import { type InboxItem, type InboxStatus, withStatus } from './status.ts'

export interface RetryDeps {
  /** Where the connector is in the active config; undefined = it has no such connector. Errors: `database_unavailable`. */
  readonly target: (tenantId: string, connector: string) => Promise<DeliveryTarget | undefined>
}

export interface RetryBatch {
  readonly tenantId: string
  readonly ids: readonly string[]
  /** Whether receivers shall take them for new messages; null = those that they may have got before. */
  readonly newMessageId: boolean | null
  readonly actor: string
  readonly why: string
  readonly planId: string | null
  readonly call: CallContext
}

export interface Retried extends LaneKey {
  readonly inboxId: string
  readonly jobId: string
  readonly newMessageId: boolean
}

export interface RetriedBatch {
  readonly retried: readonly Retried[]
  /** What could not be, and why: a sentence without its subject. */
  readonly skipped: readonly { readonly inboxId: string; readonly why: string }[]
}

/** The receiver may have had it: with the same id it would take it for a copy. */
const MAYBE_DELIVERED: ReadonlySet<InboxStatus> = new Set(['done', 'archived'])

/** Why an event in this state is not delivered once more; undefined = it can be. */
function obstacleOf({ status }: InboxItem): string | undefined {
  switch (status) {
    case 'queued':
    case 'scheduled':
    case 'retrying':
    case 'running':
      return `is ${status}: its delivery goes on by itself`
    case 'held':
      return 'is held: it goes on by itself when nothing is in its way any more'
    case 'waiting':
      return 'waits behind an earlier event of its ordering key and goes on by itself'
    default:
      return undefined
  }
}

const GONE = 'is no longer kept'

/**
 * Delivers events once more, those of them that can be: a dead letter is replayed, anything else that is over gets a
 * new job with the same event id. Their rows are locked, so that of two who want the same one finds a delivery that
 * goes on. Call `WakeUp.hint` with what was retried after the commit.
 */
export async function retryInbox(tx: Tx, deps: RetryDeps, batch: RetryBatch): Promise<RetriedBatch> {
  const { tenantId, ids } = batch
  const rows = await lockInbox(tx, { tenantId, ids })
  const items = await withStatus(tx, tenantId, rows)
  const erased = new Map((await findErased(tx, { tenantId, ids })).map((row) => [row.id, row.erased]))
  const skipped: { inboxId: string; why: string }[] = []
  const found = new Set(rows.map(({ id }) => id))
  for (const inboxId of ids) if (!found.has(inboxId)) skipped.push({ inboxId, why: GONE })

  const destinations = createDestinations(tx, deps, tenantId)
  const ready: { readonly item: InboxItem; readonly to: Destination }[] = []
  for (const item of items) {
    const { row } = item
    const why =
      obstacleOf(item) ??
      (erased.get(row.id) === undefined ? GONE : erased.get(row.id) ? 'was erased' : undefined)
    const to = why === undefined ? await destinations(row) : why
    if (typeof to === 'string') skipped.push({ inboxId: row.id, why: to })
    else ready.push({ item, to })
  }

  const letters = await replayDead(
    tx,
    batch,
    ready.map(({ item }) => item),
  )
  skipped.push(...letters.skipped)
  const replayed = new Set([...letters.retried, ...letters.skipped].map(({ inboxId }) => inboxId))
  const fresh = ready.filter(({ item }) => !replayed.has(item.row.id))
  const jobs = fresh.map(({ item, to }) => ({ item, ...newDelivery(batch, item, to) }))
  await enqueueJobs(
    tx,
    jobs.map(({ job }) => job),
  )
  await setDeliveries(tx, {
    tenantId,
    deliveries: jobs.map(({ item, job }) => ({ inboxId: item.row.id, jobId: job.id })),
  })
  const retried = [
    ...letters.retried,
    ...jobs.map(({ item, job: { id, queue, lane }, newMessageId }) => ({
      ...{ inboxId: item.row.id, jobId: id, newMessageId, tenantId, queue, lane },
    })),
  ]
  await tellRetried(tx, batch, retried, items)
  return { retried, skipped }
}

interface Destination {
  readonly target: DeliveryTarget
  readonly connector: string
  /** Undefined: it has gone; the event is delivered to where it was. */
  readonly route: WebhookRoute | undefined
}

/** Where an event would be delivered to now, or why not; each route and connector is looked up once. */
function createDestinations(on: Queryable, deps: RetryDeps, tenantId: string) {
  const routes = new Map<string, WebhookRoute | undefined>()
  const targets = new Map<string, DeliveryTarget | undefined>()
  return async (row: InboxRow): Promise<Destination | string> => {
    if (!routes.has(row.route_id)) routes.set(row.route_id, await findRoute(on, tenantId, row.route_id))
    const route = routes.get(row.route_id)
    if (route?.paused) return 'is of a webhook route that is paused: resume the route first'
    const connector = route?.connector ?? row.connector
    if (!targets.has(connector)) targets.set(connector, await deps.target(tenantId, connector))
    const target = targets.get(connector)
    if (!target) return `has nowhere to go: the active config has no connector ${connector}`
    return { target, connector, route }
  }
}

/** What is a dead letter lives again, with its history. One that has left the bin for good gets a new job instead. */
async function replayDead(
  tx: Tx,
  { tenantId, newMessageId, actor, why, planId }: RetryBatch,
  items: readonly InboxItem[],
): Promise<RetriedBatch> {
  const dead = new Map(
    items.flatMap(({ row, status }) =>
      status === 'dead' && row.job_id !== null ? [[row.job_id, row.id] as const] : [],
    ),
  )
  if (dead.size === 0) return { retried: [], skipped: [] }
  const inboxIdOf = (jobId: string): string => dead.get(jobId) ?? ''
  const places = await whereaboutsOf(tx, tenantId, [...dead.keys()])
  const queues = new Map<QueueName, string[]>()
  const skipped: { inboxId: string; why: string }[] = []
  for (const [jobId, { place, queue }] of places)
    if (place === 'dead_letter') queues.set(queue, [...(queues.get(queue) ?? []), jobId])
    else if (place === 'bin')
      skipped.push({ inboxId: inboxIdOf(jobId), why: 'is a dead letter in the bin: restore it first' })
  const newEffect = newMessageId ?? false
  const retried: Retried[] = []
  for (const [queue, ids] of queues) {
    const picked = await pickNamedLetters(tx, { tenantId, queue, binned: false, ids })
    const action = { tenantId, ids: picked.map(({ id }) => id), actor, why, planId, newEffect }
    const jobs = await replayLetters(tx, action)
    retried.push(
      ...jobs.map((job) => ({
        ...{ inboxId: inboxIdOf(job.id), jobId: job.id, newMessageId: newEffect },
        ...{ tenantId, queue, lane: job.lane },
      })),
    )
    const done = new Set(jobs.map(({ id }) => id))
    for (const id of ids)
      if (!done.has(id))
        skipped.push({ inboxId: inboxIdOf(id), why: 'is no dead letter any more: somebody else was faster' })
  }
  return { retried, skipped }
}

function newDelivery(
  batch: RetryBatch,
  { row, status }: InboxItem,
  { target, connector, route }: Destination,
): { readonly job: NewJob; readonly newMessageId: boolean } {
  const newMessageId = batch.newMessageId ?? MAYBE_DELIVERED.has(status)
  const job = deliveryOf({
    event: {
      inboxId: row.id,
      provider: row.provider,
      eventId: row.event_id,
      eventType: row.event_type,
      account: row.account,
      livemode: row.livemode,
      occurredAt: row.occurred_at,
    },
    ...{ route, connector, target, tenantId: batch.tenantId, routeId: row.route_id },
    // It is a part of what the event has begun.
    call: {
      requestId: batch.call.requestId,
      correlationId: row.correlation_id,
      traceId: row.trace_id,
      traceparent: `00-${row.trace_id}-${newId().replaceAll('-', '').slice(-16)}-01`,
    },
  })
  return {
    newMessageId,
    job: {
      ...job,
      createdBy: batch.actor,
      ...(newMessageId && { idempotencyKey: `${job.idempotencyKey}-${job.id}` }),
    },
  }
}

function tellRetried(
  tx: Tx,
  batch: RetryBatch,
  retried: readonly Retried[],
  items: readonly InboxItem[],
): Promise<number> {
  const byId = new Map(items.map((item) => [item.row.id, item]))
  return appendEvents(tx, {
    events: retried.flatMap(({ inboxId, jobId, newMessageId }) => {
      const item = byId.get(inboxId)
      if (!item) return []
      const { row, status } = item
      const previous = row.job_id !== null && row.job_id !== jobId ? { previous_job_id: row.job_id } : {}
      const how = newMessageId ? ', as a new message' : ''
      return [
        {
          tenant_id: batch.tenantId,
          type: 'webhook.retried',
          message: `It was ${status}; ${batch.actor} has it delivered once more${how}: ${batch.why}`,
          connector: row.connector,
          inbox_id: inboxId,
          request_id: batch.call.requestId,
          correlation_id: row.correlation_id,
          trace_id: row.trace_id,
          data: {
            ...{ job_id: jobId, ...previous, new_message_id: newMessageId, was: status },
            ...{ actor: batch.actor, reason: batch.why, plan_id: batch.planId },
          },
        },
      ]
    }),
  })
}

/**
 * Delivers one event once more. Errors: `not_found`; `conflict` that says why it cannot be: its delivery goes on by
 * itself, its route is paused, its bytes are gone.
 */
export async function retryOne(
  db: Db,
  deps: RetryDeps,
  of: { readonly tenantId: string; readonly id: string; readonly newMessageId: boolean | null },
  change: Change,
): Promise<Retried> {
  const { tenantId, id, newMessageId } = of
  return db.transaction(async (tx) => {
    const [row] = await lockInbox(tx, { tenantId, ids: [id] })
    if (!row) throw inboxNotFound()
    const { retried, skipped } = await retryInbox(tx, deps, {
      ...{ tenantId, ids: [id], newMessageId, actor: nameOf(change) },
      ...{ why: change.reason, planId: null, call: change.call },
    })
    const [one] = retried
    if (!one) throw new Problem('conflict', `The event cannot be delivered once more: it ${skipped[0]?.why}.`)
    await recordAudit(tx, {
      ...change,
      tenantId,
      action: 'webhook_inbox.retried',
      object: `webhook_inbox:${id}`,
      diff: [
        {
          path: '/job_id',
          ...(row.job_id !== null && { before: row.job_id }),
          after: one.jobId,
        },
        { path: '/new_message_id', after: one.newMessageId },
      ],
    })
    return one
  })
}
