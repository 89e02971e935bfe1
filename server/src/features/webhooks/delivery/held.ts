import type { Db } from '../../../platform/db/db.ts'
import type { Tx } from '../../../platform/db/statement.ts'
import { appendEvents } from '../../../platform/event-log.ts'
import type { Platform } from '../../../platform/platform.ts'
import { Problem } from '../../../problems.ts'
import type { ClaimedJob, EndedJob, Outcome } from '../../../queue/job.ts'
import { CallFailure } from '../../../resilience/failure.ts'
import {
  pauseRouteByHub,
  type RouteDirectory,
  type WebhookRoute,
} from '../../webhook-routes/webhook-routes.ts'
import { type DeliveryEnvelope, INBOX_INPUT } from './delivery.ts'
import { countUnheld, holdEvents } from './held.sql.ts'
import type { HeldWhy } from './reception.ts'

/** What a worker has to ask about deliveries, before and after an attempt. */
export interface DeliveryGate {
  before(job: ClaimedJob): Promise<Outcome | undefined>
  after(job: ClaimedJob, error: unknown): Promise<Outcome | undefined>
}

export interface GateDeps {
  readonly platform: Pick<Platform, 'log' | 'metrics'> & { readonly db: Db }
  readonly routes: Pick<RouteDirectory, 'current' | 'refresh'>
}

const GONE = 410

/** The route that made the job; undefined for what is no delivery, and for deliveries of versions before routes could be paused. */
function routeIdOf({ inputRef }: Pick<ClaimedJob, 'inputRef'>): string | undefined {
  if (inputRef?.kind !== INBOX_INPUT) return undefined
  const { route_id } = inputRef
  return typeof route_id === 'string' ? route_id : undefined
}

// Written by our own `deliveryOf`.
const providerOf = ({ input }: ClaimedJob): string => (input as DeliveryEnvelope).data.provider

const holds = (held: HeldWhy, why: string): Extract<Outcome, { readonly kind: 'cancelled' }> => ({
  kind: 'cancelled',
  held,
  why: `${why}${why.endsWith('.') ? '' : '.'} The event is held.`,
})

/**
 * Deliveries that have nowhere to go at the moment: their job ends and spends nothing, and in the same transaction
 * (`keepHeldEvents`) the event is held. A receiver that is gone for good pauses the route, which alarms.
 */
export function createDeliveryGate({ platform, routes }: GateDeps): DeliveryGate {
  const { db, log, metrics } = platform
  const paused = metrics.counter('webhook_routes_paused_total', 'Webhook routes that the hub has paused', [
    'cause',
  ])

  /** A pause counts only after a look at the database: it may have ended. */
  const pauseOf = async (job: ClaimedJob, routeId: string): Promise<WebhookRoute['paused']> => {
    const provider = providerOf(job)
    if (!(await routes.current()).byId(provider, routeId)?.paused) return null
    return (await routes.refresh()).byId(provider, routeId)?.paused ?? null
  }

  const gone = async (job: ClaimedJob, routeId: string): Promise<Outcome | undefined> => {
    const { tenantId, connector, inboxId, call } = job
    const why = `The receiver at ${connector} answered with HTTP ${GONE}: it is gone and wants no more events.`
    const pause = await pauseRouteByHub(db, {
      tenantId,
      routeId,
      connector,
      why,
      jobId: job.id,
      inboxId,
      call,
    })
    if (pause === undefined) return undefined
    if (pause === 'elsewhere') return { ...holds('connector_missing', why), httpStatus: GONE }
    if (pause === 'paused') {
      paused.inc({ cause: 'receiver_gone' })
      log.error(
        { tenant_id: tenantId, route_id: routeId, connector, job_id: job.id, trace_id: call.traceId },
        'a webhook route was paused: its receiver is gone',
      )
    }
    return { ...holds('route_paused', why), httpStatus: GONE }
  }

  return {
    before: async (job) => {
      const routeId = routeIdOf(job)
      const pause = routeId === undefined ? null : await pauseOf(job, routeId)
      return pause
        ? holds('route_paused', `The webhook route is paused by ${pause.by}: ${pause.why}`)
        : undefined
    },
    after: async (job, error) => {
      const routeId = routeIdOf(job)
      if (routeId === undefined) return undefined
      if (error instanceof CallFailure)
        return error.httpStatus === GONE && error.kind !== 'aborted_by_receiver'
          ? gone(job, routeId)
          : undefined
      if (!(error instanceof Problem && error.code === 'connector_not_found')) return undefined
      return holds('connector_missing', `The active config has no connector ${job.connector}.`)
    },
  }
}

/** The follow-up of deliveries that were held: in the transaction that ends the job its event begins to wait. */
export async function keepHeldEvents(tx: Tx, ended: readonly EndedJob[]): Promise<void> {
  const held = ended.flatMap(({ job, held: why }) =>
    why !== undefined && job.inboxId !== null
      ? [{ tenant_id: job.tenantId, id: job.inboxId, job_id: job.id, why }]
      : [],
  )
  if (held.length === 0) return
  const rows = await holdEvents(tx, { held })
  // Without its row changed, the end of the job would be the end of the event: then neither commits.
  if (rows.length < held.length && (await countUnheld(tx, { held })).left > 0)
    throw new Error('an event could not be held')
  const whyOf = new Map(ended.map(({ job, why }) => [job.id, why]))
  await appendEvents(tx, {
    events: rows.map((row) => ({
      tenant_id: row.tenant_id,
      type: 'webhook.held',
      severity: 'warning',
      message: whyOf.get(row.job_id) ?? 'The delivery waits.',
      connector: row.connector,
      inbox_id: row.id,
      request_id: row.request_id,
      correlation_id: row.correlation_id,
      trace_id: row.trace_id,
      data: {
        held_why: row.held_why,
        route_id: row.route_id,
        provider: row.provider,
        event_id: row.event_id,
        event_type: row.event_type,
        job_id: row.job_id,
      },
    })),
  })
}
