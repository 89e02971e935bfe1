import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { Problem } from '../../problems.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { NewJob } from '../../queue/job.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import type { WebhookRoute } from '../webhook-routes/webhook-routes.ts'
import { type DeliveryTarget, deliveryOfRow, findErased } from '../webhooks/webhooks.ts'
import { findByIds, type InboxRow, lockInbox } from './inbox.sql.ts'
import { findRoute, inboxNotFound } from './inbox-detail.ts'
import { setDeliveries } from './retry.sql.ts'
import { hastenWaiting, type Retried, type RetriedBatch, type RetryBatch, replayDead } from './retry-jobs.ts'
import { type InboxItem, type InboxStatus, withStatus } from './status.ts'

export interface RetryDeps {
  /** Where the connector is in the active config; undefined = it has no such connector. Errors: `database_unavailable`. */
  readonly target: (tenantId: string, connector: string) => Promise<DeliveryTarget | undefined>
}

/** The receiver may have had it: with the same id it would take it for a copy. */
const MAYBE_DELIVERED: ReadonlySet<InboxStatus> = new Set(['done', 'archived'])

/** Why an event in this state is not delivered once more; undefined = it can be. */
function obstacleOf({ status }: InboxItem): string | undefined {
  switch (status) {
    case 'queued':
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
 * Delivers events once more, those of them that can be: a dead letter is replayed, what waits for its next attempt has it
 * now, anything else that is over gets a new job with the same event id. Of two who want the same one finds a delivery
 * that goes on. Call `WakeUp.hint` with what was retried after the commit.
 */
export async function retryInbox(tx: Tx, deps: RetryDeps, batch: RetryBatch): Promise<RetriedBatch> {
  const { tenantId, ids } = batch
  const destinations = createDestinations(tx, deps, tenantId)
  // The order of locks is that of everybody: letters and jobs, then rows of the inbox.
  const items = await withStatus(tx, tenantId, await findByIds(tx, { tenantId, ids }))
  const first = await sorted(tx, tenantId, items, destinations)
  const known = first.ready.map(({ item }) => item)
  const revived = [await replayDead(tx, batch, known), await hastenWaiting(tx, batch, known)]
  const handled = new Set(
    revived.flatMap((each) => [...each.retried, ...each.skipped]).map(({ inboxId }) => inboxId),
  )

  const rest = known.map(({ row }) => row.id).filter((id) => !handled.has(id))
  const locked = await withStatus(tx, tenantId, await lockInbox(tx, { tenantId, ids: rest }))
  // Somebody may have been faster; from here on nobody can be.
  const second = await sorted(tx, tenantId, locked.map(changedSince(items)), destinations)
  const jobs = second.ready.map(({ item, to }) => ({ item, ...newDelivery(batch, item, to) }))
  await enqueueJobs(
    tx,
    jobs.map(({ job }) => job),
  )
  await setDeliveries(tx, {
    tenantId,
    deliveries: jobs.map(({ item, job }) => ({ inboxId: item.row.id, jobId: job.id })),
  })
  const retried = [
    ...revived.flatMap((each) => each.retried),
    ...jobs.map(({ item, job: { id, queue, lane }, newMessageId }) => ({
      ...{ inboxId: item.row.id, jobId: id, newMessageId, tenantId, queue, lane },
    })),
  ]
  await tellRetried(tx, batch, retried, items)
  const skipped = [...first.skipped, ...revived.flatMap((each) => each.skipped), ...second.skipped]
  const told = new Set([...retried, ...skipped].map(({ inboxId }) => inboxId))
  const gone = ids.filter((id) => !told.has(id)).map((inboxId) => ({ inboxId, why: GONE }))
  return { retried, skipped: [...skipped, ...gone] }
}

interface Sorted {
  readonly ready: readonly { readonly item: InboxItem; readonly to: Destination }[]
  readonly skipped: RetriedBatch['skipped']
}

/** What can be delivered once more, and to where; and what cannot, and why. */
async function sorted(
  tx: Tx,
  tenantId: string,
  items: readonly (InboxItem & { readonly obstacle?: string })[],
  destinations: (row: InboxRow) => Promise<Destination | string>,
): Promise<Sorted> {
  const ids = items.map(({ row }) => row.id)
  const erased = new Map((await findErased(tx, { tenantId, ids })).map((row) => [row.id, row.erased]))
  const skipped: { inboxId: string; why: string }[] = []
  const ready: { readonly item: InboxItem; readonly to: Destination }[] = []
  for (const item of items) {
    const { row } = item
    const why =
      item.obstacle ??
      obstacleOf(item) ??
      (erased.get(row.id) === undefined ? GONE : erased.get(row.id) ? 'was erased' : undefined)
    const to = why === undefined ? await destinations(row) : why
    if (typeof to === 'string') skipped.push({ inboxId: row.id, why: to })
    else ready.push({ item, to })
  }
  return { ready, skipped }
}

/** A delivery that is another one by now, or that can no longer be over, gets no second one beside it. */
const changedSince = (before: readonly InboxItem[]) => {
  const known = new Map(before.map(({ row, status }) => [row.id, `${status} ${row.job_id}`]))
  // A dead letter that is in no place any more has left the bin for good, and gets a new job.
  return (item: InboxItem): InboxItem & { readonly obstacle?: string } =>
    known.get(item.row.id) === `${item.status} ${item.row.job_id}` || obstacleOf(item) !== undefined
      ? item
      : { ...item, obstacle: `is ${item.status} by now: somebody else was faster` }
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

function newDelivery(
  batch: RetryBatch,
  { row, status }: InboxItem,
  { target, connector, route }: Destination,
): { readonly job: NewJob; readonly newMessageId: boolean } {
  const newMessageId = batch.newMessageId ?? MAYBE_DELIVERED.has(status)
  const job = deliveryOfRow(row, {
    ...{ route, connector, target, tenantId: batch.tenantId, requestId: batch.call.requestId },
    routeId: row.route_id,
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

const HASTENED: ReadonlySet<InboxStatus> = new Set(['scheduled', 'retrying'])

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
      const what = HASTENED.has(status) ? 'has its next attempt made now' : 'has it delivered once more'
      return [
        {
          tenant_id: batch.tenantId,
          type: 'webhook.retried',
          message: `It was ${status}; ${batch.actor} ${what}${how}: ${batch.why}`,
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
    const [row] = await findByIds(tx, { tenantId, ids: [id] })
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
