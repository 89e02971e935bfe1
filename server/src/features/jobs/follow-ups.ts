import type { Clock } from '../../platform/clock.ts'
import type { Tx } from '../../platform/db/statement.ts'
import { appendEvents, type EventRecord } from '../../platform/event-log.ts'
import { newId } from '../../platform/ids.ts'
import { enqueueJobs } from '../../queue/enqueue.ts'
import type { EndedJob, FollowUps, NewJob } from '../../queue/job.ts'
import type { ActiveConfigs } from '../configs/configs.ts'
import { followDeliveries } from '../webhooks/webhooks.ts'
import { shownRef } from './large-bodies.ts'

/** Subject of the jobs that the hub makes by itself. */
const HUB = 'hub'

const idsOf = ({ job }: EndedJob) => ({
  tenant_id: job.tenantId,
  job_id: job.id,
  inbox_id: job.inboxId ?? undefined,
  request_id: job.call.requestId,
  correlation_id: job.call.correlationId,
  trace_id: job.call.traceId,
})

/** The event that a done job was asked to leave, e.g. `billing_state_updated`. */
function completionEvent(ended: EndedJob): EventRecord[] {
  const event = ended.job.completion?.event
  if (ended.state !== 'done' || !event) return []
  return [
    {
      ...idsOf(ended),
      type: event.type,
      connector: ended.job.connector,
      message: `The product took the delivery: ${ended.why}`,
      data: event.data,
    },
  ]
}

/** What the callback tells the product about its job. */
const callbackInput = ({ job, state, result, resultRef, reason, error, why }: EndedJob, nowMs: number) => ({
  type: `job.${state}`,
  timestamp: new Date(nowMs).toISOString(),
  data: {
    job_id: job.id,
    state,
    connector: job.connector,
    operation: job.operation,
    attempts: job.attempt,
    result: result ?? null,
    // Too large to be sent along: `GET /payloads/:id` has it.
    result_ref: shownRef(resultRef),
    why,
    dead_reason: reason,
    error: error && { class: error.class, message: error.message, http_status: error.httpStatus ?? null },
    metadata: job.metadata,
    correlation_id: job.call.correlationId,
    trace_id: job.call.traceId,
  },
})

/**
 * What happens in the transaction that ends a job: its event is appended, its callback becomes a job of its own, and
 * an ordered delivery lets the next one go. A callback whose connector is gone is told in the timeline; the job itself has ended all the same.
 */
export function createFollowUps({
  activeConfigs,
  clock,
}: {
  readonly activeConfigs: Pick<ActiveConfigs, 'get'>
  readonly clock: Clock
}): FollowUps {
  const callbackOf = async (ended: EndedJob): Promise<NewJob | EventRecord | undefined> => {
    const { job } = ended
    const name = job.completion?.callback?.connector
    if (name === undefined) return undefined
    const target = (await activeConfigs.get(job.tenantId, [name])).connectors.get(name)
    if (target?.connector.kind !== 'callback')
      return {
        ...idsOf(ended),
        type: 'job.callback_skipped',
        severity: 'warning',
        connector: name,
        message: `No callback: the active config has no connector ${name} of kind callback.`,
      }
    return {
      id: newId(),
      tenantId: job.tenantId,
      queue: 'webhook',
      lane: target.connector.lane,
      connector: name,
      operation: 'deliver',
      input: callbackInput(ended, clock.now()),
      metadata: { callback_of: job.id },
      configVersion: target.configVersion,
      createdBy: HUB,
      call: job.call,
    }
  }

  return async (tx: Tx, all) => {
    // What is held has not come to its end: what follows is asked for by the job that takes it up again.
    const ended = all.filter(({ job, held }) => job.completion !== null && held === undefined)
    const events = ended.flatMap(completionEvent)
    const jobs: NewJob[] = []
    for (const each of ended) {
      const callback = await callbackOf(each)
      if (callback && 'input' in callback) jobs.push(callback)
      else if (callback) events.push(callback)
    }
    if (events.length > 0) await appendEvents(tx, { events })
    if (jobs.length > 0) await enqueueJobs(tx, jobs)
    return [...jobs, ...(await followDeliveries(tx, all))]
  }
}
