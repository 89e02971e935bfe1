import type { CallContext } from '../../platform/call-context.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { pickNamedLetters, replayLetters, whereaboutsOf } from '../../queue/dead-letters.ts'
import type { LaneKey, QueueName } from '../../queue/job.ts'
import { runJobsNow } from '../../queue/run-now.ts'
import type { InboxItem, InboxStatus } from './status.ts'

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

/** Deliveries that wait for a moment: their next attempt can be now. */
const DEFERRED: ReadonlySet<InboxStatus> = new Set(['scheduled', 'retrying'])

const jobsIn = (
  items: readonly InboxItem[],
  fits: (status: InboxStatus) => boolean,
): ReadonlyMap<string, string> =>
  new Map(
    items.flatMap(({ row, status }) =>
      fits(status) && row.job_id !== null ? [[row.job_id, row.id] as const] : [],
    ),
  )

/** What is a dead letter lives again, with its history. One that has left the bin for good gets a new job instead. */
export async function replayDead(
  tx: Tx,
  { tenantId, newMessageId, actor, why, planId }: RetryBatch,
  items: readonly InboxItem[],
): Promise<RetriedBatch> {
  const dead = jobsIn(items, (status) => status === 'dead')
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

/** What waits for its next attempt has it now, as the message that it is: it may have been received already. */
export async function hastenWaiting(
  tx: Tx,
  { tenantId, actor, why, planId }: RetryBatch,
  items: readonly InboxItem[],
): Promise<RetriedBatch> {
  const waiting = jobsIn(items, (status) => DEFERRED.has(status))
  const jobs = await runJobsNow(tx, { tenantId, ids: [...waiting.keys()], actor, why, planId })
  const moved = new Set(jobs.map(({ id }) => id))
  return {
    retried: jobs.map(({ id, ...lane }) => ({
      ...{ ...lane, inboxId: waiting.get(id) ?? '', jobId: id, newMessageId: false },
    })),
    skipped: [...waiting].flatMap(([jobId, inboxId]) =>
      moved.has(jobId) ? [] : [{ inboxId, why: 'is about to be delivered: it goes on by itself' }],
    ),
  }
}
