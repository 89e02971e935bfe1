/**
 * The door of the queues feature: what a workspace has waiting, and the switches that stop claims.
 *
 * Three switches, each on its own: a queue, a connector (its lane in every queue) and the whole workspace. A job
 * starts when none of them is off and its lane is not blocked. Invariants. Half a second
 * after the commit of a pause at the latest no attempt of it starts any more: claims see it at once, but a worker
 * may hold a few jobs that it claimed before. A switch, its event and its audit entry commit together. Pausing twice keeps the first pause.
 */
import type { Db } from '../../platform/db/db.ts'
import type { Queryable, Tx } from '../../platform/db/statement.ts'
import { appendEvents } from '../../platform/event-log.ts'
import { Problem } from '../../problems.ts'
import { queueDepths } from '../../queue/depth.ts'
import { type LaneKey, QUEUES, type QueueName, queueName } from '../../queue/job.ts'
import { lockTenant } from '../../queue/lock-tenant.ts'
import {
  endSnoozes,
  findLanePause,
  findQueuePauses,
  findTenantPause,
  listShutLanes,
  type Pause,
  pauseLane,
  pauseQueue,
  pauseTenant,
  resumeLane,
  resumeQueue,
  resumeTenant,
} from '../../queue/pause.ts'
import type { WakeUp } from '../../queue/wake-up.ts'
import { type Change, nameOf, recordAudit } from '../audit/audit.ts'
import { connectorLanes } from '../configs/configs.ts'
import type { ControlResult, PauseView, QueueView } from './queues.schema.ts'

export type Switch =
  | { readonly kind: 'queue'; readonly queue: QueueName }
  | { readonly kind: 'connector'; readonly connector: string }
  | { readonly kind: 'workspace' }

const pauseView = (pause: Pause | undefined): PauseView =>
  pause === undefined
    ? null
    : { since: pause.paused_at.toISOString(), by: pause.paused_by, reason: pause.paused_why }

/** What waits, runs and rests in each queue of the workspace. */
export async function readQueues(
  on: Queryable,
  tenantId: string,
): Promise<{ queues: QueueView[]; paused: PauseView }> {
  const depths = await queueDepths(on, { tenantId })
  const pauses = new Map((await findQueuePauses(on, { tenantId })).map((row) => [row.queue, row]))
  return {
    queues: depths.map((row) => ({
      queue: queueName(row.queue),
      depth: row.ready,
      oldest_age_seconds: row.oldest_seconds,
      running: row.running,
      deferred: row.deferred,
      dead: row.dead,
      paused: pauseView(pauses.get(row.queue)),
    })),
    paused: pauseView(await findTenantPause(on, { tenantId })),
  }
}

/** Connectors that are paused or blocked, in a stable order; `lane` is the key of the next page. */
export async function listBlocked(
  on: Queryable,
  page: { readonly tenantId: string; readonly afterLane: number; readonly limit: number },
) {
  const shut = await listShutLanes(on, page)
  const names = new Map([...(await connectorLanes(on, page.tenantId))].map(([name, lane]) => [lane, name]))
  return shut.map((row) => ({
    lane: row.lane,
    connector: names.get(row.lane) ?? `lane ${row.lane}`,
    paused:
      row.paused_at && row.paused_by !== null && row.paused_why !== null
        ? { since: row.paused_at.toISOString(), by: row.paused_by, reason: row.paused_why }
        : null,
    blocked:
      row.blocked_until && row.blocked_why !== null
        ? { until: row.blocked_until.toISOString(), reason: row.blocked_why }
        : null,
  }))
}

export interface SwitchDeps {
  readonly db: Db
  readonly wakeUp: Pick<WakeUp, 'hint'>
}

/** Turns a switch off (`paused`) or on. Errors: `not_found` for a connector that has never been. */
export async function turn(
  { db, wakeUp }: SwitchDeps,
  tenantId: string,
  what: Switch,
  paused: boolean,
  change: Change,
): Promise<ControlResult> {
  const woken: LaneKey[] = []
  const result = await db.transaction(async (tx): Promise<ControlResult> => {
    const parts = await partsOf(tx, tenantId, what)
    // A claim that is on its way ends before, and the next one sees the switch.
    await lockTenant(tx, { tenantId })
    const done = paused
      ? await parts.pause({ actor: nameOf(change), why: change.reason })
      : await parts.resume(woken)
    const now = pauseView(await parts.find())
    if (done === undefined) return { changed: false, paused: now }
    const verb = paused ? 'paused' : 'resumed'
    const { requestId: request_id, correlationId: correlation_id, traceId: trace_id } = change.call
    await appendEvents(tx, {
      events: [
        {
          tenant_id: tenantId,
          type: `${parts.noun}.${verb}`,
          severity: paused ? 'warning' : 'info',
          message: `${parts.title} was ${verb} by ${nameOf(change)}: ${change.reason}`,
          ...(what.kind === 'connector' && { connector: what.connector }),
          request_id,
          correlation_id,
          trace_id,
          data: { actor: nameOf(change), ...(what.kind === 'queue' && { queue: what.queue }) },
        },
      ],
    })
    await recordAudit(tx, { tenantId, action: `${parts.noun}.${verb}`, object: parts.object, ...change })
    return { changed: true, paused: now }
  })
  wakeUp.hint(woken)
  return result
}

type By = { readonly actor: string; readonly why: string }

interface Parts {
  readonly noun: string
  readonly title: string
  readonly object: string
  pause(by: By): Promise<unknown>
  /** Gives nothing when there was nothing to resume. Adds the lanes that got work to `woken`. */
  resume(woken: LaneKey[]): Promise<unknown>
  find(): Promise<Pause | undefined>
}

async function partsOf(tx: Tx, tenantId: string, what: Switch): Promise<Parts> {
  switch (what.kind) {
    case 'queue': {
      const key = { tenantId, queue: QUEUES[what.queue] }
      return {
        noun: 'queue',
        title: `The queue ${what.queue}`,
        object: `queue:${what.queue}`,
        pause: (by) => pauseQueue(tx, { ...key, ...by }),
        resume: () => resumeQueue(tx, key),
        find: async () => (await findQueuePauses(tx, { tenantId })).find(({ queue }) => queue === key.queue),
      }
    }
    case 'connector': {
      const lane = (await connectorLanes(tx, tenantId)).get(what.connector)
      if (lane === undefined) throw unknownConnector()
      const key = { tenantId, lane }
      return {
        noun: 'lane',
        title: `The connector ${what.connector}`,
        object: `connector:${what.connector}`,
        pause: (by) => pauseLane(tx, { ...key, ...by }),
        resume: async (woken) => {
          const resumed = await resumeLane(tx, key)
          if (resumed === undefined) return undefined
          for (const row of await endSnoozes(tx, key)) woken.push({ ...key, queue: queueName(row.queue) })
          return resumed
        },
        find: () => findLanePause(tx, key),
      }
    }
    case 'workspace':
      return {
        noun: 'queues',
        title: 'All work of the workspace',
        object: `workspace:${tenantId}`,
        pause: (by) => pauseTenant(tx, { tenantId, ...by }),
        resume: () => resumeTenant(tx, { tenantId }),
        find: () => findTenantPause(tx, { tenantId }),
      }
  }
}

const unknownConnector = (): Problem =>
  new Problem('not_found', 'There is no such connector in this workspace.')
